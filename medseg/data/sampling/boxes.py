"""Boxes of voxels: where a patch begins."""

from __future__ import annotations

from collections.abc import Sequence


def patch_start(centre: Sequence[int], patch: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the first voxel of the patch around `centre`, moved so that it lies inside the image.

    Where the image is smaller than the patch the start is negative: the image lies in the middle and both sides are padded.
    """
    starts = []
    for c, p, s in zip(centre, patch, shape, strict=True):
        starts.append(min(max(c - p // 2, 0), s - p) if s >= p else -((p - s) // 2))
    return tuple(starts)
