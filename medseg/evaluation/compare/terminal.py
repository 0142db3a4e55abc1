"""A comparison on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from medseg.evaluation.compare.cells import counts, own_mean, p_text, rank_range, with_interval
from medseg.evaluation.compare.comparison import Comparison
from medseg.evaluation.compare.verdicts import by_p, cautions, repetitions, signed, verdict, with_unit

_SCORES = ("trained", "rank", "mean", "n")
_COUNTS = ("own mean (n)", "missed", "invented", "both empty")


def print_comparison(comparison: Comparison, out: Path, console: Console) -> None:
    """Print the leaderboard, what must be known before believing it, a line a pair, and where the files are."""
    title = f"{with_unit(comparison.primary)}: mean over {len(comparison.cases.ids)} cases [95 % interval]"
    scores, whole = _scores(comparison), [*_SCORES, *_COUNTS]
    names = [comparison.names[at] for at in comparison.order()]
    everything = _table(title, names, whole, scores)
    if _fits(everything, console):
        console.print(everything)
    else:
        _print_parts(comparison, title, scores, console)
    lines = cautions(comparison)
    for pair in by_p(comparison):
        lines.append(f"{signed(comparison, pair)}, Holm {p_text(pair.p_holm)}: {verdict(comparison, pair)}")
    for line in (*lines, f"written to {out / 'comparison.html'}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _print_parts(comparison: Comparison, title: str, scores: Sequence[Sequence[str]], console: Console) -> None:
    """Two tables where one does not fit, with letters for the methods where their names do not."""
    at = len(_SCORES)

    def parts(names: Sequence[str]) -> list[Table]:
        return [_table(title, names, _SCORES, [row[:at] for row in scores]), _table("", names, _COUNTS, [row[at:] for row in scores])]

    order = comparison.order()
    tables = parts([comparison.names[at] for at in order])
    if not all(_fits(one, console) for one in tables):
        tables = parts([comparison.letters[at] for at in order])
        for at in order:
            console.print(f"{comparison.letters[at]}  {comparison.names[at]}", markup=False, highlight=False, soft_wrap=True)
    for one in tables:
        console.print(one)


def _scores(comparison: Comparison) -> list[list[str]]:
    """Cells of the methods, best first."""
    rows = []
    for at in comparison.order():
        one = comparison.mean(at, comparison.primary)
        size, missed, invented, empty, _ = counts(one)
        score = with_interval(one, one.interval)
        rows.append([repetitions(comparison, at), rank_range(comparison, at), score, size, own_mean(one), missed, invented, empty])
    return rows


def _table(title: str, names: Sequence[str], heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    result = Table(title=title or None)
    result.add_column("method", overflow="fold")
    for head in heads:
        result.add_column(head, justify="right")
    for name, row in zip(names, rows, strict=True):
        result.add_row(*map(escape, (name, *row)))
    return result


def _fits(table: Table, console: Console) -> bool:
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width
