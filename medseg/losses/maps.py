"""Maps of a reference mask that some terms need: its components, their Voronoi cells, its signed distance.

They depend on the target alone. A data pipeline computes them in its workers (`WeightedLoss.derive`), after augmentation; a term that is
handed none computes them itself, which on a GPU means a detour over the CPU in every step.
"""

from __future__ import annotations

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
    labels, _ = ndimage.label(mask, np.ones([3] * mask.ndim))
    return labels.astype(np.int32)


def cells(mask: np.ndarray, spacing: Spacing = None) -> np.ndarray:
    """Number of the component nearest to each voxel (its Voronoi cell), by distance in mm; 0 everywhere without components.

    >>> cells(np.array([[True, False, False, True]])).tolist()
    [[1, 1, 2, 2]]
    """
    numbers = components(mask)
    if not mask.any():
        return numbers
    nearest = ndimage.distance_transform_edt(~mask, sampling=spacing, return_distances=False, return_indices=True)
    return numbers[tuple(nearest)]


def signed_distance(mask: np.ndarray, spacing: Spacing = None) -> np.ndarray:
    """Distance in mm to the mask outside it, and minus that to its innermost boundary voxels inside; 0 where the mask has no boundary.

    >>> signed_distance(np.array([[False, False, True, True, True]])).tolist()
    [[2.0, 1.0, 0.0, -1.0, -2.0]]
    """
    if mask.all() or not mask.any():
        return np.zeros(mask.shape, np.float32)
    step = 1.0 if spacing is None else min(spacing)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    inside = ndimage.distance_transform_edt(mask, sampling=spacing)
    return np.where(mask, step - inside, outside).astype(np.float32)


MAPS: dict[str, Callable[[np.ndarray, Spacing], np.ndarray]] = {
    "components": components,
    "cells": cells,
    "signed_distance": signed_distance,
}
"""Name -> map of one mask (*spatial)."""


def compute_map(name: str, masks: Tensor, spacing: Tensor | None) -> Tensor:
    """A map of each mask.

    Shape:
        masks (B, F, *spatial), spacing (B, axes) in mm or None for voxel units; value (B, F, *spatial) on the masks' device.
    """
    arrays = masks.cpu().numpy()
    sizes = [None] * len(arrays) if spacing is None else spacing.tolist()
    maps = [[MAPS[name](mask, size) for mask in channels] for channels, size in zip(arrays, sizes, strict=True)]
    return torch.from_numpy(np.asarray(maps).reshape(arrays.shape)).to(masks.device)
