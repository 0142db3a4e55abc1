"""Which lesions were found: by any overlap, many to many, or one to one above an IoU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from medseg.metrics.lesions.components import join
from medseg.metrics.lesions.table import Lesions


@dataclass(frozen=True)
class LesionCounts:
    """Counts of detection in one case."""

    tp: int
    """Scored lesions of the reference that were found."""
    fn: int
    """Scored lesions of the reference that were not."""
    fp: int
    """Scored components of the prediction without a match."""
    tp_pred: int
    """Scored components of the prediction with a match: another number than `tp` where lesions are split or merged."""


def matched(lesions: Lesions, lesion_iou: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Match the lesions of both maps.

    Args:
        lesions: Of one class in one case.
        lesion_iou: 0: everything that shares a voxel matches, many to many (ISLES'22, WMH). Above: pairs one to one with at least this
            intersection over union, as many as possible, and among those the largest sum of IoU (the best pair is never given up for a
            worse one: MetricsReloaded's greedy matching does that). Lesions that are not scored take no part.

    Returns:
        bool (n,) and bool (m,): matched lesions of the reference and components of the prediction.
    """
    ref, pred, _ = lesions.pairs.T
    if lesion_iou > 0:
        chosen = one_to_one(lesions, lesions.ious >= lesion_iou, unique=lesion_iou > 0.5)
        ref, pred = ref[chosen], pred[chosen]
    in_ref, in_pred = np.zeros(len(lesions.ref_voxels), dtype=np.bool_), np.zeros(len(lesions.pred_voxels), dtype=np.bool_)
    in_ref[ref], in_pred[pred] = True, True
    return in_ref, in_pred


def counts(lesions: Lesions, lesion_iou: float = 0.0) -> LesionCounts:
    """Count found, missed and false lesions among those that are scored."""
    in_ref, in_pred = matched(lesions, lesion_iou)
    scored_ref, scored_pred = lesions.ref_scored, lesions.pred_scored
    return LesionCounts(
        tp=int((in_ref & scored_ref).sum()),
        fn=int((~in_ref & scored_ref).sum()),
        fp=int((~in_pred & scored_pred).sum()),
        tp_pred=int((in_pred & scored_pred).sum()),
    )


def one_to_one(lesions: Lesions, allowed: np.ndarray, *, unique: bool) -> np.ndarray:
    """Choose pairs so that no lesion has two partners.

    Args:
        lesions: Of one class in one case.
        allowed: bool (k,), which of the pairs may match.
        unique: Whether they cannot conflict, as above an IoU of 1/2: nothing is to be solved.

    Returns:
        Indices of the chosen pairs.
    """
    candidates = np.flatnonzero(allowed & lesions.ref_scored[lesions.pairs[:, 0]])
    if unique or not len(candidates):
        return candidates
    ref, pred = lesions.pairs[candidates, 0], lesions.pairs[candidates, 1] + len(lesions.ref_voxels)
    block, count = join(len(lesions.ref_voxels) + len(lesions.pred_voxels), [(ref, pred)])
    size = np.bincount(block[ref], minlength=count)[block[ref]]
    chosen = [candidates[size == 1]]
    for number in np.unique(block[ref][size > 1]):
        chosen.append(_assign(lesions, candidates[block[ref] == number]))
    return np.sort(np.concatenate(chosen))


def _assign(lesions: Lesions, candidates: np.ndarray) -> np.ndarray:
    """The largest number of pairs, then the largest sum of IoU, within one block of lesions that compete."""
    rows, row = np.unique(lesions.pairs[candidates, 0], return_inverse=True)
    columns, column = np.unique(lesions.pairs[candidates, 1], return_inverse=True)
    gain = np.zeros((len(rows), len(columns)))
    gain[row, column] = lesions.ious[candidates] + min(len(rows), len(columns))  # one pair more outweighs every sum of IoU
    which = np.full(gain.shape, -1)
    which[row, column] = candidates
    taken = which[linear_sum_assignment(gain, maximize=True)]
    return taken[taken >= 0]
