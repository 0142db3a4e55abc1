"""Volumes: how well the prediction measures what the reference measures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from medseg.evaluation.report.source import Source
from medseg.html import Axis, Column, Points, Rule, figure, figures, number, plot, section, table
from medseg.metrics import Row

MOST_CLASSES = 8
"""Classes that are drawn."""


def volumes(source: Source) -> str:
    """Agreement of volumes (areas in 2-D): a table, scatter plots and Bland-Altman plots."""
    found = {name: [row for row in source.per_class(name) if not (row.ref_empty and row.pred_empty)] for name in source.classes}
    found = {name: rows for name, rows in found.items() if rows}
    if not found:
        return ""
    shown = list(found.items())[:MOST_CLASSES]
    drawn = [draw(source, name, rows) for draw in (_scatter, _bland_altman) for name, rows in shown]
    what = "areas" if source.flat else "volumes"
    note = (
        f"Predicted against reference {what} in {source.volume_unit}, a point a case; cases in which both are empty are left out. "
        "Bland and Altman (Lancet 1986): bias is the mean of prediction minus reference, and 95 % of the differences are expected "
        "within the limits of agreement, bias -+ 1.96 sd, if they are about normal."
    )
    title = "Areas" if source.flat else "Volumes"
    return section(title, _table(source, found), figures(*drawn), note=note)


def agreement(differences: Sequence[float]) -> tuple[float, float, float, float, float]:
    """Bland-Altman: bias, its 95 % t interval, and the limits of agreement; NaN where two values are needed."""
    values = np.asarray(differences, dtype=np.float64)
    bias = float(values.mean())
    if len(values) < 2:
        return bias, math.nan, math.nan, math.nan, math.nan
    sd = float(values.std(ddof=1))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * sd / math.sqrt(len(values))
    return bias, bias - half, bias + half, bias - 1.96 * sd, bias + 1.96 * sd


def _table(source: Source, found: dict[str, list[Row]]) -> str:
    unit = source.volume_unit
    columns = [
        Column("class"),
        Column("n", "Cases in which at least one of the masks has the class."),
        Column(f"median reference ({unit})"),
        Column(f"bias ({unit})", "Mean of prediction minus reference."),
        Column("95 % of bias", "t interval of the bias."),
        Column(f"limits of agreement ({unit})", "Bias -+ 1.96 sd of the differences."),
        Column("median |difference| / reference (%)", "Over cases whose reference is not empty."),
        Column("Spearman rho", "Rank correlation of predicted and reference volume.", 3),
    ]
    rows: list[list[Any]] = []
    for name, rows_of in found.items():
        reference, predicted = _both(source, rows_of)
        bias, low, high, lower, upper = agreement(predicted - reference)
        there = reference > 0
        relative = float(np.median(np.abs(predicted - reference)[there] / reference[there])) * 100 if there.any() else math.nan
        constant = len(reference) < 3 or np.ptp(reference) == 0 or np.ptp(predicted) == 0
        rho = math.nan if constant else float(stats.spearmanr(reference, predicted).statistic)
        spread = f"{number(lower)} to {number(upper)}" if math.isfinite(lower) else "-"
        confidence = f"{number(low)} to {number(high)}" if math.isfinite(low) else "-"
        rows.append([name, len(rows_of), float(np.median(reference)), bias, confidence, spread, relative, rho])
    return table(columns, rows, name="areas" if source.flat else "volumes")


def _both(source: Source, rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([source.volume(row, "ref") for row in rows]), np.array([source.volume(row, "pred") for row in rows])


def _scatter(source: Source, name: str, rows: Sequence[Row]) -> str:
    reference, predicted = _both(source, rows)
    positive = bool((reference > 0).all() and (predicted > 0).all())
    log = positive and float(max(reference.max(), predicted.max()) / min(reference.min(), predicted.min())) > 30
    low, high = float(min(reference.min(), predicted.min())), float(max(reference.max(), predicted.max()))
    low, high = (low / 1.2, high * 1.2) if log else (0.0, 1.04 * high)
    tips = [f"{row.case_id}: reference {number(a)}, predicted {number(b)}" for row, a, b in zip(rows, reference, predicted, strict=True)]
    unit = source.volume_unit
    x, y = (Axis(f"{what} ({unit})", log=log, low=low, high=high) for what in ("reference", "predicted"))
    points = Points("", reference.tolist(), predicted.tolist(), tips)
    return figure(plot(f"{name}: predicted against reference", [Rule(), points], x, y), f"n = {len(rows)}.")


def _bland_altman(source: Source, name: str, rows: Sequence[Row]) -> str:
    reference, predicted = _both(source, rows)
    mean, difference = (reference + predicted) / 2, predicted - reference
    bias, _, _, lower, upper = agreement(difference)
    rules = [Rule(f"bias {number(bias)}", y=bias), Rule(y=0.0, solid=True)]
    if math.isfinite(lower):
        rules += [Rule(f"-1.96 sd: {number(lower)}", y=lower), Rule(f"+1.96 sd: {number(upper)}", y=upper)]
    tips = [f"{row.case_id}: difference {number(d)}, mean {number(m)}" for row, d, m in zip(rows, difference, mean, strict=True)]
    unit = source.volume_unit
    positive = mean[mean > 0]
    log = bool(positive.size == mean.size and mean.max() / mean.min() > 30)
    x, y = Axis(f"mean of both ({unit})", log=log), Axis(f"predicted - reference ({unit})")
    return figure(plot(f"{name}: Bland-Altman", [*rules, Points("", mean.tolist(), difference.tolist(), tips)], x, y), f"n = {len(rows)}.")
