"""The tidy table: one row per case, class and metric. Every mean, plot and test is a function of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medseg.metrics.counts import IGNORE, ClassCounts, confusion_table, voxel_counts
from medseg.metrics.lesions import Components, match_lesions
from medseg.metrics.measures import METRICS

_VOLUMES = ("volume_difference_ml",)  # need millilitres, which a pixel does not have


@dataclass(frozen=True)
class Row:
    """One metric of one class in one case, with what is needed to judge it."""

    case_id: str
    group: str
    """The patient, the unit that is resampled; the case id where none is known."""
    class_name: str
    metric: str
    value: float
    """NaN where both masks are empty."""
    ref_empty: bool
    pred_empty: bool
    ref_voxels: int
    pred_voxels: int
    ref_ml: float
    """Volume in mL; NaN in 2-D."""
    pred_ml: float
    ref_lesions: int
    """Connected components."""
    pred_lesions: int
    spacing: tuple[float, ...]
    """Voxel size in mm."""


@dataclass(frozen=True)
class LesionRow:
    """One connected component of one class in one case."""

    case_id: str
    group: str
    class_name: str
    side: str
    """`reference` or `prediction`."""
    voxels: int
    size: float
    """mm^3; mm^2 in 2-D."""
    matched: bool
    """Whether it shares a voxel with the other map: a reference lesion is then detected, a predicted one not false."""


@dataclass(frozen=True)
class CaseCounts:
    """What was counted in one case: all its rows are a function of it."""

    case_id: str
    group: str
    spacing: tuple[float, ...]
    classes: tuple[ClassCounts, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> CaseCounts:
        """Inverse of `to_dict`."""
        return cls(data["case_id"], data["group"], tuple(data["spacing"]), tuple(ClassCounts(**counts) for counts in data["classes"]))


def count_case(
    case_id: str,
    group: str,
    prediction: np.ndarray,
    reference: np.ndarray,
    classes: Sequence[str],
    membership: np.ndarray,
    spacing: Sequence[float],
) -> tuple[CaseCounts, list[LesionRow]]:
    """Count voxels and lesions of every class.

    Ignored voxels of the reference belong to no class in either map, so that a lesion which they cut counts by what is left of it.

    Shape:
        two uint8 maps of ids (*spatial), membership bool (K, V), one spacing per spatial axis.

    Raises:
        ValueError: For maps that differ in shape, are not uint8 or hold unknown ids.
    """
    membership = np.asarray(membership, dtype=np.bool_)
    if membership.shape[0] != len(classes) or len(spacing) != reference.ndim:
        raise ValueError(f"{len(classes)} classes and {len(spacing)} spacings do not fit {membership.shape} and {reference.ndim} axes")
    tp, fp, fn = voxel_counts(confusion_table(prediction, reference, membership.shape[1]), membership)
    voxel_size = float(np.prod(spacing))
    counted: list[ClassCounts] = []
    lesions: list[LesionRow] = []
    considered = reference != IGNORE
    for index, name in enumerate(classes):
        inside = np.zeros(256, dtype=np.bool_)
        inside[: membership.shape[1]] = membership[index]
        ref_lesions, pred_lesions = match_lesions(inside[prediction] & considered, inside[reference])
        counted.append(
            ClassCounts(
                tp=int(tp[index]),
                fp=int(fp[index]),
                fn=int(fn[index]),
                lesion_tp=int(ref_lesions.matched.sum()),
                lesion_fp=int((~pred_lesions.matched).sum()),
                lesion_fn=int((~ref_lesions.matched).sum()),
                pred_lesions=len(pred_lesions),
                voxel_ml=voxel_size / 1000 if reference.ndim == 3 else float("nan"),
            )
        )
        for side, found in (("reference", ref_lesions), ("prediction", pred_lesions)):
            lesions += _lesion_rows(case_id, group or case_id, name, side, found, voxel_size)
    return CaseCounts(case_id, group or case_id, tuple(float(s) for s in spacing), tuple(counted)), lesions


def rows_of(case: CaseCounts, classes: Sequence[str]) -> list[Row]:
    """Compute every metric of every class from a case's counts. Volume rows are left out in 2-D."""
    rows = []
    for name, counts in zip(classes, case.classes, strict=True):
        for metric, measure in METRICS.items():
            if metric in _VOLUMES and len(case.spacing) == 2:
                continue
            rows.append(
                Row(
                    case_id=case.case_id,
                    group=case.group,
                    class_name=name,
                    metric=metric,
                    value=float(measure(counts)),
                    ref_empty=counts.ref_voxels == 0,
                    pred_empty=counts.pred_voxels == 0,
                    ref_voxels=counts.ref_voxels,
                    pred_voxels=counts.pred_voxels,
                    ref_ml=counts.ref_voxels * counts.voxel_ml,
                    pred_ml=counts.pred_voxels * counts.voxel_ml,
                    ref_lesions=counts.ref_lesions,
                    pred_lesions=counts.pred_lesions,
                    spacing=case.spacing,
                )
            )
    return rows


def score_case(
    case_id: str,
    group: str,
    prediction: np.ndarray,
    reference: np.ndarray,
    classes: Sequence[str],
    membership: np.ndarray,
    spacing: Sequence[float],
) -> list[Row]:
    """Score one case: `count_case`, then `rows_of`.

    Example:
        >>> reference = np.array([[0, 1, 1, 0]], np.uint8)
        >>> prediction = np.array([[0, 1, 0, 0]], np.uint8)
        >>> rows = score_case("a", "", prediction, reference, ["lesion"], np.array([[False, True]]), (1.0, 1.0))
        >>> [round(row.value, 3) for row in rows if row.metric == "dice"]
        [0.667]
    """
    counts, _ = count_case(case_id, group, prediction, reference, classes, membership, spacing)
    return rows_of(counts, classes)


def _lesion_rows(case_id: str, group: str, name: str, side: str, found: Components, voxel_size: float) -> Iterable[LesionRow]:
    for voxels, matched in zip(found.sizes.tolist(), found.matched.tolist(), strict=True):
        yield LesionRow(case_id, group, name, side, voxels, voxels * voxel_size, matched)
