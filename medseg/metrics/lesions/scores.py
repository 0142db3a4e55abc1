"""Scores of one class in one case from its table of lesions.

NaN means that there is nothing to score: no lesion that counts in either map. Lesions below the minimum size are left out of all of them.
"""

from __future__ import annotations

import math

import numpy as np

from medseg.metrics.lesions.matching import counts, one_to_one
from medseg.metrics.lesions.table import Lesions


def f1(lesions: Lesions, lesion_iou: float = 0.0) -> float:
    r"""Lesion detection F1, $TP / (TP + (FP + FN) / 2)$, TP counted on the reference's side; in [0, 1], best 1.

    0 when a lesion-free reference has predictions, or all lesions are missed; NaN when there is nothing to score.

    Source: ISLES'22 (Hernandez Petzsche et al., Scientific Data 2022) with any overlap, `lesion_iou = 0`.
    """
    found = counts(lesions, lesion_iou)
    return _ratio(found.tp, found.tp + (found.fp + found.fn) / 2, lesions)


def precision(lesions: Lesions, lesion_iou: float = 0.0) -> float:
    r"""Found lesions among detections, $TP / (TP + FP)$, TP counted on the reference's side. Empty maps as in `f1`."""
    found = counts(lesions, lesion_iou)
    return _ratio(found.tp, found.tp + found.fp, lesions)


def recall(lesions: Lesions, lesion_iou: float = 0.0) -> float:
    r"""Share of the reference's lesions that were found (sensitivity), $TP / (TP + FN)$. Empty maps as in `f1`."""
    found = counts(lesions, lesion_iou)
    return _ratio(found.tp, found.tp + found.fn, lesions)


def f1_wmh(lesions: Lesions, lesion_iou: float = 0.0) -> float:
    r"""Harmonic mean of the recall of lesions and the precision of components: $2 r p / (r + p)$, $p = TP_{pred} / (TP_{pred} + FP)$.

    Differs from `f1` where predictions are split or merged: each side is counted in its own components. Empty maps as in `f1`.

    Source: WMH challenge (Kuijf et al., IEEE TMI 2019), `evaluation.py`.
    """
    found = counts(lesions, lesion_iou)
    share_found = found.tp / max(found.tp + found.fn, 1)
    share_right = found.tp_pred / max(found.tp_pred + found.fp, 1)
    return _ratio(2 * share_found * share_right, share_found + share_right, lesions)


def panoptic(lesions: Lesions) -> tuple[float, float, float]:
    r"""Panoptic quality $PQ = SQ \cdot RQ$, pairs matched at an IoU strictly above 1/2, where no match has a rival.

    $SQ$ is the mean IoU of the matches, $RQ = TP / (TP + FP / 2 + FN / 2)$.

    Source: Kirillov et al., CVPR 2019, equation 1. panoptica takes an IoU of just 1/2 as a match too.

    Returns:
        PQ, SQ and RQ in [0, 1], best 1: all 0 when there are lesions but no match, all NaN when there is nothing to score.
    """
    chosen = one_to_one(lesions, lesions.ious > 0.5, unique=True)
    hits = len(chosen)
    false, missed = int(lesions.pred_scored.sum()) - hits, int(lesions.ref_scored.sum()) - hits
    segmentation = float(lesions.ious[chosen].mean()) if hits else _ratio(0, 1, lesions)
    recognition = _ratio(hits, hits + (false + missed) / 2, lesions)
    return segmentation * recognition, segmentation, recognition


def count_difference(lesions: Lesions) -> float:
    r"""Difference in the number of lesions, $|n_P - n_R|$; best 0. NaN when there is nothing to score.

    Source: ISLES'22, absolute lesion count difference.
    """
    return math.nan if lesions.nothing_scored else abs(int(lesions.pred_scored.sum()) - int(lesions.ref_scored.sum()))


def volumes(lesions: Lesions) -> tuple[float, float]:
    """Volumes of false and of missed lesions: components without any voxel in the other map.

    autoPET counts them with 18 neighbours (`connectivity="edges"`).

    Source: autoPET (Gatidis et al., Scientific Data 2022), `val_script.py`.

    Returns:
        False positive and false negative volume in mm^3 (mm^2 in 2-D); best 0. Both NaN when there is nothing to score.
    """
    if lesions.nothing_scored:
        return math.nan, math.nan
    ref, pred, _ = lesions.pairs.T
    missed, false = lesions.ref_scored.copy(), lesions.pred_scored.copy()
    missed[ref], false[pred] = False, False
    return (
        float(lesions.pred_voxels[false].sum() * lesions.voxel_size),
        float(lesions.ref_voxels[missed].sum() * lesions.voxel_size),
    )


def lesion_dice(lesions: Lesions) -> tuple[np.ndarray, np.ndarray]:
    """Dice of each lesion with all components of the other map that share a voxel with it, taken whole; 0 where there is none.

    Returns:
        float64 (n,) for the reference's lesions and (m,) for the predicted components.
    """
    ref, pred, shared = lesions.pairs.T
    return (
        _dice_with_partners(ref, shared, lesions.pred_voxels[pred], lesions.ref_voxels),
        _dice_with_partners(pred, shared, lesions.ref_voxels[ref], lesions.pred_voxels),
    )


def _dice_with_partners(own: np.ndarray, shared: np.ndarray, partner_voxels: np.ndarray, own_voxels: np.ndarray) -> np.ndarray:
    both, partners = (np.bincount(own, weights=amounts, minlength=len(own_voxels)) for amounts in (shared, partner_voxels))
    return 2 * both / (own_voxels + partners)


def _ratio(numerator: float, denominator: float, lesions: Lesions) -> float:
    if lesions.nothing_scored:
        return math.nan
    return numerator / denominator if denominator else 0.0
