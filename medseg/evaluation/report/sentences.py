"""Sentences for a paper: numbers with n, interval and rule."""

from __future__ import annotations

from medseg.evaluation.report.header import dataset_name
from medseg.evaluation.report.postprocessing import included
from medseg.evaluation.report.source import Source
from medseg.evaluation.report.summary import headline_metrics
from medseg.html import Markup, html_of, interval, number, section
from medseg.metrics import metric_of


def sentences(source: Source) -> str:
    """What may be written about this evaluation, and what else has to be said with it."""
    said = [_methods(source), *(_result(source, name) for name in headline_metrics(source))]
    lines = "".join(f"<p>{html_of(text)}</p>" for text in said if text)
    note = "To be copied. One run says nothing about the method: report several seeds or folds, compared with `medseg compare`."
    return section("Sentences for a paper", Markup(lines), note=note)


def _methods(source: Source) -> str:
    summary, texts = source.summary, source.summary.get("definitions", {})
    units = f"{summary['cases']} cases" + (f" of {summary['groups']} patients" if summary["groups"] < summary["cases"] else "")
    split = {"val": "validation cases, which had also chosen the checkpoint", "test": "held-out test cases"}.get(
        str(summary.get("split")), "cases"
    )
    resamples = summary.get("bootstrap", {}).get("resamples", 2000)
    unit = "patients" if summary["groups"] < summary["cases"] else "cases"
    one_run = f", one training run (seed {source.config.seed})" if source.config is not None else ""
    cleaned = included(source)
    steps = "" if cleaned in ("", "none") else f" Post-processing: {cleaned.removeprefix('the scores include ')}."
    rules = f" Empty masks: {texts['empty']}." if "empty" in texts else ""
    if "no_prediction" in texts and (summary.get("missing") or summary.get("unusable")):
        rules += f" Missing predictions: {texts['no_prediction']}."
    return (
        f"Predictions were scored per class on whole {split} of {dataset_name(source)} ({units}{one_run}) "
        f"with medseg {summary.get('medseg', '')}; intervals are 95 % percentile bootstrap intervals of the mean "
        f"({resamples} resamples of {unit}).{steps}{rules}"
    )


def _result(source: Source, metric: str) -> str:
    digits = source.digits(metric)
    whole = source.aggregate(metric)
    if whole.get("mean") is None:
        return ""
    title, _, unit = source.title(metric).partition(", ")
    parts = []
    for name in source.classes:
        one = source.aggregate(metric, name)
        if one.get("mean") is not None:
            confidence = interval(one["low"], one["high"], digits)
            parts.append(
                f"{number(one['mean'], digits)}{f' {unit}' if unit else ''} {confidence} for {name} (n = {one['n_valid']})".replace(
                    "  ", " "
                )
            )
    head = f"Mean {title if title[1:2].isupper() or title == 'Dice' else title[:1].lower() + title[1:]} was "
    text = head + (", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0])
    extra = []
    if whole.get("n_both_empty"):
        extra.append(f"{whole['n_both_empty']} case-class pairs in which both masks were empty are {_both(source)}")
    if whole.get("n_penalised"):
        penalty = source.options.penalty
        words = {"diagonal": "the image's diagonal", "inf": "infinity", "nan": "no value"}.get(
            str(penalty), f"{penalty} {source.length_unit}"
        )
        if metric_of(metric).better == "higher":  # only cases without a usable prediction are penalised there
            extra.append(f"{whole['n_penalised']} case-class pairs without a usable prediction count with 0")
        else:
            extra.append(f"{whole['n_penalised']} missed or invented structures count with {words}")
    return text + ("; " + "; ".join(extra) if extra else "") + "."


def _both(source: Source) -> str:
    return "excluded" if source.options.both_empty == "exclude" else "given the best value"
