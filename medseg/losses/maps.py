"""Maps of a reference mask that some terms need: its components, their Voronoi cells, its distances.

They depend on the target alone. A data pipeline computes them in its workers (`WeightedLoss.derive`), after augmentation; a term that is
handed none computes them itself, which on a GPU means a detour over the CPU in every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

Spacing = Sequence[float] | None


def components(mask: np.ndarray, spacing: Spacing = None) -> np.ndarray:
    """Number of the connected component of each voxel, from 1, and 0 outside; 8-connected in 2-D, 26-connected in 3-D.

    >>> components(np.array([[True, False, True]])).tolist()
    [[1, 0, 2]]
    """
    numbers = np.zeros(mask.shape, np.int32)
    box = _box(mask)
    if box is not None:
        ndimage.label(mask[box], np.ones([3] * mask.ndim), output=numbers[box])
    return numbers


def cells(mask: np.ndarray, spacing: Spacing = None) -> np.ndarray:
    """Number of the component nearest to each voxel (its Voronoi cell), by distance in mm; 0 everywhere without components.

    A voxel that is as near to several belongs to one of them, which one is not said.

    >>> cells(np.array([[True, False, False, True]])).tolist()
    [[1, 1, 2, 2]]
    """
    numbers = components(mask)
    last = numbers.max(initial=0)
    if last < 2:
        return np.full_like(numbers, last)
    return numbers[tuple(_nearest(mask, spacing))]


def distance(mask: np.ndarray, spacing: Spacing = None) -> np.ndarray:
    """Distance in mm to the nearest voxel on the other side of the mask's boundary; 0 where the mask has no boundary.

    >>> distance(np.array([[False, False, True, True, True]])).tolist()
    [[2.0, 1.0, 1.0, 2.0, 3.0]]
    """
    return _by_side(mask, spacing, lambda inside: inside)


def signed_distance(mask: np.ndarray, spacing: Spacing = None) -> np.ndarray:
    """Distance in mm to the mask outside it, and minus that to its innermost boundary voxels inside; 0 where the mask has no boundary.

    "Innermost" takes one step along the finest axis for the width of the boundary, so that its voxels are at 0 and none is above.

    >>> signed_distance(np.array([[False, False, True, True, True]])).tolist()
    [[2.0, 1.0, 0.0, -1.0, -2.0]]
    """
    step = 1.0 if spacing is None else min(spacing)
    return _by_side(mask, spacing, lambda inside: step - inside)


def _by_side(mask: np.ndarray, spacing: Spacing, of_inside: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Outside the mask the distance to it, inside `of_inside` of the distance to the outside; float32."""
    whole = _box(mask)
    if whole is None or mask.all():
        return np.zeros(mask.shape, np.float32)
    field = _length(_nearest(mask, spacing), spacing)
    numbers = components(mask)
    boxes = ndimage.find_objects(numbers)
    # A component's nearest outside voxel lies within a margin of one around it: a path to any other leaves it, for the outside, before.
    if sum(_volume(box) + BOX_COST for box in boxes) > _volume(whole):
        boxes, numbers = [whole], mask.astype(np.int32)
    for number, tight in enumerate(boxes, start=1):
        box = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in tight)
        own = numbers[box] == number
        field[box][own] = of_inside(ndimage.distance_transform_edt(mask[box], sampling=spacing)[own])
    return field


BOX_COST = 500
"""Voxels whose transform takes as long as the overhead of one more box."""


def _volume(box: tuple[slice, ...]) -> int:
    """Voxels of a box with its margin."""
    return math.prod(side.stop - side.start + 2 for side in box)


def _box(mask: np.ndarray) -> tuple[slice, ...] | None:
    """The smallest box around the mask; None if it is empty."""
    sides = []
    for axis in range(mask.ndim):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not len(filled):
            return None
        sides.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(sides)


def _nearest(mask: np.ndarray, spacing: Spacing) -> np.ndarray:
    """Index (axes, *spatial) of the voxel of a mask that is nearest to each voxel; the mask must not be empty."""
    nearest: np.ndarray = ndimage.distance_transform_edt(~mask, sampling=spacing, return_distances=False, return_indices=True)
    return nearest


def _length(nearest: np.ndarray, spacing: Spacing) -> np.ndarray:
    """Distance from each voxel to the one that `nearest` names, float32; SciPy's own way takes five times as long."""
    squares = np.zeros(nearest.shape[1:])
    for axis, step in enumerate(spacing or [1.0] * squares.ndim):
        places = np.arange(squares.shape[axis]).reshape(-1, *[1] * (squares.ndim - axis - 1))
        offset = (nearest[axis] - places) * step
        squares += offset * offset
    return np.sqrt(squares, out=squares).astype(np.float32)


MAPS: dict[str, Callable[[np.ndarray, Spacing], np.ndarray]] = {
    "components": components,
    "cells": cells,
    "distance": distance,
    "signed_distance": signed_distance,
    "lesions": components,
}
"""Name -> map of one mask (*spatial)."""

JOINT = ("lesions",)
"""Those made once a sample, of the union of its foreground channels."""


def compute_map(name: str, masks: Tensor, spacing: Tensor | None) -> Tensor:
    """A map of each mask.

    Shape:
        masks (B, F, *spatial), spacing (B, axes) in mm or None for voxel units; value (B, F, *spatial), of `JOINT` maps (B, 1, *spatial),
        on the masks' device: int32 numbers or float32 distances.
    """
    arrays = (masks.any(1, keepdim=True) if name in JOINT else masks).cpu().numpy()
    sizes = [None] * len(arrays) if spacing is None else spacing.tolist()
    maps = [MAPS[name](mask, size) for channels, size in zip(arrays, sizes, strict=True) for mask in channels]
    return torch.from_numpy(np.stack(maps).reshape(arrays.shape)).to(masks.device)
