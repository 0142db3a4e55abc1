"""Mirroring, rotation and scaling of 2-D patches, by albumentations."""

from __future__ import annotations

import os

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import asks the network for a newer version otherwise

import albumentations
import cv2

AFFINE_PROBABILITY = 0.3

cv2.setNumThreads(0)  # loader processes are the parallelism; OpenCV's threads would not survive their fork


class Move2D:
    """Flips each axis in half of the patches, rotates and scales in `AFFINE_PROBABILITY` of them; what lies outside is reflected.

    Intensities are left to our own functions: those of albumentations clip float images to [0, 1].

    Args:
        mirror: Whether to flip.
        rotation: Largest angle in degrees.
        scale: Largest change of size, drawn for each axis.
    """

    def __init__(self, mirror: bool, rotation: float, scale: float) -> None:
        flips = [albumentations.HorizontalFlip(p=0.5), albumentations.VerticalFlip(p=0.5)]
        affine = albumentations.Affine(
            rotate=(-rotation, rotation),
            scale=(1 - scale, 1 + scale),
            interpolation=cv2.INTER_LINEAR,
            mask_interpolation=cv2.INTER_NEAREST,
            border_mode=cv2.BORDER_REFLECT_101,
            p=AFFINE_PROBABILITY,
        )
        self._compose = albumentations.Compose([*(flips if mirror else []), *([affine] if rotation or scale else [])])

    def __call__(self, image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Moves an image (C, H, W) and its label (H, W)."""
        # Compose.set_random_seed gives all its transforms the same seed: they would flip both axes or none.
        for transform in self._compose.transforms:
            transform.set_random_seed(int(rng.integers(2**32)))
        moved = self._compose(image=np.ascontiguousarray(np.moveaxis(image, 0, -1)), mask=label)
        return np.ascontiguousarray(np.moveaxis(moved["image"], -1, 0)), np.ascontiguousarray(moved["mask"])
