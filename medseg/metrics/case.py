"""Score one case: all metrics of all classes, as rows of the tidy tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from medseg.metrics.lesions import lesion_dice, matched
from medseg.metrics.measures import chosen
from medseg.metrics.options import MetricOptions
from medseg.metrics.policy import evaluate
from medseg.metrics.rows import LesionRow, Row
from medseg.metrics.view import CaseView, ClassView

STANDARD = MetricOptions()
"""The standard metrics by the standard rules."""


@dataclass(frozen=True)
class CaseScores:
    """The rows of one case, or of several."""

    rows: list[Row] = field(default_factory=list)
    """One a class and metric."""
    lesions: list[LesionRow] = field(default_factory=list)
    """One a connected component of either map."""


def score_case(
    case_id: str,
    group: str,
    prediction: np.ndarray,
    reference: np.ndarray,
    classes: Sequence[str],
    membership: np.ndarray,
    spacing: Sequence[float],
    options: MetricOptions = STANDARD,
    *,
    failed: bool = False,
    list_lesions: bool = True,
) -> CaseScores:
    """Score one case.

    Ignored voxels of the reference belong to no class in either map, so that a lesion which they cut counts by what is left of it.

    Args:
        case_id: Unique name of the case.
        group: The patient; the case id if empty.
        prediction: Predicted ids.
        reference: True ids, 255 where the voxel is ignored.
        classes: Names of the classes.
        membership: Which ids belong to which class; classes may overlap.
        spacing: Voxel size in mm, one per spatial axis.
        options: Which metrics, and by which rules.
        failed: Whether there is no usable prediction. `prediction` is then taken as empty, and every class has the worst scores, penalised,
            also one that the reference lacks: see `medseg.metrics.policy`.
        list_lesions: Whether each lesion gets a row; in the first epochs of a training they are hundreds of thousands.

    Shape:
        prediction, reference: uint8 (*spatial), 2-D or 3-D; membership: bool (K, V).

    Raises:
        ValueError: For maps that differ in shape, are not uint8 or hold unknown ids, and for unknown metrics.

    Example:
        >>> reference = np.array([[0, 1, 1, 0]], np.uint8)
        >>> prediction = np.array([[0, 1, 0, 0]], np.uint8)
        >>> scores = score_case("a", "", prediction, reference, ["lesion"], np.array([[False, True]]), (1.0, 1.0))
        >>> [round(row.value, 3) for row in scores.rows if row.metric == "dice"]
        [0.667]
    """
    names = chosen(options)
    scores = CaseScores()
    if failed:
        prediction = np.zeros_like(reference)
    for view in CaseView(prediction, reference, classes, membership, spacing, options).classes:
        scores.rows.extend(_rows(case_id, group or case_id, view, names, options, failed))
        if list_lesions:
            scores.lesions.extend(_lesion_rows(case_id, group or case_id, view, options))
    return scores


def score(
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing: Sequence[float],
    metrics: Sequence[str] = (),
    options: MetricOptions = STANDARD,
) -> dict[str, float]:
    """Score one binary mask against another.

    Args:
        prediction: Predicted mask: boolean, or of zeros and ones.
        reference: True mask.
        spacing: Voxel size in mm, one per axis.
        metrics: Keys of `METRICS`; empty: those of the options.
        options: The rules.

    Shape:
        prediction, reference: (*spatial), 2-D or 3-D.

    Returns:
        Metric -> value, with the tolerance in the name where it has one (`nsd_1mm`).

    Raises:
        ValueError: For masks of different shapes or with other values (probabilities must be thresholded first), and unknown metrics.

    Example:
        >>> reference, prediction = np.zeros((2, 8, 8), bool)
        >>> reference[2:6, 2:6], prediction[2:6, 3:6] = True, True
        >>> score(prediction, reference, (0.5, 0.5), ["dice", "hd"])
        {'dice': 0.8571428571428571, 'hd': 0.5}
    """
    masks = [_ids(mask, side) for mask, side in ((prediction, "prediction"), (reference, "reference"))]
    options = replace(options, metrics=tuple(metrics) or options.metrics)
    names = chosen(options)
    (view,) = CaseView(masks[0], masks[1], ["mask"], np.array([[False, True]]), spacing, options).classes
    return {key: value for name in names for key, (value, _) in evaluate(name, view, options).items()}


def _ids(mask: np.ndarray, side: str) -> np.ndarray:
    mask = np.asarray(mask)
    ids = mask.astype(np.uint8)
    if mask.dtype != np.bool_ and (np.any(ids != mask) or ids.max(initial=0) > 1):
        raise ValueError(f"the {side} must be a mask of zeros and ones; threshold probabilities, and take a label map class by class")
    return ids


def _rows(case_id: str, group: str, view: ClassView, names: Sequence[str], options: MetricOptions, failed: bool) -> Iterator[Row]:
    counts, lesions = view.counts, view.lesions
    for name in names:
        for metric, (value, penalised) in evaluate(name, view, options, failed=failed).items():
            yield Row(
                case_id=case_id,
                group=group,
                class_name=view.name,
                metric=metric,
                value=value,
                penalised=penalised,
                ref_empty=counts.ref_voxels == 0,
                pred_empty=counts.pred_voxels == 0,
                ref_voxels=counts.ref_voxels,
                pred_voxels=counts.pred_voxels,
                ref_ml=counts.ref_voxels * counts.voxel_ml,
                pred_ml=counts.pred_voxels * counts.voxel_ml,
                ref_lesions=len(lesions.ref_voxels),
                pred_lesions=len(lesions.pred_voxels),
                spacing=view.spacing,
            )


def _lesion_rows(case_id: str, group: str, view: ClassView, options: MetricOptions) -> Iterator[LesionRow]:
    lesions = view.lesions
    hit, dice = matched(lesions, options.lesion_iou), lesion_dice(lesions)
    size = float(np.prod(view.spacing))
    sides = (
        ("reference", lesions.ref_voxels, lesions.ref_scored, hit[0], dice[0]),
        ("prediction", lesions.pred_voxels, lesions.pred_scored, hit[1], dice[1]),
    )
    for side, *columns in sides:
        for number, (voxels, scored, found, overlap) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
            yield LesionRow(case_id, group, view.name, side, number, voxels, voxels * size, scored, found, overlap)
