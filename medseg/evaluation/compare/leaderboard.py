"""Tables of means."""

from __future__ import annotations

import numpy as np

from medseg.evaluation.compare.cells import COUNTS, OWN, broken, counts, digits_of, ends, own_mean, rank_range, with_interval
from medseg.evaluation.compare.comparison import FEW_PATIENTS, Comparison, Mean, Pair
from medseg.evaluation.compare.verdicts import repetitions, title_of, with_unit
from medseg.evaluation.statistics import Interval
from medseg.html import Column, Markup, Number, folded, html_of, interval, number, table
from medseg.html.table import Cell
from medseg.metrics import metric_of


def leaderboard(comparison: Comparison) -> Markup:
    """Methods, best first; coloured are those whose difference to the best one holds after Holm's correction, where that may be said."""
    best, primary, digits = comparison.order()[0], comparison.primary, digits_of(comparison.primary)
    coloured = False
    columns = [
        Column("method"),
        Column("trained", "how often training was repeated"),
        Column("rank", "by the mean; in brackets 95 % of its ranks over 1000 resamples"),
        Column(with_unit(primary), definition(comparison, primary)),
        _interval_column(comparison),
        Column("own mean (n)", OWN),
        *_count_columns(primary),
    ]
    rows: list[list[Cell]] = []
    for at in comparison.order():
        one = comparison.mean(at, primary)
        behind = at != best and comparison.pair(at, best).claimed
        coloured |= behind
        shown = number(one.interval.estimate, digits)
        mean = Markup(f'<span class="worse">{shown}</span>') if behind else shown
        rows.append(
            [
                broken(comparison.names[at]),
                repetitions(comparison, at),
                Number(float(comparison.rankings["mean"].ranks[at]), rank_range(comparison, at)),
                Number(one.interval.estimate, mean),
                both_ends(one, one.interval, one.t),
                Number(one.own, own_mean(one)),
                *_numbers(one),
            ]
        )
    colour = (
        "Coloured: the difference to the best holds after Holm's correction over all pairs."
        if coloured
        else "Nothing is coloured: no difference to the best holds after Holm's correction over all pairs."
        if comparison.repeated
        else "Nothing is coloured: without repeated training no difference can be laid to the method."
    )
    direction = "higher is better" if metric_of(primary).better == "higher" else "lower is better"
    return table(columns, rows, name="leaderboard", caption=f"{title_of(primary)}, mean over classes, {direction}. {colour}", strong=[0])


def class_table(comparison: Comparison) -> Markup:
    """The primary metric by class; nothing where there is one class."""
    if len(comparison.cases.classes) < 2:
        return Markup("")
    primary, digits = comparison.primary, digits_of(comparison.primary)
    columns = [
        Column("class"),
        Column("method"),
        Column(with_unit(primary), definition(comparison, primary), digits),
        _interval_column(comparison),
        Column("own mean (n)", OWN),
        *_count_columns(primary),
    ]
    rows: list[list[Cell]] = []
    for name in comparison.cases.classes:
        for at in comparison.order():
            one = comparison.mean(at, primary, name)
            ends_cell = both_ends(one, one.interval, one.t)
            rows.append(
                [name, broken(comparison.names[at]), one.interval.estimate, ends_cell, Number(one.own, own_mean(one)), *_numbers(one)]
            )
    return table(columns, rows, name="classes", search=len(rows) > 40)


