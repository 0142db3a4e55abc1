"""What a generator returns: one image with its label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sample:
    """One generated case.

    Attributes:
        image: Intensities of the first channel as stored on disk, uint8 (H, W) or int16 (X, Y, Z).
        label: Disk label values, uint8, of the same shape; 0 is background.
        affine: Voxel to RAS+ millimetres, (4, 4); None in 2-D.
        noise: Standard deviation of the added noise, in the units of `image`.
        others: Further channels, like `image`.
        scanner: Number of the simulated scanner, None where every case has its own.
        artefact: What spoils the image, empty where nothing does.
    """

    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray | None
    noise: float
    others: tuple[np.ndarray, ...] = ()
    scanner: int | None = None
    artefact: str = ""
