"""Name -> metric. To add one: a function of a `ClassView`, and an entry here."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from medseg.metrics import lesions, overlap, surface
from medseg.metrics.centreline import cl_dice
from medseg.metrics.counts import ClassCounts
from medseg.metrics.options import MetricOptions
from medseg.metrics.view import ClassView

Value = float | tuple[float, ...]
Better = Literal["higher", "lower", "zero"]
Family = Literal["overlap", "distance", "volume", "lesion"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric of one class in one case."""

    value: Callable[[ClassView, MetricOptions], Value]
    """A number, or one a tolerance. Called for masks that are not both empty."""
    title: str
    """For headers, with the name of the definition where there are several."""
    definition: str
    """What is computed, in a line; `{names}` stand for the rules that were chosen, see `definitions`."""
    family: Family
    better: Better = "higher"
    """`zero`: a signed number, best 0."""
    unit: str = ""
    """`mm`, `mL`, or none."""
    standard: bool = False
    """Whether it is computed when no metrics are named."""
    one_empty: Literal["zero", "penalty", "formula"] = "zero"
    """What it is where just one of the masks is empty."""
    per_tolerance: bool = False
    """Whether it has one value for each of the class's tolerances."""

    @property
    def best(self) -> float:
        """The best value."""
        return 1.0 if self.better == "higher" else 0.0

    def row_names(self, name: str, tolerances: Sequence[float]) -> list[str]:
        """The `metric` of the rows: `dice`, or `nsd_1mm`, `nsd_2.5mm`."""
        return [f"{name}_{tolerance:g}mm" for tolerance in tolerances] if self.per_tolerance else [name]


def metric_of(row_metric: str) -> Metric:
    """The metric of a row: `nsd_2.5mm` -> `METRICS["nsd"]`.

    Raises:
        ValueError: When there is no such metric.
    """
    found = METRICS.get(row_metric) or METRICS.get(re.sub(r"_[-+.e0-9]+mm$", "", row_metric))
    if found is None:
        raise ValueError(f"there is no metric '{row_metric}'; known are {', '.join(METRICS)}")
    return found


def chosen(options: MetricOptions) -> tuple[str, ...]:
    """The metrics that the options ask for: keys of `METRICS`.

    Raises:
        ValueError: For an unknown name.
    """
    unknown = [name for name in options.metrics if name not in METRICS]
    if unknown:
        raise ValueError(f"there is no metric '{unknown[0]}'; known are {', '.join(METRICS)}")
    return options.metrics or tuple(name for name, metric in METRICS.items() if metric.standard)


def _counted(function: Callable[[ClassCounts], float]) -> Callable[[ClassView, MetricOptions], Value]:
    return lambda view, _: function(view.counts)


def _distance(function: Callable[[surface.Surfaces], float]) -> Callable[[ClassView, MetricOptions], Value]:
    return lambda view, _: function(view.surfaces)


def _matched(function: Callable[[lesions.Lesions, float], float]) -> Callable[[ClassView, MetricOptions], Value]:
    return lambda view, options: function(view.lesions, options.lesion_iou)


def _lesions(function: Callable[[lesions.Lesions], float]) -> Callable[[ClassView, MetricOptions], Value]:
    return lambda view, _: function(view.lesions)