def spread_table(comparison: Comparison) -> Markup:
    """How far cases and runs scatter on the primary metric, over classes and by class; folded away."""
    primary, digits = comparison.primary, digits_of(comparison.primary)
    columns = [
        Column("class"),
        Column("method"),
        Column("median [quartiles]", "over cases, each averaged over runs and classes"),
        Column("worst 5 %", "5th percentile from the worse end: 95 % of the cases score at least as well", digits),
        Column("sd of cases", "standard deviation between cases", digits),
        *([Column("sd of runs", "standard deviation between the means of a method's runs", digits)] if comparison.folds == 1 else []),
    ]
    rows: list[list[Cell]] = []
    for name in (None, *(comparison.cases.classes if len(comparison.cases.classes) > 1 else ())):
        for at in comparison.order():
            one = comparison.mean(at, primary, name)
            median = Number(one.median, f"{number(one.median, digits)} {interval(one.q25, one.q75, digits)}")
            spread = [run_spread(one)] if comparison.folds == 1 else []
            rows.append([name or "mean over classes", broken(comparison.names[at]), median, one.p5, one.sd, *spread])
    return folded("Spread of cases and runs: medians, quartiles, the worst 5 %", table(columns, rows, name="spread", search=len(rows) > 40))


def metric_table(comparison: Comparison) -> Markup:
    """All metrics and classes, a column a method."""
    columns = [Column("metric"), Column("class")]
    columns += [
        Column(
            comparison.names[at],
            "mean [95 % interval]; n cases, penalised distances, structures missed, invented and empty in both, over all runs",
        )
        for at in comparison.order()
    ]
    rows: list[list[Cell]] = []
    for metric in comparison.metrics:
        for name in (None, *(comparison.cases.classes if len(comparison.cases.classes) > 1 else ())):
            means = [comparison.mean(at, metric, name) for at in comparison.order()]
            label = Markup(
                f'<span class="term" tabindex="0" title="{html_of(definition(comparison, metric))}">{html_of(with_unit(metric))}</span>'
            )
            rows.append([label, name or "mean over classes", *(Number(one.interval.estimate, _full(one)) for one in means)])
    return table(columns, rows, name="metrics", search=True)


def definition(comparison: Comparison, metric: str) -> str:
    """What a metric is, by the rules of these runs."""
    known = comparison.definitions
    base = next((name for name in (metric, metric.rpartition("_")[0]) if name in known), None)
    return known[base] if base else metric_of(metric).definition


def run_spread(one: Mean) -> float:
    """Standard deviation between the means of runs; NaN for one run."""
    runs = np.array(one.runs)
    return float(runs.std(ddof=1)) if len(runs) > 1 and np.isfinite(runs).all() else float("nan")


def both_ends(of: Mean | Pair, found: Interval, t: Interval | None) -> Markup:
    """The interval and, below it, the t interval; where both say nothing, that once."""
    lines = list(dict.fromkeys(f"{prefix}{text}" for prefix, text in (("", ends(of, found)), _t_line(ends(of, t, ""))) if text))
    return Markup(" <br>".join(html_of(line) for line in lines))


def _t_line(text: str) -> tuple[str, str]:
    return ("t " if text.startswith("[") else "", text)


def interval_tip(few: bool) -> str:
    """Of a heading over intervals."""
    more = f"; below it Student's t, which is closer to its level below {FEW_PATIENTS} patients" if few else ""
    return f"over patients, and runs or folds where training was repeated{more}"


def _interval_column(comparison: Comparison) -> Column:
    few = any(one.t for one in comparison.means if one.metric == comparison.primary)
    return Column("95 % interval", interval_tip(few))


def _count_columns(primary: str) -> list[Column]:
    return [Column(name, tip) for name, tip in COUNTS.items() if name != "failed" or primary == "dice"]


def _full(one: Mean) -> Markup:
    notes = [f"n {one.cases}"]
    told = ((one.penalised, "penalised"), (one.missed, "missed"), (one.invented, "invented"), (one.both_empty, "both empty"))
    notes += [f"{count} {what}" for count, what in told if count]
    lines = "<br>".join(", ".join(part) for part in (notes[:2], notes[2:]) if part)
    return Markup(f'{html_of(with_interval(one, one.interval))}<br><span class="note">{lines}</span>')


def _numbers(one: Mean) -> list[Number]:
    values = (one.cases, one.missed, one.invented, one.both_empty, one.failed)
    cells = [Number(float(value), text) for value, text in zip(values, counts(one), strict=True)]
    return cells if one.metric == "dice" else cells[:-1]
