"""What the numbers mean, in words: printed in every output."""

from __future__ import annotations

from collections.abc import Iterable

from medseg.metrics.measures import METRICS, chosen
from medseg.metrics.options import MetricOptions

_NEIGHBOURS = {"faces": "6-connected (4 in 2-D)", "edges": "18-connected (8 in 2-D)", "corners": "26-connected (8 in 2-D)"}


def definitions(options: MetricOptions, metrics: Iterable[str] = ()) -> dict[str, str]:
    """Definition of every metric by the rules that were chosen, and of what all have in common.

    Args:
        options: The rules.
        metrics: Keys of `METRICS`; empty: those of the options.

    Returns:
        Name -> text: the metrics, and before them `case`, `empty`, `no_prediction`, `lesion`, `mean`, `interval` and `worst`.
    """
    rules = {"beta": options.beta, "brats": options.brats, "tolerances": _tolerances(options)}
    return {
        "case": "every metric is computed per class on whole cases in their own grid; ignored voxels of the reference are no voxels at all",
        "empty": _empty(options),
        "no_prediction": _no_prediction(options),
        "lesion": _lesion(options),
        "mean": "of a class: over its valid cases; without a class: over the classes' means; "
        "spread and percentiles without a class: over the cases' own means",
        "interval": "95 % percentile bootstrap of the mean; resampled are groups (patients) where they are known, else cases; "
        "below 30 of them a t interval beside it",
        "worst": "p5: the 5th percentile from the worse end: 95 % of the cases score at least as well; of signed numbers by their size",
        **{name: METRICS[name].definition.format(**rules) for name in tuple(metrics) or chosen(options)},
    }


def _empty(options: MetricOptions) -> str:
    both = "excluded from the mean and counted (n_both_empty)" if options.both_empty == "exclude" else "the best value"
    return (
        f"class empty in prediction and reference: {both}; empty in one of them: overlap 0, "
        f"distances {_penalty(options)} (n_penalised), lesion scores and volumes by their formulas"
    )


def _no_prediction(options: MetricOptions) -> str:
    return (
        "a case whose prediction is missing or unusable has failed in every class, also in one that its reference lacks: metrics where "
        f"higher is better 0, distances {_penalty(options)} (lesion-wise HD95 374 mm), the others as of an empty prediction; "
        "all of it counted as penalised, never as empty in both"
    )


def _penalty(options: MetricOptions) -> str:
    penalties = {"diagonal": "the diagonal of the image", "inf": "infinity", "nan": "left out of the mean and counted"}
    return penalties.get(str(options.penalty), f"{options.penalty} mm")


def _lesion(options: MetricOptions) -> str:
    if options.lesion_iou:
        rule = f"lesions and predicted components are paired one to one, with an IoU of at least {options.lesion_iou:g}"
    else:
        rule = (
            "a reference lesion is detected if it shares >= 1 voxel with the prediction, "
            "a predicted component is false if it shares none with the reference"
        )
    least = f"; lesions below {options.minimum_lesion:g} mm^3 (mm^2) are not scored" if options.minimum_lesion else ""
    return f"components {_NEIGHBOURS[options.connectivity]}; {rule}{least}"


def _tolerances(options: MetricOptions) -> str:
    def words(values: Iterable[float]) -> str:
        return ", ".join(f"{value:g} mm" for value in values)

    if isinstance(options.tolerances, tuple):
        return words(options.tolerances)
    return "; ".join(f"{name}: {words(values)}" for name, values in options.tolerances.items())
