"""Lesions are connected components: runs joined with the runs they touch, numbered by their first voxel in C order."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array, csgraph

from medseg.metrics.lesions.runs import Runs, meetings, padded_shape, shifts

Connectivity = Literal["faces", "edges", "corners"]

Part = tuple[Runs, np.ndarray, int]
"""Runs of a mask, the component of each (int64), and how many components there are."""

_AXES = {"faces": 1, "edges": 2, "corners": 3}  # along how many axes a neighbour may differ
_DENSE = 32  # voxels a run, from which on down (noise) it is cheaper to label every voxel of the grid


def components(runs: Runs, connectivity: Connectivity = "corners") -> tuple[np.ndarray, int]:
    """Number the connected components of a mask.

    Args:
        runs: Of the mask.
        connectivity: What makes voxels neighbours: faces (6 in 3-D, 4 in 2-D), edges (18, 8) or corners (26, 8).

    Returns:
        int64 (r,), the component of each run, and how many there are.

    Raises:
        ValueError: For an unknown connectivity.
    """
    if connectivity not in _AXES:
        raise ValueError(f"connectivity must be one of {', '.join(_AXES)}, got {connectivity!r}")
    if len(runs) * _DENSE > math.prod(runs.shape):
        return _labelled(runs, _AXES[connectivity])
    touching = [meetings(runs, runs, shift) for shift in shifts(runs.shape, 1, _AXES[connectivity], half=True) if shift[0]]
    return join(len(runs), touching)


def join(count: int, pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, int]:
    """Number the groups that pairs make of `count` things, in the order of their first member.

    Returns:
        int64 (count,), the group of each, and how many groups there are.
    """
    if not pairs:
        return np.arange(count), count
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    graph = coo_array((np.ones(len(first), dtype=np.bool_), (first, second)), shape=(count, count))
    groups, labels = csgraph.connected_components(graph, directed=False)
    return _numbered(labels, groups), groups


def _labelled(runs: Runs, axes: int) -> tuple[np.ndarray, int]:
    padded = runs.painted().reshape(-1, *padded_shape(runs.shape)[1:])
    labels, count = ndimage.label(padded, ndimage.generate_binary_structure(padded.ndim, min(axes, padded.ndim)))
    return _numbered(labels.ravel()[runs.start] - 1, count), count


def _numbered(labels: np.ndarray, count: int) -> np.ndarray:
    """Other numbers for the groups: in the order of their first member."""
    first = np.empty(count, dtype=np.int64)
    first[labels[::-1]] = np.arange(len(labels))[::-1]  # the last one written stays
    rank = np.empty(count, dtype=np.int64)
    rank[np.argsort(first)] = np.arange(count)
    return rank[labels]
