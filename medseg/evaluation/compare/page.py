"""comparison.html: one file, offline, in the order in which a reader asks."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

from medseg.evaluation.compare.cells import RULE_TEXTS, RULES, rank_range
from medseg.evaluation.compare.charts import blobs, detection_by_size, lesion_table
from medseg.evaluation.compare.comparison import ALPHA, Comparison
from medseg.evaluation.compare.leaderboard import class_table, leaderboard, metric_table, spread_table
from medseg.evaluation.compare.pairs import difference_charts, pair_map, pair_table
from medseg.evaluation.compare.runs import ScoredRun
from medseg.evaluation.compare.verdicts import by_p, cautions, repetitions, sentences, signed, things_of, title_of, verdict, with_unit
from medseg.files import write_text
from medseg.html import Axis, Column, Markup, boxes, contents, facts, figure, figures, folded, html_of, number, page, section, table
from medseg.html.table import Cell
from medseg.metrics import LesionRow

_MOST_CLASSES = 12
_MOST_JOINED = 150


def write_page(path: Path, comparison: Comparison) -> None:
    """Write the page."""
    parts = {
        "Leaderboard": _leaderboard(comparison),
        "Classes": class_table(comparison),
        "Cases side by side": _boxes(comparison),
        "Differences": _differences(comparison),
        "Rankings": _rankings(comparison),
        "Lesions": _lesions(comparison),
        "All metrics": _metrics(comparison),
        "Every case": _every_case(comparison),
        "Sentences for a paper": _sentences(comparison),
        "Methods and definitions": _definitions(comparison),
    }
    notes = {
        "Lesions": "Shares are means over a method's runs; found and false by the matching rule below.",
        "All metrics": "Exploratory: with so many numbers some differ by chance, and no test stands behind them.",
    }
    title = " against ".join(comparison.names) if len(comparison.names) < 4 else f"{len(comparison.names)} {comparison.what} compared"
    body = [
        f"<h1>{html_of(title)}</h1>",
        contents([name for name, part in parts.items() if part]),
        _header(comparison),
        *(f'<p class="warning">{html_of(caution)}</p>' for caution in cautions(comparison)),
        *(section(name, part, note=notes.get(name, "")) for name, part in parts.items()),
    ]
    write_text(path, page(title, body))


def _header(comparison: Comparison) -> Markup:
    people = f" of {comparison.patients} patients, the unit that is resampled" if comparison.patients < len(comparison.cases.ids) else ""
    splits = sorted({str(run.summary.get("split")) for method in comparison.methods for run in method.runs} - {"None"})
    commits = sorted({str(run.summary.get("git")) for method in comparison.methods for run in method.runs} - {"None", ""})
    margin = "none declared" if comparison.margin is None else f"differences below {number(comparison.margin)} do not matter"
    names = comparison.names
    if comparison.labels != names:  # a key to the charts, which cut long names
        names = [f"{letter} {name}" for letter, name in zip(comparison.letters, names, strict=True)]
    return facts(
        [
            ("methods", "; ".join(f"{name} ({repetitions(comparison, at)})" for at, name in enumerate(names))),
            ("cases", f"{len(comparison.cases.ids)}{people}" + (f", in {comparison.folds} folds" if comparison.folds > 1 else "")),
            ("split", ", ".join(splits)),
            ("classes", ", ".join(comparison.cases.classes)),
            ("primary metric", with_unit(comparison.primary) + ("" if comparison.declared else ", not declared before training")),
            ("practical equality", margin),
            ("empty masks", comparison.definitions.get("empty", "")),
            ("git", ", ".join(commits)),
        ]
    )


def _leaderboard(comparison: Comparison) -> Markup:
    verdicts = "".join(
        f"<li>{html_of(signed(comparison, pair))}: {html_of(verdict(comparison, pair))}.</li>" for pair in by_p(comparison)[:10]
    )
    more = f"<p>... and {len(comparison.tests) - 10} more pairs below.</p>" if len(comparison.tests) > 10 else ""
    return Markup(leaderboard(comparison) + f"<ul>{verdicts}</ul>{more}" + spread_table(comparison))


def _boxes(comparison: Comparison) -> Markup:
    tab = comparison.tables[comparison.primary]
    columns = [(0, "mean over classes")] if len(comparison.cases.classes) > 1 else []
    columns += [(at, name) for at, name in enumerate(comparison.cases.classes[:_MOST_CLASSES], 1)]
    joined = len(comparison.cases.ids) <= _MOST_JOINED
    charts = [
        boxes(
            name,
            {comparison.labels[method]: tab.case_means(method, column).tolist() for method in range(len(comparison.methods))},
            Axis(with_unit(comparison.primary)),
            names=comparison.cases.ids,
            joined=joined,
        )
        for column, name in columns
    ]
    caption = "Box: quartiles; whiskers: 1.5 times the interquartile range; dots: every case, averaged over runs"
    caption += "; lines join the same case." if joined else "."
    left = len(comparison.cases.classes) - _MOST_CLASSES
    caption += f" {left} more classes are in the tables." if left > 0 else ""
    return Markup(figures(*charts) + f'<p class="note">{caption}</p>')


def _differences(comparison: Comparison) -> Markup:
    note = (
        "Paired by case. The interval is the 95 % one over patients"
        + (" and training runs or folds" if comparison.repeated else f", of these {things_of(comparison)}")
        + "; shaded: the margin of practical equality."
    )
    return Markup(f'<p class="note">{note}</p>' + difference_charts(comparison) + pair_table(comparison) + figures(pair_map(comparison)))


def _rankings(comparison: Comparison) -> Markup:
    charts = [
        figure(
            blobs(RULES[rule], comparison.labels, comparison.order(), ranking),
            f"{RULE_TEXTS[rule]}. Kendall's tau to 1000 resamples: "
            + ("undefined, as all share a rank." if math.isnan(ranking.tau) else f"{ranking.tau:.2f}."),
        )
        for rule, ranking in comparison.rankings.items()
    ]
    columns = [
        Column("method"),
        *(Column(name, RULE_TEXTS[rule] + "; in brackets 95 % of its resampled ranks") for rule, name in RULES.items()),
    ]
    rows = [[comparison.names[at], *(rank_range(comparison, at, rule) for rule in RULES)] for at in comparison.order()]
    note = "Area: share of 1000 resamples in which a method got the rank; ring: its rank in all data."
    return Markup(f'<p class="note">{note}</p>' + figures(*charts) + table(columns, rows, name="rankings"))


def _lesions(comparison: Comparison) -> Markup:
    lesions: dict[int, list[LesionRow]] = {}
    for at, method in enumerate(comparison.methods):
        rows = [row for run in method.runs for row in run.lesions()]
        if rows:
            lesions[at] = rows
    if not lesions:
        return Markup("")
    flat = len(comparison.methods[0].runs[0].rows[0].spacing) == 2
    unit = "mm^2" if flat else "mm^3"
    charts = [detection_by_size(comparison, lesions, name, unit) for name in comparison.cases.classes[:_MOST_CLASSES]]
    columns = [
        Column("class"),
        Column("method"),
        Column("lesions", "in the references"),
        Column("found", "share of them, averaged over runs", digits=3),
        Column("95 %", "Wilson's interval; lesions of one patient are taken as independent, so it is a little narrow"),
        Column("false a case", "predicted components that match no reference lesion, a case and run", digits=2),
        Column(f"their median size ({unit})", "half of the false components are larger"),
    ]
    return Markup(figures(*charts) + table(columns, lesion_table(comparison, lesions), name="lesions"))


def _metrics(comparison: Comparison) -> Markup:
    return metric_table(comparison)


def _every_case(comparison: Comparison) -> Markup:
    tab, order = comparison.tables[comparison.primary], comparison.order()
    values = {method: tab.case_means(method) for method in order}
    columns = [Column("case"), Column("patient"), *([Column("fold")] if comparison.folds > 1 else [])]
    columns += [
        Column(comparison.names[method], f"{title_of(comparison.primary)}, mean over classes and runs", digits=3) for method in order
    ]
    columns += [
        Column(f"{comparison.names[b]} - {comparison.names[a]}", "difference of neighbours in the leaderboard", digits=3)
        for a, b in pairwise(order[:3])
    ]
    rows: list[list[Cell]] = [
        [
            case,
            comparison.cases.groups[at],
            *([int(comparison.cases.folds[at])] if comparison.folds > 1 else []),
            *(float(values[method][at]) for method in order),
            *(float(values[b][at] - values[a][at]) for a, b in pairwise(order[:3])),
        ]
        for at, case in enumerate(comparison.cases.ids)
    ]
    return table(columns, rows, name="cases", search=True, caption=f"{with_unit(comparison.primary)} of each case")


def _sentences(comparison: Comparison) -> Markup:
    return Markup("".join(f"<p>{html_of(sentence)}</p>" for sentence in sentences(comparison)))


def _definitions(comparison: Comparison) -> Markup:
    runs: list[list[Cell]] = [
        [comparison.names[at], str(run.path), run.seed, len(run.table.cases), comparison.mean(at, comparison.primary).runs[place]]
        for at, method in enumerate(comparison.methods)
        for place, run in enumerate(_by_fold(comparison, at))
    ]
    columns = [
        Column("method"),
        Column("run"),
        Column("seed"),
        Column("cases"),
        Column(title_of(comparison.primary), "mean of the run", digits=3),
    ]
    rules = facts([(name, str(value)) for name, value in comparison.options.items()])
    return Markup(
        facts([*_STATISTICS, *((name, text) for name, text in comparison.definitions.items() if name != "interval")])
        + folded("Rules of the metrics", rules)
        + table(columns, runs, name="runs")
    )


def _by_fold(comparison: Comparison, method: int) -> list[ScoredRun]:
    """Runs in the order of `Mean.runs`: fold after fold."""
    place = {case: int(fold) for case, fold in zip(comparison.cases.ids, comparison.cases.folds, strict=True)}
    return sorted(comparison.methods[method].runs, key=lambda run: (place[run.table.cases[0]], run.seed))


_STATISTICS = [
    (
        "interval",
        "95 % percentile bootstrap (2000 resamples) with patients as the unit; where training was repeated, runs and patients are drawn, "
        "or whole folds, and the quantiles are stretched to Student's t (Rao & Wu 1988; Owen 2007; Hesterberg 2015)",
    ),
    (
        "hierarchical test",
        "difference of the means over its standard error from runs and patients (Obuchowski & Rockette 1995, with training runs as "
        "readers; degrees of freedom after Satterthwaite), or from folds as blocks; only where training was repeated",
    ),
    (
        "sign-flip test",
        "the signs of the patients' differences are exchanged, all patterns up to 15 patients, else 10 000; two-sided; it speaks of the "
        "trained models alone",
    ),
    ("Wilcoxon", "signed-rank test of the patients' differences; effect: matched-pairs rank-biserial correlation (Kerby 2014)"),
    ("Holm", f"correction over all pairs of the primary metric (Holm 1979), at {ALPHA:g}; other metrics are exploratory and not tested"),
    ("practically equal", "the 90 % interval of the difference lies within the margin: two one-sided tests at 5 % (Schuirmann 1987)"),
    (
        "empty in both",
        "where any compared run has a value, a run that rightly predicted nothing gets the best one, so that false alarms count in pairs; "
        "means can therefore differ a little from a run's own report",
    ),
]
