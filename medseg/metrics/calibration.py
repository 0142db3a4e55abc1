"""Calibration near the target: do voxels with a probability of p belong to the class p of the time?

Over whole images the question is empty: a small lesion predicted with .99, half of it wrong, disappears among a million voxels of certain
background. Voxels are therefore counted only in the box around reference and prediction, widened by a margin. Kept are three sums per bin,
never the voxels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medseg.metrics.records import CaseRecords, class_maps
from medseg.metrics.rows import CalibrationRow

MARGIN_MM = 10.0
BINS = 10

_CHUNK = 1 << 18  # voxels binned at once, so that their bins stay in the cache


@dataclass(frozen=True)
class Bins:
    """Sums over the voxels in bins (0, 1/n], (1/n, 2/n], ..., the first with 0.

    Args:
        voxels: int64 (n,).
        probability: float64 (n,), sum of the probabilities.
        positives: int64 (n,), voxels of the class.
    """

    voxels: np.ndarray
    probability: np.ndarray
    positives: np.ndarray

    @property
    def edges(self) -> np.ndarray:
        """float64 (n + 1,), from 0 to 1."""
        return np.arange(len(self.voxels) + 1) / len(self.voxels)


def calibrate(
    probability: np.ndarray,
    reference: np.ndarray,
    considered: np.ndarray,
    spacing: Sequence[float],
    margin_mm: float = MARGIN_MM,
    bins: int = BINS,
) -> Bins:
    """Count one class of one case near the target.

    Shape:
        probability: float (*spatial) in [0, 1]; reference, considered: bool (*spatial).

    Args:
        probability: Of the class.
        reference: The true mask.
        considered: Which voxels count.
        spacing: Voxel size in mm.
        margin_mm: By how much the box around reference and prediction (probability above 1/2) is widened on all sides.
        bins: Number of bins of equal width.

    Returns:
        The sums; all 0 when neither reference nor prediction holds a voxel.

    Raises:
        ValueError: For maps of different shapes and a probability outside of [0, 1].
    """
    if not probability.shape == reference.shape == considered.shape:
        raise ValueError(f"the maps have the shapes {probability.shape}, {reference.shape} and {considered.shape}")
    edges = np.arange(1, bins) / bins
    sums = Bins(np.zeros(bins, np.int64), np.zeros(bins), np.zeros(bins, np.int64))
    box = _box_near(((probability > 0.5) | reference) & considered, spacing, margin_mm)
    if box is None:
        return sums
    chosen = considered[box]
    values, inside = probability[box][chosen], reference[box][chosen]
    if len(values) and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"probabilities must be between 0 and 1, found {values.min():.4g} to {values.max():.4g}")
    edges = edges.astype(values.dtype)  # so that .3 in single precision lies in (.2, .3]
    for start in range(0, len(values), _CHUNK):
        chunk = values[start : start + _CHUNK]
        bin_of = np.searchsorted(edges, chunk, side="left")
        sums.voxels[:] += np.bincount(bin_of, minlength=bins)
        sums.probability[:] += np.bincount(bin_of, weights=chunk, minlength=bins)
        sums.positives[:] += np.bincount(bin_of[inside[start : start + _CHUNK]], minlength=bins)
    return sums


def calibration_rows(
    case_id: str,
    group: str,
    class_name: str,
    probability: np.ndarray,
    reference: np.ndarray,
    considered: np.ndarray,
    spacing: Sequence[float],
    margin_mm: float = MARGIN_MM,
    bins: int = BINS,
) -> list[CalibrationRow]:
    """One class of one case as rows of the table, one per bin; `calibrate` has the arguments."""
    return _rows(case_id, group, class_name, calibrate(probability, reference, considered, spacing, margin_mm, bins))


def reliability(rows: Iterable[CalibrationRow]) -> Bins:
    """The reliability curve: the rows of any number of cases summed by their bins.

    Raises:
        ValueError: For rows of different bins.
    """
    rows = list(rows)
    highs = sorted({row.high for row in rows})
    if rows and not np.allclose(highs, np.arange(1, len(highs) + 1) / len(highs)):
        raise ValueError("the rows have different bins")
    index = np.searchsorted(highs, [row.high for row in rows])
    columns = ((row.voxels for row in rows), (row.probability for row in rows), (row.positives for row in rows))
    voxels, probability, positives = (np.bincount(index, weights=list(column), minlength=len(highs)) for column in columns)
    return Bins(voxels.astype(np.int64), probability, positives.astype(np.int64))


def ece(bins: Bins) -> float:
    r"""Expected calibration error of one class, $\sum_b \frac{n_b}{N} |\text{acc}_b - \text{conf}_b|$, in [0, 1], best 0.

    acc is the share of the class in a bin, conf the mean probability. NaN without any voxel. The mean over classes is the class-wise ECE.

    Source: Naeini et al., AAAI 2015, equation 3; Kull et al., NeurIPS 2019, for class-wise; bins as in Metrics Reloaded.
    """
    total = int(bins.voxels.sum())
    return float(np.abs(bins.positives - bins.probability).sum()) / total if total else math.nan


class CalibrationMetrics(CaseRecords):
    """Class-wise expected calibration error near the target, over whole cases. The state is three sums per case, class and bin.

    Args:
        classes: Names of the foreground classes.
        membership: Boolean (K, V) table: whether internal id v belongs to class k.
        margin_mm: By how much the box around reference and prediction is widened.
        bins: Number of bins of equal width.
        kwargs: Of `torchmetrics.Metric`.

    Example:
        >>> metric = CalibrationMetrics(["lesion"], np.array([[False, True]]))
        >>> metric.update("a", np.array([[[0.9, 0.9]]]), np.array([[1, 0]], np.uint8), spacing=(1.0, 1.0))
        >>> round(float(metric.compute()["ece/lesion"]), 3)
        0.4
    """

    higher_is_better = False

    def __init__(
        self, classes: Sequence[str], membership: np.ndarray, margin_mm: float = MARGIN_MM, bins: int = BINS, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.classes, self.membership = tuple(classes), np.asarray(membership, dtype=np.bool_)
        self.margin_mm, self.bins = margin_mm, bins

    def update(
        self,
        case_id: str,
        probabilities: np.ndarray | Tensor,
        reference: np.ndarray | Tensor,
        spacing: Sequence[float],
    ) -> None:
        """Count one whole case.

        Shape:
            probabilities: float (K, *spatial), one map per class; reference: uint8 ids (*spatial), 255 where it is ignored.

        Raises:
            ValueError: For shapes that do not fit and probabilities outside of [0, 1].
        """
        record = []
        for probability, mask, considered in class_maps(probabilities, reference, self.membership):
            sums = calibrate(probability, mask, considered, spacing, self.margin_mm, self.bins)
            record.append([sums.voxels.tolist(), sums.probability.tolist(), sums.positives.tolist()])
        self._put(case_id, record)

    def compute(self) -> dict[str, Tensor]:
        """`ece/<class>` over the voxels of all cases, and `ece`, the mean over the classes that have any. Empty without cases."""
        values = {f"ece/{name}": ece(reliability(self._rows(name))) for name in (self.classes if self._cases() else ())}
        valid = [value for value in values.values() if not math.isnan(value)]
        if values:
            values = {"ece": sum(valid) / len(valid) if valid else math.nan, **values}
        return {key: torch.tensor(value, dtype=torch.float32, device=self.device) for key, value in values.items()}

    def rows(self) -> list[CalibrationRow]:
        """The table of all ranks' cases. Under DDP every rank must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            return [row for name in self.classes for row in self._rows(name)]

    def _rows(self, class_name: str) -> list[CalibrationRow]:
        index = self.classes.index(class_name)
        rows = []
        for case_id, record in self._cases().items():
            voxels, probability, positives = (np.array(column) for column in record[index])
            rows += _rows(case_id, "", class_name, Bins(voxels, probability, positives))
        return rows


def _rows(case_id: str, group: str, class_name: str, sums: Bins) -> list[CalibrationRow]:
    columns = zip(pairwise(sums.edges.tolist()), sums.voxels.tolist(), sums.probability.tolist(), sums.positives.tolist(), strict=True)
    return [CalibrationRow(case_id, group or case_id, class_name, low, high, *counts) for (low, high), *counts in columns]


def _box_near(mask: np.ndarray, spacing: Sequence[float], margin_mm: float) -> tuple[slice, ...] | None:
    """The box around a mask, widened by whole voxels up to the margin and cut at the image's edges; None for an empty mask."""
    box = []
    for axis, size in enumerate(mask.shape):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not used.size:
            return None
        margin = int(margin_mm / spacing[axis] + 1e-6)
        box.append(slice(max(int(used[0]) - margin, 0), min(int(used[-1]) + 1 + margin, size)))
    return tuple(box)
