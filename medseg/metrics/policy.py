"""What stands in a row where a mask is empty: the one place that says so.

A class that both maps lack is left out of the means and counted, or scores the best value (`both_empty`). Where one map alone holds it,
nothing is dropped: overlap is 0, a distance is the penalty, and metrics of lesions and volumes follow their own formulas.

A case without a usable prediction is none of these: it has failed in every class, also where the reference lacks the class, so that no
mean gains by a prediction that is not there.
"""

from __future__ import annotations

import math

from medseg.metrics.lesions.brats import PENALTY
from medseg.metrics.measures import METRICS, Metric
from medseg.metrics.options import MetricOptions
from medseg.metrics.view import ClassView


def evaluate(name: str, view: ClassView, options: MetricOptions, *, failed: bool = False) -> dict[str, tuple[float, bool]]:
    """Compute one metric of one class in one case.

    Args:
        name: A key of `METRICS`.
        view: The class.
        options: The rules.
        failed: Whether the case has no usable prediction; the view's is empty then.

    Returns:
        Name in the row -> the value, and whether it is a penalty, as all values of a failed case are; one item a tolerance where the metric
        has one, else one. Nothing for volumes in 2-D, where a pixel has none.
    """
    metric, counts = METRICS[name], view.counts
    if metric.unit == "mL" and len(view.spacing) == 2:
        return {}
    names = metric.row_names(name, options.tolerances_of(view.name))
    if failed:
        return dict.fromkeys(names, (_failed(metric, view, options), True))
    if counts.both_empty:
        return dict.fromkeys(names, (_nothing(metric, options), False))
    if counts.one_empty and metric.one_empty != "formula":
        penalised = metric.one_empty == "penalty"
        return dict.fromkeys(names, (_penalty(view, options) if penalised else 0.0, penalised))
    found = metric.value(view, options)
    values = found if isinstance(found, tuple) else (found,)
    if metric.family == "lesion":  # no lesion counts, though there are voxels: all are below the smallest size
        values = tuple(_nothing(metric, options) if math.isnan(value) else value for value in values)
    penalised = counts.one_empty and metric.unit == "mm"
    return {key: (float(value), penalised) for key, value in zip(names, values, strict=True)}


def _failed(metric: Metric, view: ClassView, options: MetricOptions) -> float:
    """0 where higher is better, the penalty in mm, else what an empty prediction gives by the formula."""
    if metric.better == "higher":
        return 0.0
    if metric.unit == "mm":
        return PENALTY if metric.family == "lesion" else _penalty(view, options)
    found = metric.value(view, options)
    value = found[0] if isinstance(found, tuple) else found
    return metric.best if metric.family == "lesion" and math.isnan(value) else float(value)  # no lesions on either side: no difference


def _nothing(metric: Metric, options: MetricOptions) -> float:
    return metric.best if options.both_empty == "best" else math.nan


def _penalty(view: ClassView, options: MetricOptions) -> float:
    if options.penalty == "diagonal":
        return view.case.diagonal_mm
    return float(options.penalty)  # a number, "inf" or "nan"
