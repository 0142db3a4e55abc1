"""Pieces of text that all outputs share."""

from __future__ import annotations

import math
import re

from medseg.evaluation.compare.comparison import Comparison, Mean, Pair
from medseg.evaluation.statistics import Interval
from medseg.html import Markup, html_of, interval, number
from medseg.metrics import metric_of

OWN = (
    "mean over the runs of what each run's own report says, with its number of cases: there an empty class that is rightly left empty "
    "is under the run's own rule, here it counts where another run predicted something"
)

COUNTS = {
    "n": "cases in the mean; in brackets the values, cases x classes x runs",
    "missed": "structures of the reference that the prediction misses wholly, over all runs: overlap 0, distances penalised",
    "invented": "structures of the prediction of which the reference has none, over all runs: overlap 0, distances penalised",
    "both empty": "cases, classes and runs where prediction and reference are both empty; 'as best': how many of them count as the best "
    "value, since another run of the comparison predicted something there",
    "failed": "values of Dice below 0.1",
}
"""Heading -> what it counts."""

_LINE = 16

RULES = {
    "mean": "by mean",
    "tests": "test, then rank",
    "cases": "rank, then aggregate",
}
"""Key of a ranking -> its name."""

RULE_TEXTS = {
    "mean": "ranks of the mean over classes of the means over cases",
    "tests": "rank by the number of methods that a method beats after Holm's correction; those that no test tells apart share a rank",
    "cases": "ranks within each case, averaged over cases, and ranked again",
}


def p_text(p: float) -> str:
    """`p = 0.012`, `p < 0.001`."""
    if math.isnan(p):
        return "-"
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def counts(one: Mean) -> list[str]:
    """n, missed, invented, both empty, failed."""
    empty = f"{one.both_empty}" + (f" ({one.rewarded} as best)" if one.rewarded else "")
    return [f"{one.cases} ({one.values})", f"{one.missed}", f"{one.invented}", empty, f"{one.failed}"]


def digits_of(metric: str) -> int | None:
    """Digits behind the point: 3 for shares, 2 for mm; None where 3 significant ones do better, as for volumes."""
    found = metric_of(metric)
    return 3 if found.better == "higher" else 2 if found.unit == "mm" else None


def broken(name: str) -> Markup:
    """A long name in lines, for the cell of a table: broken after a separator where there is one, else in the middle of a word."""
    lines = [""]
    for piece in re.findall(r"[^-_., /]+[-_., /]*|[-_., /]+", name):
        for at in range(0, len(piece), _LINE):
            part = piece[at : at + _LINE]
            if len(lines[-1] + part.rstrip()) > _LINE:
                lines.append("")
            lines[-1] += part
    return Markup("<br>".join(map(html_of, lines)))


def own_mean(one: Mean) -> str:
    """`0.486 (9)`."""
    return f"{number(one.own, digits_of(one.metric))} ({one.own_cases})"


def usable(found: Interval, metric: str, lowest: float) -> bool:
    """Whether an interval leaves out anything of what a share (`lowest` 0) or a difference of shares (-1) can be."""
    return not (metric_of(metric).better == "higher" and found.low <= lowest and found.high >= 1)


def ends(of: Mean | Pair, found: Interval | None, missing: str = "-") -> str:
    """`[0.790, 0.834]`; in words where the interval holds all that is possible, which says nothing."""
    if found is None:
        return missing
    if not usable(found, of.metric, 0.0 if isinstance(of, Mean) else -1.0):
        return f"no usable interval from {of.basis}"
    return interval(found.low, found.high, digits_of(of.metric)) or missing


def with_interval(of: Mean | Pair, value: Interval, t: Interval | None = None) -> str:
    """`0.812 [0.790, 0.834]`, and the t interval where there is one that says something."""
    text, said, beside = number(value.estimate, digits_of(of.metric)), ends(of, value, ""), ends(of, t, "")
    text = f"{text}, {said}" if said.startswith("no") else f"{text} {said}".strip()
    return f"{text}, t {beside}" if beside.startswith("[") else text


def rank_range(comparison: Comparison, method: int, rule: str = "mean") -> str:
    """`2 (1 to 3)`: the rank, and where 95 % of its resampled ranks lie."""
    ranking = comparison.rankings[rule]
    low, high = int(ranking.low[method]), int(ranking.high[method])
    return f"{ranking.ranks[method]} ({low} to {high})" if low != high else f"{ranking.ranks[method]} (always)"


def pair_cells(pair: Pair) -> list[str]:
    """Wins, ties and losses; the p-values; the effect."""
    return [
        f"{pair.wins} / {pair.ties} / {pair.losses}",
        *(p_text(p).removeprefix("p = ").removeprefix("p ") for p in (pair.p_sign_flip, pair.p_wilcoxon, pair.p_hierarchical, pair.p_holm)),
        f"{pair.effect:+.2f}",
    ]
