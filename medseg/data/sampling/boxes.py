"""Boxes of voxels: where a patch begins, and what lies in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg.data.labels import IGNORE, LabelSchema


def foreground_of(label: np.ndarray, schema: LabelSchema) -> np.ndarray:
    """Says which voxels of a map of internal ids belong to any class; ignored ones do not."""
    table = np.zeros(IGNORE + 1, dtype=np.bool_)
    table[: len(schema.values)] = schema.membership.any(axis=0)
    return table[label]


def patch_start(centre: Sequence[int], patch: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the first voxel of the patch around `centre`, moved so that it lies inside the image.

    Where the image is smaller than the patch the start is negative: the image lies in the middle and both sides are padded.
    """
    starts = []
    for c, p, s in zip(centre, patch, shape, strict=True):
        starts.append(min(max(c - p // 2, 0), s - p) if s >= p else -((p - s) // 2))
    return tuple(starts)


def crop(array: np.ndarray, start: Sequence[int], patch: Sequence[int], fill: np.ndarray | int) -> np.ndarray:
    """Copies a patch out of the last axes of `array`.

    Args:
        array: (*leading, *spatial).
        start: First voxel, one coordinate a spatial axis; may lie outside.
        patch: Size in voxels.
        fill: Value of voxels outside the array, broadcast against (*leading, *patch).
    """
    spatial = array.shape[-len(patch) :]
    inside = [(min(max(a, 0), s), max(min(a + p, s), 0)) for a, p, s in zip(start, patch, spatial, strict=True)]
    source: tuple[Any, ...] = (..., *(slice(low, high) for low, high in inside))
    part = array[source]
    if part.shape[-len(patch) :] == tuple(patch):
        return part.copy()
    out = np.empty((*array.shape[: -len(patch)], *patch), dtype=array.dtype)
    out[...] = fill
    target: tuple[Any, ...] = (..., *(slice(low - a, high - a) for (low, high), a in zip(inside, start, strict=True)))
    if part.size:
        out[target] = part
    return out
