"""Lesions: connected components of a class, and which of them were found.

Components are 26-connected in 3-D and 8-connected in 2-D. Matching is by any overlap, many to many: a reference lesion is detected when it
shares at least one voxel with the prediction, a predicted component is false when it shares none with the reference (ISLES'22).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medseg.metrics.counts import ClassCounts
from medseg.metrics.overlap import ratio


@dataclass(frozen=True)
class Components:
    """The components of one mask, and which of them overlap the other mask."""

    sizes: np.ndarray
    """int64 (n,): voxels of each component."""
    matched: np.ndarray
    """bool (n,): whether it shares at least one voxel with the other mask."""

    def __len__(self) -> int:
        return len(self.sizes)


def match_lesions(prediction: np.ndarray, reference: np.ndarray) -> tuple[Components, Components]:
    """Find the components of two masks and match them by any overlap.

    Shape:
        two boolean masks (*spatial), any number of axes.

    Returns:
        The reference's lesions (matched = detected) and the prediction's components (matched = not false).
    """
    box = _bounding_box(prediction | reference)
    if box is None:
        nothing = Components(np.zeros(0, np.int64), np.zeros(0, np.bool_))
        return nothing, nothing
    prediction, reference = prediction[box], reference[box]
    return _components(reference, prediction), _components(prediction, reference)


def lesion_f1(counts: ClassCounts) -> float:
    r"""Lesion detection F1, $TP / (TP + (FP + FN) / 2)$, TP counted on the reference's side (ISLES'22); in [0, 1], best 1.

    NaN when both masks are empty; 0 when a lesion-free reference has predictions, or all lesions are missed.
    """
    return ratio(counts.lesion_tp, counts.lesion_tp + (counts.lesion_fp + counts.lesion_fn) / 2, counts)


def lesion_precision(counts: ClassCounts) -> float:
    r"""Detected lesions among detections, $TP / (TP + FP)$, TP counted on the reference's side. Empty masks as in `lesion_f1`."""
    return ratio(counts.lesion_tp, counts.lesion_tp + counts.lesion_fp, counts)


def lesion_recall(counts: ClassCounts) -> float:
    r"""Share of the reference's lesions that were detected (sensitivity), $TP / (TP + FN)$. Empty masks as in `lesion_f1`."""
    return ratio(counts.lesion_tp, counts.ref_lesions, counts)


def _components(mask: np.ndarray, other: np.ndarray) -> Components:
    labelled, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim, dtype=np.bool_))
    sizes = np.bincount(labelled.ravel(), minlength=count + 1)[1:]
    overlap = np.bincount(labelled[other], minlength=count + 1)[1:]
    return Components(sizes, overlap > 0)


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...] | None:
    box = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not used.size:
            return None
        box.append(slice(int(used[0]), int(used[-1]) + 1))
    return tuple(box)
