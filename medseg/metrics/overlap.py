"""Overlap and volume of one class in one case.

Empty masks: where prediction and reference are both empty the value is NaN, which leaves the case out of the mean *and counts it*
(`n_both_empty`); where only one of them is empty, overlap is 0. A missed structure is never dropped.
"""

from __future__ import annotations

import math

from medseg.metrics.counts import ClassCounts


def dice(counts: ClassCounts) -> float:
    r"""Dice similarity coefficient, $2\,TP / (2\,TP + FP + FN)$, in [0, 1], best 1. NaN when both masks are empty."""
    return ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn, counts)


def iou(counts: ClassCounts) -> float:
    r"""Intersection over union (Jaccard), $TP / (TP + FP + FN)$, in [0, 1], best 1. NaN when both masks are empty."""
    return ratio(counts.tp, counts.tp + counts.fp + counts.fn, counts)


def precision(counts: ClassCounts) -> float:
    r"""Share of the predicted voxels that are right, $TP / (TP + FP)$. 0 when only the prediction is empty, NaN when both are."""
    return ratio(counts.tp, counts.pred_voxels, counts)


def recall(counts: ClassCounts) -> float:
    r"""Share of the reference's voxels that were found, $TP / (TP + FN)$. 0 when only the reference is empty, NaN when both are."""
    return ratio(counts.tp, counts.ref_voxels, counts)


def volume_difference_ml(counts: ClassCounts) -> float:
    """Signed volume difference, prediction minus reference, in mL; best 0. NaN when both masks are empty and in 2-D."""
    return math.nan if counts.both_empty else (counts.pred_voxels - counts.ref_voxels) * counts.voxel_ml


def ratio(numerator: float, denominator: float, counts: ClassCounts) -> float:
    """Divide by the empty rule: NaN when both masks are empty, 0 when nothing but the denominator is."""
    if counts.both_empty:
        return math.nan
    return numerator / denominator if denominator else 0.0
