"""Detection from probabilities: candidates with scores, the FROC curve and average precision."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from medseg.metrics.lesions import Connectivity, Lesions
from medseg.metrics.lesions.runs import coordinates
from medseg.metrics.options import MetricOptions
from medseg.metrics.records import CaseRecords, class_maps
from medseg.metrics.rows import CandidateRow, LesionRow

FP_PER_CASE = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
"""False positives per case at which the sensitivity is read (LUNA16)."""

THRESHOLD = 0.1
"""Candidates are components of the voxels with a probability above this."""


class Candidate(NamedTuple):
    """A component of the probability map above a low threshold."""

    score: float
    """The highest probability in it."""
    voxels: int
    size: float
    """mm^3; mm^2 in 2-D."""
    hits: tuple[int, ...]
    """Numbers of the reference's lesions that it shares voxels with, in the order of their first voxel."""


@dataclass(frozen=True)
class Froc:
    """Free-response ROC curve: sensitivity against false positives per case.

    Every score is a threshold, the lowest too (MONAI and CAMELYON16 never use it), so that the last point holds all candidates.
    """

    fp_per_case: tuple[float, ...]
    """False candidates per case at each threshold, from the highest to the lowest; the curve begins at 0."""
    sensitivity: tuple[float, ...]
    """Share of the lesions that are found there."""
    thresholds: tuple[float, ...]
    """Scores; infinity at the beginning, where nothing is a detection."""
    at: tuple[float, ...]
    """Sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per case: linear along the curve, the last value beyond it."""
    mean: float
    """Mean of these: the FROC score (CPM)."""


def candidates(
    probability: np.ndarray,
    reference: np.ndarray,
    spacing: Sequence[float],
    connectivity: Connectivity = "corners",
    threshold: float = THRESHOLD,
) -> list[Candidate]:
    """Find the candidates of one class in one case, in the order of their first voxel.

    Shape:
        probability: float (*spatial), 0 where it is not to be looked at; reference: bool (*spatial).

    Args:
        probability: Of the class.
        reference: The true mask.
        spacing: Voxel size in mm.
        connectivity: What makes voxels one candidate or one lesion.
        threshold: Candidates are components of what lies above it.

    Raises:
        ValueError: As `Lesions.of`.
    """
    lesions = Lesions.of(probability > threshold, reference, spacing, connectivity)
    scores = _highest(probability, lesions)
    hits: list[list[int]] = [[] for _ in scores]
    for ref, pred, _ in lesions.pairs.tolist():
        hits[pred].append(ref)
    voxels = lesions.pred_voxels.tolist()
    rows = zip(scores, voxels, hits, strict=True)
    return [Candidate(score, count, count * lesions.voxel_size, tuple(numbers)) for score, count, numbers in rows]


def candidate_rows(
    case_id: str,
    group: str,
    class_name: str,
    probability: np.ndarray,
    reference: np.ndarray,
    considered: np.ndarray,
    spacing: Sequence[float],
    options: MetricOptions,
) -> list[CandidateRow]:
    """The candidates of one class in one case as rows of the table; the connectivity is that of the options.

    Shape:
        probability: float (*spatial); reference, considered: bool (*spatial). Voxels that are not considered count as no voxel.
    """
    seen = np.where(considered, probability, 0)
    found = candidates(seen, reference & considered, spacing, options.connectivity)
    return [CandidateRow(case_id, group or case_id, class_name, *candidate) for candidate in found]


def scored_lesions(case_ids: Iterable[str], lesions: Iterable[LesionRow], class_name: str) -> dict[str, set[int]]:
    """Numbers of the scored reference lesions of one class in every case, cases without any included: what `froc` asks for."""
    numbers: dict[str, set[int]] = {case_id: set() for case_id in case_ids}
    for row in lesions:
        if row.class_name == class_name and row.side == "reference" and row.scored:
            numbers[row.case_id].add(row.lesion)
    return numbers


def froc(candidates: Iterable[CandidateRow], lesions: Mapping[str, Collection[int]]) -> Froc:
    """The FROC curve of one class.

    At a threshold, a lesion is found when a candidate that scores at least as high shares a voxel with it; a candidate is false when it
    shares none with any lesion. A candidate that hits only lesions which are not scored is neither.

    Args:
        candidates: Of one class in all cases.
        lesions: Numbers of the scored lesions of every case (`scored_lesions`); cases without lesions count for the false positives.

    Source: Bandos et al., Biometrics 2009; van Ginneken et al., MedIA 2010, for the seven rates and their mean.

    Returns:
        The curve; its sensitivities are NaN when there is no lesion at all.
    """
    scores, found, false = _steps(candidates, lesions)
    number = sum(map(len, lesions.values()))
    sensitivity = np.append(0, found) / number if number else np.full(len(found) + 1, math.nan)
    rate = np.append(0, false) / max(len(lesions), 1)
    at = np.interp(FP_PER_CASE, rate, sensitivity)  # takes the best of several at one rate, and leads to the first of them
    thresholds = (math.inf, *scores.tolist())
    return Froc(tuple(rate.tolist()), tuple(sensitivity.tolist()), thresholds, tuple(at.tolist()), float(at.mean()))


