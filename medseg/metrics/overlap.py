"""Overlap and volume of one class in one case, as functions of its counts.

These are the bare formulas, NaN where they divide nothing by nothing; what then stands in the row, `policy.py` says.
"""

from __future__ import annotations

import math

from medseg.metrics.counts import ClassCounts


def dice(counts: ClassCounts) -> float:
    r"""Dice similarity coefficient, $2\,TP / (2\,TP + FP + FN)$, in [0, 1], best 1. NaN when both masks are empty. Dice, Ecology 1945."""
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def iou(counts: ClassCounts) -> float:
    r"""Intersection over union (Jaccard), $TP / (TP + FP + FN)$, in [0, 1], best 1. NaN when both masks are empty."""
    return _ratio(counts.tp, counts.tp + counts.fp + counts.fn)


def precision(counts: ClassCounts) -> float:
    r"""Share of the predicted voxels that are right, $TP / (TP + FP)$, in [0, 1], best 1. NaN when the prediction is empty."""
    return _ratio(counts.tp, counts.pred_voxels)


def recall(counts: ClassCounts) -> float:
    r"""Share of the reference's voxels that were found, $TP / (TP + FN)$, in [0, 1], best 1. NaN when the reference is empty."""
    return _ratio(counts.tp, counts.ref_voxels)


def f_beta(counts: ClassCounts, beta: float) -> float:
    r"""$(1 + \beta^2) TP / ((1 + \beta^2) TP + \beta^2 FN + FP)$, in [0, 1], best 1; `beta` 1 is Dice. NaN when both masks are empty.

    Van Rijsbergen, Information Retrieval, 1979: recall counts `beta` times as much as precision.
    """
    weight = beta * beta
    return _ratio((1 + weight) * counts.tp, (1 + weight) * counts.tp + weight * counts.fn + counts.fp)


def volume_similarity(counts: ClassCounts) -> float:
    r"""$1 - |V_P - V_R| / (V_P + V_R)$, in [0, 1], best 1. NaN when both masks are empty. Taha & Hanbury, BMC Med Imaging 2015, eq. 27."""
    return 1 - _ratio(abs(counts.pred_voxels - counts.ref_voxels), counts.pred_voxels + counts.ref_voxels)


def volume_difference_ml(counts: ClassCounts) -> float:
    """Signed volume difference, prediction minus reference, in mL; best 0. NaN in 2-D."""
    return (counts.pred_voxels - counts.ref_voxels) * counts.voxel_ml


def absolute_volume_difference_ml(counts: ClassCounts) -> float:
    """Absolute volume difference in mL; best 0. NaN in 2-D."""
    return abs(volume_difference_ml(counts))


def relative_volume_difference(counts: ClassCounts) -> float:
    r"""$(V_P - V_R) / V_R$, from -1, best 0. NaN when the reference is empty: there is nothing to relate to."""
    return _ratio(counts.pred_voxels - counts.ref_voxels, counts.ref_voxels)


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan
