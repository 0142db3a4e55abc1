"""Voxel counts: what every overlap and volume measure of a case is computed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

IGNORE = 255
"""Internal id of voxels that count as no voxel at all."""

_CHUNK = 1 << 22  # voxels looked at together: bounds the temporary arrays


@dataclass(frozen=True)
class ClassCounts:
    """The voxels of one class in one case."""

    tp: int
    """Voxels of both prediction and reference."""
    fp: int
    """Voxels of the prediction alone."""
    fn: int
    """Voxels of the reference alone."""
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
    def both_empty(self) -> bool:
        """Whether neither map holds the class."""
        return self.ref_voxels == 0 and self.pred_voxels == 0

    @property
    def one_empty(self) -> bool:
        """Whether just one of the maps holds the class: all of it is missed, or all of it is false."""
        return (self.ref_voxels == 0) != (self.pred_voxels == 0)


def confusion_table(prediction: np.ndarray, reference: np.ndarray, num_ids: int) -> np.ndarray:
    """Count the pairs of ids of two label maps in one pass over them.

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
    # Volumes read from NIfTI lie in Fortran's order; the pairs have no order, and one that is in memory is read fastest.
    order: Literal["F", "C"] = "F" if prediction.flags.f_contiguous and reference.flags.f_contiguous else "C"
    flat_prediction, flat_reference = prediction.ravel(order), reference.ravel(order)
    table = np.zeros((256, 256), dtype=np.int64)
    for start in range(0, flat_reference.size, _CHUNK):
        table += _pairs(*_foreground(flat_prediction[start : start + _CHUNK], flat_reference[start : start + _CHUNK]))
    table[0, 0] += flat_reference.size - table.sum()
    table[:, 0] += table[:, IGNORE]
    table = table[:IGNORE, :IGNORE]
    if table[num_ids:].any() or table[:, num_ids:].any():
        highest = int(max(np.flatnonzero(table.any(axis=axis)).max() for axis in (0, 1)))
        raise ValueError(f"the label maps hold the id {highest}, but there are only the ids 0 to {num_ids - 1}")
    return table[:num_ids, :num_ids]


def class_counts(prediction: np.ndarray, reference: np.ndarray, membership: np.ndarray, voxel_ml: float) -> list[ClassCounts]:
    """Count the voxels of every class of a case.

    Shape:
        two uint8 maps of ids (*spatial), membership bool (K, V): whether id v belongs to class k. Classes may share ids (regions).

    Raises:
        ValueError: As `confusion_table`.
    """
    counted = np.stack(voxel_counts(confusion_table(prediction, reference, membership.shape[1]), membership), axis=1)
    return [ClassCounts(tp, fp, fn, voxel_ml) for tp, fp, fn in counted.tolist()]


def voxel_counts(table: np.ndarray, membership: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum a confusion table into true positives, false positives and false negatives of each class.

    Shape:
        table (V, V), membership bool (K, V) -> three int64 arrays (K,).
    """
    inside = membership.astype(np.int64)
    outside = 1 - inside
    tp = ((inside @ table) * inside).sum(axis=1)
    fp = ((outside @ table) * inside).sum(axis=1)
    fn = ((inside @ table) * outside).sum(axis=1)
    return tp, fp, fn


def _foreground(prediction: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out runs of eight voxels that are background in both maps: most of a volume, at one comparison each."""
    whole = reference.size // 8 * 8
    words = [ids[:whole].view(np.uint64) for ids in (prediction, reference)]
    used = np.flatnonzero(words[0] | words[1])
    kept = [np.concatenate((word[used].view(np.uint8), ids[whole:])) for word, ids in zip(words, (prediction, reference), strict=True)]
    return kept[0], kept[1]


def _pairs(prediction: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Count pairs of ids: (256, 256), rows the reference's."""
    if prediction.size and max(prediction.max(), reference.max()) < 16:
        packed = reference << 4 | prediction
        if packed.size % 2:
            packed = np.append(packed, np.uint8(0))  # one pair more of background, whose number follows from the rest
        # Two voxels at once: half the counting, and the 65536 counters still fit into the cache.
        twice = np.bincount(packed.view(np.uint16), minlength=1 << 16).reshape(256, 256)
        table = np.zeros((256, 256), dtype=np.int64)
        table[:16, :16] = (twice.sum(axis=0) + twice.sum(axis=1)).reshape(16, 16)
    else:
        table = np.bincount(reference.astype(np.uint16) << 8 | prediction, minlength=1 << 16).reshape(256, 256)
    table[0, 0] = 0
    return table
