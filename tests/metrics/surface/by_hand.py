"""Independent references: SciPy's distance transform class by class, and random label maps of every kind that is hard."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

BINARY = np.array([[False, True]])


def border(mask: np.ndarray) -> np.ndarray:
    """The mask without its erosion by the cross."""
    return mask & ~ndimage.binary_erosion(mask)


def border_distances(prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distances between the borders of two masks, from the prediction and from the reference."""
    ours, theirs = border(prediction), border(reference)
    to_theirs, to_ours = (ndimage.distance_transform_edt(~other, sampling=spacing) for other in (theirs, ours))
    return np.sort(to_theirs[ours]), np.sort(to_ours[theirs])


def masks_of(prediction: np.ndarray, reference: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The masks of one class, a row of the membership; without voxels whose reference is 255."""
    table = np.zeros(256, dtype=np.bool_)
    table[: len(ids)] = ids
    return table[prediction] & (reference != 255), table[reference]


def blobs(seed: int, shape: tuple[int, ...], classes: int, shift: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Two maps of smooth regions, the first moved by a few voxels."""
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.standard_normal(shape), 2.5) for _ in range(classes)]
    strongest = np.max(fields, axis=0) > 0.05
    reference = ((np.argmax(fields, axis=0) + 1) * strongest).astype(np.uint8)
    return np.roll(reference, shift, axis=0), reference


def noise(seed: int, shape: tuple[int, ...], classes: int, filled: float) -> tuple[np.ndarray, np.ndarray]:
    """Two maps of random ids in a part of the voxels."""
    rng = np.random.default_rng(seed)
    maps = [(rng.integers(1, classes + 1, shape) * (rng.random(shape) < filled)).astype(np.uint8) for _ in range(2)]
    return maps[0], maps[1]
