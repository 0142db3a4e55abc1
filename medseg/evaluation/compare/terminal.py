"""A comparison on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medseg.evaluation.compare.cells import counts, p_text, rank_range, with_interval
from medseg.evaluation.compare.comparison import Comparison
from medseg.evaluation.compare.verdicts import by_p, cautions, repetitions, signed, verdict, with_unit


def print_comparison(comparison: Comparison, out: Path, console: Console) -> None:
    """Print the leaderboard, what must be known before believing it, a line a pair, and where the files are."""
    table = Table(title=f"{with_unit(comparison.primary)}: mean over {len(comparison.cases.ids)} cases [95 % interval]")
    for name in ("method", "trained", "rank", "mean", "n", "missed", "invented", "both empty"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for at in comparison.order():
        one = comparison.mean(at, comparison.primary)
        cells = [repetitions(comparison, at), rank_range(comparison, at), with_interval(one.interval, comparison.primary), *counts(one)[:4]]
        table.add_row(escape(comparison.names[at]), *map(escape, cells))
    console.print(table)
    lines = cautions(comparison)
    for pair in by_p(comparison):
        lines.append(f"{signed(comparison, pair)}, Holm {p_text(pair.p_holm)}: {verdict(comparison, pair)}")
    for line in (*lines, f"written to {out / 'comparison.html'}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
