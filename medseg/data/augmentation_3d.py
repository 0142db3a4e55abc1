"""Mirroring, rotation and scaling of 3-D patches, by MONAI."""

from __future__ import annotations

import math

import numpy as np
import torch
from monai.transforms import Compose, RandAffined, RandFlipd

AFFINE_PROBABILITY = 0.3


class Move3D:
    """Flips each axis in half of the patches, rotates and scales in `AFFINE_PROBABILITY` of them; what lies outside is reflected.

    Angles are those of the voxel grid: with strongly anisotropic voxels resample first (`data.spacing`), or keep `rotation` small.

    Args:
        mirror: Whether to flip.
        rotation: Largest angle in degrees, about each axis.
        scale: Largest change of size, drawn for each axis.
    """

    def __init__(self, mirror: bool, rotation: float, scale: float) -> None:
        keys = ("image", "label")
        flips = [RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(3)]
        affine = RandAffined(
            keys,
            prob=AFFINE_PROBABILITY,
            rotate_range=[math.radians(rotation)] * 3,
            scale_range=[scale] * 3,
            mode=("bilinear", "nearest"),
            padding_mode="reflection",
        )
        self._compose = Compose([*(flips if mirror else []), *([affine] if rotation or scale else [])])

    def __call__(self, image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Moves an image (C, D, H, W) and its label (D, H, W)."""
        self._compose.set_random_state(seed=int(rng.integers(2**32)))
        moved = self._compose({"image": torch.from_numpy(image), "label": torch.from_numpy(label[None])})
        # Nearest neighbour, but computed in float: back to integers, 255 included.
        return _array(moved["image"], np.float32), _array(moved["label"], np.uint8)[0]


def _array(tensor: torch.Tensor, dtype: type) -> np.ndarray:
    return np.ascontiguousarray(torch.as_tensor(tensor).numpy().astype(dtype, copy=False))
