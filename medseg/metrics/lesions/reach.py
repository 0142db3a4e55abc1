"""Which components of two maps come near each other: what a dilation decides, without dilating anything."""

from __future__ import annotations

import numpy as np

from medseg.metrics.lesions.components import Part
from medseg.metrics.lesions.runs import Runs, coordinates, meetings, shifts

_TABLE = 1 << 21  # pairs whose boxes are compared at once; of more, as in noise, all are looked at


def within_reach(first: Part, second: Part, chessboard: int, city_block: int, known: np.ndarray) -> np.ndarray:
    """Pairs of components with voxels so near each other: by steps along one axis, and by the sum of steps over the axes.

    Args:
        first: Components of one map.
        second: Components of another, or of the same.
        chessboard: Largest step along any axis.
        city_block: Largest sum of steps.
        known: int64 (k, 2), pairs that need not be looked at.

    Returns:
        int64 (l, 2), each pair once, ordered, the known ones not among them unless they came up by the way.
    """
    (runs, component, count), (other_runs, other_component, other_count) = first, second
    if count * other_count <= _TABLE:
        near = _boxes_near(first, second, chessboard)
        near[tuple(known.T)] = False
        mine, theirs = np.nonzero(near)
        chosen = (np.bincount(mine, minlength=count) > 0)[component]
        other_chosen = (np.bincount(theirs, minlength=other_count) > 0)[other_component]
        runs, component = runs.take(chosen), component[chosen]
        other_runs, other_component = other_runs.take(other_chosen), other_component[other_chosen]
    keys = [np.zeros(0, dtype=np.int64)]
    swap = len(other_runs) < len(runs)
    asking, asked = (other_runs, runs) if swap else (runs, other_runs)
    for shift in shifts(runs.shape, chessboard, city_block) if len(asking) else ():
        met = meetings(asking, asked, shift)
        mine, theirs = met[::-1] if swap else met
        keys.append(np.unique(component[mine] * other_count + other_component[theirs]))
    every = np.unique(np.concatenate(keys))
    return np.stack([every // max(other_count, 1), every % max(other_count, 1)], axis=1)


def _boxes_near(first: Part, second: Part, chessboard: int) -> np.ndarray:
    """Whether the boxes around two components are so near: bool (number of the first, number of the second)."""
    (low, high), (other_low, other_high) = _boxes(*first), _boxes(*second)
    return np.all(np.maximum(other_low - high[:, None], low[:, None] - other_high) <= chessboard, axis=2)


def _boxes(runs: Runs, component: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last voxel of each component along each axis: int64 (count, axes)."""
    low, high = np.full((count, len(runs.shape)), np.iinfo(np.int32).max), np.full((count, len(runs.shape)), -1)
    np.minimum.at(low, component, coordinates(runs.start, runs.shape))
    np.maximum.at(high, component, coordinates(runs.stop - 1, runs.shape))
    return low, high