def average_precision(candidates: Iterable[CandidateRow], lesions: Mapping[str, Collection[int]]) -> float:
    r"""Area under the precision-recall curve of detection, $\sum_k (r_k - r_{k-1}) p_k$ over the scores in descending order.

    Recall is the share of lesions found, precision $TP / (TP + FP)$ with TP the lesions found and FP the false candidates, counted as in
    `froc`. NaN when there is no lesion at all; 0 when there are lesions but no candidates.

    Args:
        candidates: Of one class in all cases.
        lesions: As in `froc`.
    """
    _, found, false = _steps(candidates, lesions)
    number = sum(map(len, lesions.values()))
    if not number:
        return math.nan
    gained = np.diff(found, prepend=0)
    return float((gained * found / np.maximum(found + false, 1)).sum() / number)


class DetectionMetrics(CaseRecords):
    """FROC and average precision over whole cases; the state is a line per case, however large its maps are.

    Args:
        classes: Names of the foreground classes.
        membership: Boolean (K, V) table: whether internal id v belongs to class k.
        options: `connectivity` and `minimum_lesion` are used.
        threshold: Candidates are components of what lies above it.
        kwargs: Of `torchmetrics.Metric`.

    Example:
        >>> metric = DetectionMetrics(["lesion"], np.array([[False, True]]))
        >>> metric.update("a", np.array([[[0.9, 0.0, 0.4]]]), np.array([[1, 0, 0]], np.uint8), spacing=(1.0, 1.0))
        >>> float(metric.compute()["average_precision/lesion"])
        1.0
    """

    higher_is_better = True

    def __init__(
        self,
        classes: Sequence[str],
        membership: np.ndarray,
        options: MetricOptions | None = None,
        threshold: float = THRESHOLD,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.classes, self.membership = tuple(classes), np.asarray(membership, dtype=np.bool_)
        self.options, self.threshold = options or MetricOptions(), threshold

    def update(
        self,
        case_id: str,
        probabilities: np.ndarray | Tensor,
        reference: np.ndarray | Tensor,
        spacing: Sequence[float],
    ) -> None:
        """Take one whole case.

        Shape:
            probabilities: float (K, *spatial), one map per class; reference: uint8 ids (*spatial), 255 where it is ignored.

        Raises:
            ValueError: For shapes that do not fit.
        """
        record = []
        for probability, mask, considered in class_maps(probabilities, reference, self.membership):
            found = candidates(np.where(considered, probability, 0), mask, spacing, self.options.connectivity, self.threshold)
            own = Lesions.of(mask, mask, spacing, self.options.connectivity, self.options.minimum_lesion)
            record.append({"candidates": [tuple(one) for one in found], "lesions": np.flatnonzero(own.ref_scored).tolist()})
        self._put(case_id, record)

    def compute(self) -> dict[str, Tensor]:
        """`froc/<class>` (mean sensitivity at seven rates) and `average_precision/<class>`, and their means `froc`, `average_precision`.

        NaN for a class without any lesion, which the means leave out. Empty without cases.
        """
        curves = self._curves()
        values: dict[str, float] = {}
        for metric, index in (("froc", 0), ("average_precision", 1)):
            of_class = {name: (curve.mean, precision)[index] for name, (curve, precision) in curves.items()}
            valid = [value for value in of_class.values() if not math.isnan(value)]
            if of_class:
                values[metric] = sum(valid) / len(valid) if valid else math.nan
            values |= {f"{metric}/{name}": value for name, value in of_class.items()}
        return {key: torch.tensor(value, dtype=torch.float32, device=self.device) for key, value in values.items()}

    def curves(self) -> dict[str, Froc]:
        """The curve of each class over the cases of all ranks. Under DDP every rank must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            return {name: curve for name, (curve, _) in self._curves().items()}

    def _curves(self) -> dict[str, tuple[Froc, float]]:
        records = self._cases()
        curves = {}
        for index, name in enumerate(self.classes if records else ()):
            lesions = {case_id: record[index]["lesions"] for case_id, record in records.items()}
            rows = [
                CandidateRow(case_id, case_id, name, score, voxels, size, tuple(hits))
                for case_id, record in records.items()
                for score, voxels, size, hits in record[index]["candidates"]
            ]
            curves[name] = froc(rows, lesions), average_precision(rows, lesions)
        return curves


def _highest(probability: np.ndarray, lesions: Lesions) -> list[float]:
    """The highest probability in each component."""
    highest = np.zeros(len(lesions.pred_voxels))
    if len(highest):
        runs = lesions.pred
        values = probability[tuple(coordinates(runs.voxels(), runs.shape).T)]
        starts = np.cumsum(runs.lengths) - runs.lengths
        np.maximum.at(highest, lesions.pred_component, np.maximum.reduceat(values, starts))
    return highest.tolist()


def _steps(rows: Iterable[CandidateRow], lesions: Mapping[str, Collection[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct scores in descending order; lesions found and false candidates with at least that score."""
    found_at: dict[float, int] = {}
    false_at: dict[float, int] = {}
    seen: set[tuple[str, int]] = set()
    scored = {case_id: frozenset(numbers) for case_id, numbers in lesions.items()}
    for row in sorted(rows, key=lambda row: -row.score):
        new = {(row.case_id, number) for number in row.hits if number in scored[row.case_id]} - seen
        seen |= new
        found_at[row.score] = found_at.get(row.score, 0) + len(new)
        false_at[row.score] = false_at.get(row.score, 0) + (not row.hits)
    found, false = (np.cumsum(list(of.values()), dtype=np.int64) for of in (found_at, false_at))
    return np.array(list(found_at)), found, false
