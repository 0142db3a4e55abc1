"""Means with their intervals, class by class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from medseg.evaluation.report.source import Source
from medseg.html import Axis, Column, Estimate, Markup, Number, boxes, figure, figures, folded, forest, interval, number, section, table

HEADLINE = ("dice", "nsd", "hd95", "lesion_f1")
"""Shown beside the primary metric, where they were computed."""
MOST_BOXES = 12
"""Classes in one box plot."""
_MEANS = "mean over classes"


def summary(source: Source) -> str:
    """The table a reader looks at first, its picture, and all metrics below it."""
    return section(
        "Summary",
        _headline(source),
        figures(_forest(source), *_boxes(source)),
        folded(f"All {len(source.metrics)} metrics with spread, counts and intervals", _everything(source)),
        note="Mean over cases, below it its 95 % interval. Hover or focus a heading for its definition; click it to sort.",
    )


def headline_metrics(source: Source) -> list[str]:
    """The primary metric and the few others that most readers ask for; of the tolerances the middle one."""
    chosen = [source.primary]
    for wanted in HEADLINE:
        names = [name for name in source.metrics if name == wanted or (name.startswith(f"{wanted}_") and wanted == "nsd")]
        names = [name for name in names if not name.startswith("nsd_surfel")]
        if names and not set(names) & set(chosen):
            chosen.append(names[len(names) // 2])
    return chosen


def mean_text(source: Source, one: Mapping[str, Any], metric: str) -> str:
    """`0.871 [0.850, 0.891]`."""
    digits = source.digits(metric)
    return f"{number(one.get('mean'), digits)} {interval(one.get('low'), one.get('high'), digits)}".strip()


def _headline(source: Source) -> str:
    metrics = headline_metrics(source)
    columns = [Column("class")]
    columns += [Column(source.title(name), source.definition(name), csv=name) for name in metrics]
    several = len(source.classes) > 1
    added = " The last row adds up the classes." if several else ""
    counts = {
        "cases": "Cases in the mean of the primary metric" + ("; in the last row all cases." if several else "."),
        "both empty": "Cases in which prediction and reference lack the class." + added,
        "missed": "Cases whose prediction lacks a class that the reference has." + added,
        "invented": "Cases whose prediction has a class that the reference lacks." + added,
    }
    empty = any(source.aggregate(source.primary, name).get("n_both_empty") for name in source.classes)
    if not empty:
        del counts["both empty"]
    columns += [Column(name, tip) for name, tip in counts.items()]
    rows: list[list[Any]] = []
    for name in source.classes:
        cells: list[Any] = [name]
        for metric in metrics:
            one = source.aggregate(metric, name)
            cells.append(_mean_cell(source, one, metric))
        of_class = source.per_class(name)
        missed = sum(row.pred_empty and not row.ref_empty for row in of_class)
        invented = sum(row.ref_empty and not row.pred_empty for row in of_class)
        primary = source.aggregate(source.primary, name)
        both_empty = [primary.get("n_both_empty", 0)] if empty else []
        rows.append([*cells, primary.get("n_valid", 0), *both_empty, missed, invented])
    strong = []
    if several:
        cells = [_MEANS]
        for metric in metrics:
            one = source.aggregate(metric)
            cells.append(_mean_cell(source, one, metric))
        rows.append([*cells, len(source.cases), *(sum(row[at] for row in rows) for at in range(1 - len(counts), 0))])
        strong = [len(rows) - 1]
    return table(columns, rows, name="summary", strong=strong)


def _mean_cell(source: Source, one: Mapping[str, Any], metric: str) -> Number:
    """The interval stands below the mean, so that the table fits the page."""
    mean, _, confidence = mean_text(source, one, metric).partition(" ")
    return Number(one.get("mean"), Markup(f'{mean} <span class="under">{confidence}</span>' if confidence else mean))


def _everything(source: Source) -> str:
    columns = [
        Column("metric"),
        Column("class"),
        Column("n", "Cases in the mean" + ("." if len(source.classes) == 1 else f"; in the {_MEANS} values, one a case and class.")),
        Column("mean"),
        Column("95 % interval", "Percentile bootstrap of the mean: patients are resampled where they are known, else cases."),
        Column("t interval", "95 %, only below 30 patients or cases, where the bootstrap is too narrow."),
        Column("sd", "Sample standard deviation over cases."),
        Column("median"),
        Column("quartiles", "25th and 75th percentile."),
        Column("worst 5 %", source.summary.get("definitions", {}).get("worst", "The 5th percentile from the worse end.")),
        Column("both empty", "Cases in which prediction and reference lack the class."),
        Column("penalised", "Penalties of structures that only one of the masks has, and all values of cases without a usable prediction."),
        Column("mean without penalised", "To be read beside the mean, never instead: it forgives what was missed."),
        Column("failed", "Dice below 0.1."),
    ]
    rows: list[list[Any]] = []
    for metric in source.metrics:
        names: Sequence[str | None] = [*source.classes, None] if len(source.classes) > 1 else source.classes
        for name in names:
            one = source.aggregate(metric, name)
            if not one:
                continue
            digits = source.digits(metric)
            shown = {key: Number(one.get(key), number(one.get(key), digits)) for key in ("mean", "sd", "median", "p5", "mean_unpenalised")}
            rows.append(
                [
                    source.title(metric),
                    name or _MEANS,
                    one.get("n_valid", 0) if name else Number(one.get("n_valid", 0), f"{one.get('n_valid', 0)} (cases x classes)"),
                    shown["mean"],
                    interval(one.get("low"), one.get("high"), digits),
                    interval(one.get("t_low"), one.get("t_high"), digits),
                    shown["sd"],
                    shown["median"],
                    interval(one.get("q25"), one.get("q75"), digits),
                    shown["p5"],
                    one.get("n_both_empty", 0),
                    one.get("n_penalised", 0),
                    shown["mean_unpenalised"],
                    one.get("n_failed", 0) if metric == "dice" else "",
                ]
            )
    return table(columns, rows, name="all metrics", search=True)


def _forest(source: Source) -> str:
    names: list[str | None] = [*source.classes, None] if len(source.classes) > 1 else list(source.classes)
    estimates = []
    for name in names:
        one = source.aggregate(source.primary, name)
        low, high = (math.nan if one.get(key) is None else float(one[key]) for key in ("low", "high"))
        mean = math.nan if one.get("mean") is None else float(one["mean"])
        text = mean_text(source, one, source.primary)
        estimates.append(Estimate(name or _MEANS, mean, low, high, colour=0 if name else 1, text=text))
    axis = Axis(source.title(source.primary), low=0.0, high=1.0) if _is_score(source) else Axis(source.title(source.primary))
    return figure(forest(f"{source.title(source.primary)}: mean and 95 % interval", estimates, axis))


def _boxes(source: Source) -> list[str]:
    """The primary metric of every case, in several plots where there are many classes."""
    axis = Axis(source.title(source.primary), low=0.0, high=1.0) if _is_score(source) else Axis(source.title(source.primary))
    made: list[str] = []
    for start in range(0, len(source.classes), MOST_BOXES):
        groups = {}
        for name in source.classes[start : start + MOST_BOXES]:
            found = source.table.get((source.primary, name), {})
            groups[name] = [found[case].value if case in found else math.nan for case in source.cases]
        chart = boxes(f"{source.title(source.primary)} of every case", groups, axis, names=source.cases)
        made.append(figure(chart, "Box: quartiles and median; whiskers: within 1.5 interquartile ranges; a dot is a case."))
    return made


def _is_score(source: Source) -> bool:
    metric = source.metric(source.primary)
    return metric is None or (metric.better == "higher" and not metric.unit)
