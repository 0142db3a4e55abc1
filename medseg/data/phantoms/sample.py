"""What a generator returns: one image with its label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sample:
    """One generated case of a single channel.

    Attributes:
        image: Intensities as stored on disk, uint8 (H, W) or int16 (X, Y, Z).
        label: Disk label values, uint8, of the same shape; 0 is background.
        affine: Voxel to RAS+ millimetres, (4, 4); None in 2-D.
        noise: Standard deviation of the added noise, in the units of `image`.
    """

    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray | None
    noise: float
