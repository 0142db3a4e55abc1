"""Lesions are connected components: runs joined with the runs they touch, numbered by their first voxel in C order."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.sparse import coo_array, csgraph

from medseg.metrics.lesions.runs import Runs, meetings, shifts

Connectivity = Literal["faces", "edges", "corners"]

Part = tuple[Runs, np.ndarray, int]
"""Runs of a mask, the component of each (int64), and how many components there are."""

_AXES = {"faces": 1, "edges": 2, "corners": 3}  # along how many axes a neighbour may differ


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
    order = np.full(groups, count)
    np.minimum.at(order, labels, np.arange(count))
    rank = np.empty(groups, dtype=np.int64)
    rank[np.argsort(order)] = np.arange(groups)
    return rank[labels], groups
