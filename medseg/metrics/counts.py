"""Voxel counts: what every overlap measure of a case is computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

IGNORE = 255
"""Internal id of voxels that count as no voxel at all."""

_CHUNK = 1 << 20  # voxels a bincount sees at once: keeps its int64 copy small and in the cache


@dataclass(frozen=True)
class ClassCounts:
    """All that is counted of one class in one case; every metric of `METRICS` is a function of it."""

    tp: int
    """Voxels of both prediction and reference."""
    fp: int
    """Voxels of the prediction alone."""
    fn: int
    """Voxels of the reference alone."""
    lesion_tp: int
    """Reference lesions (components) that share at least one voxel with the prediction."""
    lesion_fp: int
    """Predicted components that share no voxel with the reference."""
    lesion_fn: int
    """Reference lesions that share no voxel with the prediction."""
    pred_lesions: int
    """Predicted components, matched or not."""
    voxel_ml: float
    """Volume of a voxel in mL; NaN in 2-D, where a pixel has none."""

    @property
    def ref_voxels(self) -> int:
        """Voxels of the reference."""
        return self.tp + self.fn

    @property
    def pred_voxels(self) -> int:
        """Voxels of the prediction."""
        return self.tp + self.fp

    @property
    def ref_lesions(self) -> int:
        """Lesions of the reference."""
        return self.lesion_tp + self.lesion_fn

    @property
    def both_empty(self) -> bool:
        """Whether neither map holds the class."""
        return self.ref_voxels == 0 and self.pred_voxels == 0


def confusion_table(prediction: np.ndarray, reference: np.ndarray, num_ids: int) -> np.ndarray:
    """Count the pairs of ids of two label maps in one pass.

    Voxels that the reference ignores (255) are left out. A prediction of 255 elsewhere counts as background.

    Shape:
        two uint8 maps (*spatial) -> int64 (V, V), rows the reference's id, columns the prediction's.

    Raises:
        ValueError: For maps of different shapes, of another type than uint8, or with ids that are neither below `num_ids` nor 255.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"the prediction has the shape {prediction.shape}, the reference {reference.shape}")
    if prediction.dtype != np.uint8 or reference.dtype != np.uint8:
        raise ValueError(f"label maps of ids must be uint8, got {prediction.dtype} and {reference.dtype}")
    pairs = np.zeros(1 << 16, dtype=np.int64)
    flat_prediction, flat_reference = prediction.ravel(), reference.ravel()
    for start in range(0, flat_reference.size, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        pairs += np.bincount(flat_reference[chunk].astype(np.uint16) << 8 | flat_prediction[chunk], minlength=1 << 16)
    table = pairs.reshape(256, 256)
    table[:, 0] += table[:, IGNORE]
    table = table[:IGNORE, :IGNORE]
    if table[num_ids:].any() or table[:, num_ids:].any():
        highest = int(max(np.flatnonzero(table.any(axis=axis)).max() for axis in (0, 1)))
        raise ValueError(f"the label maps hold the id {highest}, but there are only the ids 0 to {num_ids - 1}")
    return table[:num_ids, :num_ids]


def voxel_counts(table: np.ndarray, membership: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum a confusion table into true positives, false positives and false negatives of each class.

    Shape:
        table (V, V), membership bool (K, V) -> three int64 arrays (K,). Classes may share ids (overlapping regions).
    """
    inside = membership.astype(np.int64)
    outside = 1 - inside
    tp = ((inside @ table) * inside).sum(axis=1)
    fp = ((outside @ table) * inside).sum(axis=1)
    fn = ((inside @ table) * outside).sum(axis=1)
    return tp, fp, fn
