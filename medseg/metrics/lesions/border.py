"""The border voxels of a mask that is runs."""

from __future__ import annotations

import numpy as np

from medseg.metrics.lesions.runs import Runs, meetings, strides


def border(runs: Runs) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of a mask with a face neighbour outside of it; the image's edge counts as outside.

    Returns:
        int64 flat positions, ascending, and the run of each.
    """
    lengths = runs.lengths
    before = np.cumsum(lengths) - lengths
    change = np.zeros(int(lengths.sum()) + 1, dtype=np.int64)
    lines = strides(runs.shape)[:-1]
    for stride in (*lines, *(-stride for stride in lines)):
        own, other = meetings(runs, runs, (stride, 0))
        low = np.maximum(runs.start[own], runs.start[other] - stride)
        high = np.minimum(runs.stop[own], runs.stop[other] - stride)
        offset = before[own] - runs.start[own]
        change += np.bincount(low + offset, minlength=len(change))
        change -= np.bincount(high + offset, minlength=len(change))
    covered = np.cumsum(change[:-1])
    inside = covered == 2 * len(lines)
    inside[before], inside[before + lengths - 1] = False, False
    rank = np.flatnonzero(~inside)
    run = np.repeat(np.arange(len(runs)), lengths)[rank]
    return runs.start[run] + rank - before[run], run