METRICS: dict[str, Metric] = {
    "dice": Metric(
        value=_counted(overlap.dice),
        title="Dice",
        definition="2 TP / (2 TP + FP + FN) over voxels",
        family="overlap",
        standard=True,
    ),
    "iou": Metric(
        value=_counted(overlap.iou),
        title="IoU",
        definition="TP / (TP + FP + FN) over voxels",
        family="overlap",
        standard=True,
    ),
    "precision": Metric(
        value=_counted(overlap.precision),
        title="precision",
        definition="TP / (TP + FP) over voxels",
        family="overlap",
        standard=True,
    ),
    "recall": Metric(
        value=_counted(overlap.recall),
        title="recall",
        definition="TP / (TP + FN) over voxels",
        family="overlap",
        standard=True,
    ),
    "f_beta": Metric(
        value=lambda view, options: overlap.f_beta(view.counts, options.beta),
        title="F-beta",
        definition="F-beta over voxels, beta {beta:g}: recall counts beta times as much as precision",
        family="overlap",
    ),
    "volume_similarity": Metric(
        value=_counted(overlap.volume_similarity),
        title="volume similarity",
        definition="1 - |V_P - V_R| / (V_P + V_R)",
        family="volume",
        standard=True,
    ),
    "volume_difference_ml": Metric(
        value=_counted(overlap.volume_difference_ml),
        title="volume difference",
        definition="prediction minus reference, mL; not computed in 2-D",
        family="volume",
        better="zero",
        unit="mL",
        standard=True,
        one_empty="formula",
    ),
    "absolute_volume_difference_ml": Metric(
        value=_counted(overlap.absolute_volume_difference_ml),
        title="absolute volume difference",
        definition="|prediction minus reference|, mL; not computed in 2-D",
        family="volume",
        better="lower",
        unit="mL",
        standard=True,
        one_empty="formula",
    ),
    "relative_volume_difference": Metric(
        value=_counted(overlap.relative_volume_difference),
        title="relative volume difference",
        definition="(prediction minus reference) / reference; undefined and left out where the reference is empty",
        family="volume",
        better="zero",
        one_empty="formula",
    ),
    "hd": Metric(
        value=_distance(surface.hd),
        title="HD",
        definition="largest distance from a border voxel of either mask to the other's border, mm",
        family="distance",
        better="lower",
        unit="mm",
        one_empty="penalty",
    ),
    "hd95": Metric(
        value=_distance(surface.hd95),
        title="HD95 (max of directed)",
        definition="larger of the two directed 95th percentiles of distances between border voxels, mm (as MONAI, Metrics Reloaded)",
        family="distance",
        better="lower",
        unit="mm",
        standard=True,
        one_empty="penalty",
    ),
    "hd95_pooled": Metric(
        value=lambda view, _: surface.hd95(view.surfaces, definition="pooled"),
        title="HD95 (pooled)",
        definition="95th percentile of the distances of both directions together, mm (as medpy, panoptica)",
        family="distance",
        better="lower",
        unit="mm",
        one_empty="penalty",
    ),
    "hd95_surfel": Metric(
        value=lambda view, _: surface.hd95(view.surfels),
        title="HD95 (surfels)",
        definition="larger of the two directed 95th percentiles, weighted by the area of surface elements, mm "
        "(as DeepMind's surface-distance)",
        family="distance",
        better="lower",
        unit="mm",
        one_empty="penalty",
    ),
    "assd": Metric(
        value=_distance(surface.assd),
        title="ASSD",
        definition="mean distance of the border voxels of both masks together to the other's border, mm",
        family="distance",
        better="lower",
        unit="mm",
        standard=True,
        one_empty="penalty",
    ),
    "masd": Metric(
        value=_distance(surface.masd),
        title="MASD",
        definition="mean of the two directed mean distances between border voxels, mm",
        family="distance",
        better="lower",
        unit="mm",
        one_empty="penalty",
    ),
    "nsd": Metric(
        value=lambda view, options: tuple(surface.nsd(view.surfaces, one) for one in options.tolerances_of(view.name)),
        title="NSD",
        definition="share of the border voxels of both masks within the tolerance of the other's border; tolerances: {tolerances}",
        family="distance",
        standard=True,
        per_tolerance=True,
    ),
    "nsd_surfel": Metric(
        value=lambda view, options: tuple(surface.nsd(view.surfels, one) for one in options.tolerances_of(view.name)),
        title="NSD (surfels)",
        definition="share of the surface area of both masks within the tolerance of the other's surface (as DeepMind's surface-distance); "
        "tolerances: {tolerances}",
        family="distance",
        per_tolerance=True,
    ),
    "cl_dice": Metric(
        value=lambda view, _: cl_dice(*view.masks),
        title="clDice",
        definition="harmonic mean of |S_P and R| / |S_P| and |S_R and P| / |S_R|, S the skeleton of a mask",
        family="overlap",
    ),
    "lesion_f1": Metric(
        value=_matched(lesions.f1),
        title="lesion F1",
        definition="TP / (TP + (FP + FN) / 2), TP detected reference lesions, FN missed ones, FP false predicted components",
        family="lesion",
        standard=True,
        one_empty="formula",
    ),
    "lesion_precision": Metric(
        value=_matched(lesions.precision),
        title="lesion precision",
        definition="TP / (TP + FP), counts as in lesion_f1",
        family="lesion",
        standard=True,
        one_empty="formula",
    ),
    "lesion_recall": Metric(
        value=_matched(lesions.recall),
        title="lesion recall",
        definition="TP / (TP + FN), counts as in lesion_f1",
        family="lesion",
        standard=True,
        one_empty="formula",
    ),
    "lesion_f1_wmh": Metric(
        value=_matched(lesions.f1_wmh),
        title="lesion F1 (WMH)",
        definition="harmonic mean of detected / all reference lesions and true / all predicted components",
        family="lesion",
        one_empty="formula",
    ),
    "lesion_count_difference": Metric(
        value=_lesions(lesions.count_difference),
        title="lesion count difference",
        definition="|number of predicted components - number of reference lesions|",
        family="lesion",
        better="lower",
        standard=True,
        one_empty="formula",
    ),
    "fp_volume_ml": Metric(
        value=lambda view, _: lesions.volumes(view.lesions)[0] / 1000,
        title="FP volume",
        definition="volume of the predicted components that share no voxel with the reference, mL; not computed in 2-D (autoPET)",
        family="lesion",
        better="lower",
        unit="mL",
        standard=True,
        one_empty="formula",
    ),
    "fn_volume_ml": Metric(
        value=lambda view, _: lesions.volumes(view.lesions)[1] / 1000,
        title="FN volume",
        definition="volume of the reference lesions that share no voxel with the prediction, mL; not computed in 2-D (autoPET)",
        family="lesion",
        better="lower",
        unit="mL",
        standard=True,
        one_empty="formula",
    ),
    "pq": Metric(
        value=lambda view, _: view.panoptic[0],
        title="PQ",
        definition="panoptic quality, sq x rq",
        family="lesion",
        standard=True,
        one_empty="formula",
    ),
    "sq": Metric(
        value=lambda view, _: view.panoptic[1],
        title="SQ",
        definition="mean IoU of the matched pairs of components (IoU > 0.5); 0 where there are lesions and no pair",
        family="lesion",
        standard=True,
        one_empty="formula",
    ),
    "rq": Metric(
        value=lambda view, _: view.panoptic[2],
        title="RQ",
        definition="TP / (TP + (FP + FN) / 2), TP pairs of components with IoU > 0.5",
        family="lesion",
        standard=True,
        one_empty="formula",
    ),
    "brats_dice": Metric(
        value=lambda view, _: view.lesion_wise.mean_dice,
        title="lesion-wise Dice (BraTS 2023)",
        definition="BraTS 2023, rules {brats}: sum of the lesions' Dice over the number of lesions and false positives",
        family="lesion",
        standard=True,
        one_empty="formula",
    ),
    "brats_hd95": Metric(
        value=lambda view, _: view.lesion_wise.mean_hd95,
        title="lesion-wise HD95 (BraTS 2023)",
        definition="BraTS 2023, rules {brats}: mean of the lesions' HD95 (surfels), mm; 374 for each missed and false one",
        family="lesion",
        better="lower",
        unit="mm",
        standard=True,
        one_empty="formula",
    ),
    "cc_dice": Metric(
        value=_lesions(lesions.cc_dice),
        title="CC-Dice",
        definition="mean over the reference's lesions of the Dice among the voxels nearest to the lesion (CC-Metrics)",
        family="lesion",
        standard=True,
        one_empty="formula",
    ),
}
"""Every metric, the standard ones in the order in which they are reported."""
