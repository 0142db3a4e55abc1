"""Tables and charts of differences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medseg.evaluation.compare.cells import broken, digits_of, ends, p_text, pair_cells, usable, with_interval
from medseg.evaluation.compare.comparison import Comparison, Pair
from medseg.evaluation.compare.leaderboard import both_ends, interval_tip
from medseg.evaluation.compare.verdicts import ahead, things_of, title_of, towards, verdict, with_unit
from medseg.html import Axis, Column, Estimate, Markup, Number, figure, figures, folded, forest, heat_map, table
from medseg.html.table import Cell
from medseg.metrics import metric_of

_MOST_CLASSES = 12


def difference_charts(comparison: Comparison) -> Markup:
    """Every method against the baseline: on the primary metric, over classes and by class; the other metrics folded away."""
    base, primary = comparison.baseline, comparison.primary
    against = [pair for pair in (*comparison.tests, *comparison.explored) if base in (pair.first, pair.second)]
    mine = [pair for pair in against if pair.metric == primary]
    if len(comparison.methods) == 2:
        rows = {title_of(primary): mine[: _MOST_CLASSES + 1]}
    else:
        names = [None, *comparison.cases.classes[:_MOST_CLASSES]] if len(comparison.cases.classes) > 1 else [None]
        rows = {name or "mean over classes": [pair for pair in mine if pair.class_name == name] for name in names}
    charts = [_forest(comparison, title, pairs, comparison.margin) for title, pairs in rows.items()]
    by_metric = {name: [pair for pair in against if pair.metric == name and not pair.class_name] for name in comparison.metrics}
    others = [_forest(comparison, title_of(name), pairs, None) for name, pairs in by_metric.items() if name != primary and pairs]
    more = folded(f"{len(others)} other metrics, exploratory: not tested", figures(*others)) if others else ""
    return Markup(figures(*charts) + more)


def pair_table(comparison: Comparison) -> Markup:
    """All tests."""
    digits = digits_of(comparison.primary)
    columns = [
        Column("first"),
        Column("second"),
        Column("first - second", f"difference of the means of {title_of(comparison.primary)}, paired by case", digits),
        Column("95 % interval", interval_tip(any(pair.t for pair in comparison.tests))),
        Column("Holm p", "the hierarchical p, or else the sign-flip p, corrected for all pairs"),
        Column("win / tie / loss", "patients for whom the first is better, equal, worse"),
        Column("effect", "matched-pairs rank-biserial correlation, -1 to 1"),
        Column("verdict", wrap=True),
    ]
    rows: list[list[Cell]] = []
    for pair in comparison.tests:
        record, *_, corrected, effect = pair_cells(pair)
        rows.append(
            [
                broken(comparison.names[pair.first]),
                broken(comparison.names[pair.second]),
                pair.difference.estimate,
                both_ends(pair, pair.difference, pair.t),
                Number(pair.p_holm, corrected),
                record,
                Number(pair.effect, effect),
                verdict(comparison, pair),
            ]
        )
    caption = f"All pairs on {title_of(comparison.primary)}, the one metric that is tested."
    return Markup(table(columns, rows, name="pairs", caption=caption) + _test_table(comparison))


def _test_table(comparison: Comparison) -> Markup:
    """What stands behind the verdicts; folded away."""
    columns = [
        Column("first"),
        Column("second"),
        Column("hierarchical p", "test over training runs (or folds) and patients; - where training was not repeated"),
        Column("sign-flip p", "permutation test over patients, of these trained models alone"),
        Column("Wilcoxon p", "signed-rank test over patients, for comparison with other papers"),
        Column("90 % interval", "practically equal where it lies within the margin"),
        Column("chance in training", "its share of the variance of the difference; the rest is the choice of patients"),
    ]
    rows: list[list[Cell]] = []
    for pair in comparison.tests:
        _, flip, wilcoxon, hierarchical, _, _ = pair_cells(pair)
        rows.append(
            [
                broken(comparison.names[pair.first]),
                broken(comparison.names[pair.second]),
                Number(pair.p_hierarchical, hierarchical),
                Number(pair.p_sign_flip, flip),
                Number(pair.p_wilcoxon, wilcoxon),
                ends(pair, pair.narrow),
                Number(pair.training, "-" if math.isnan(pair.training) else f"{100 * pair.training:.0f} %"),
            ]
        )
    return folded("Each test by itself, and the chance in training", table(columns, rows, name="tests"))


def pair_map(comparison: Comparison) -> str:
    """Holm-corrected p-values of all pairs, darker the smaller; nothing for two methods, whose one pair stands in the table."""
    order = comparison.order()
    if len(order) < 3:
        return ""
    names = [comparison.labels[at] for at in order]
    values, texts = [], []
    for row in order:
        cells = [None if row == column else comparison.pair(row, column) for column in order]
        values.append([math.nan if one is None else -math.log10(max(one.p_holm, 1e-4)) for one in cells])
        texts.append(["" if one is None else _mark(comparison, one, row) for one in cells])
    return figure(
        heat_map("Which pairs differ: Holm-corrected p", names, names, values, low=0.0, high=4.0, texts=texts),
        "> the row is better, < the column is, = practically equal or identical, ? neither shown."
        + ("" if comparison.repeated else f" Of {things_of(comparison)}, not of {comparison.what}."),
    )


def _forest(comparison: Comparison, title: str, pairs: Sequence[Pair], margin: float | None) -> Markup:
    base, metric = comparison.baseline, pairs[0].metric
    better = metric_of(metric).better
    side = {"higher": "right of 0 is better", "lower": "left of 0 is better", "zero": "signed: neither side is better"}[better]
    estimates = []
    for pair in pairs:
        other = pair.second if pair.first == base else pair.first
        shown = towards(pair, other)
        whiskers = (shown.low, shown.high) if usable(shown, metric, -1.0) else (math.nan, math.nan)
        one_metric = len(comparison.methods) == 2 and metric == comparison.primary
        name = (pair.class_name or "mean over classes") if one_metric else comparison.labels[other]
        estimates.append(Estimate(name, shown.estimate, *whiskers, other, with_interval(pair, shown)))
    axis = Axis(f"{with_unit(metric)}: difference to {comparison.names[base]}")
    return figure(forest(title, estimates, axis, zero=0.0, margin=margin), side)


def _mark(comparison: Comparison, pair: Pair, row: int) -> str:
    sign = (
        "="
        if (pair.equal or pair.identical) and not pair.differs
        else "?"
        if not pair.differs
        else ">"
        if ahead(comparison, pair)[0] == row
        else "<"
    )
    return f"{sign} {p_text(pair.p_holm).removeprefix('p = ').removeprefix('p ')}"
