"""An evaluation on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medseg.evaluation.folders import Evaluation

_SHOWN = ("dice", "lesion_f1")  # what fits into 80 columns; summary.json holds all metrics

_LEFT_OUT = {"missing": "of them without prediction, scored as missed", "faults": "more not scored"}


def summary_table(summary: Mapping[str, Any], title: str | None = None) -> Table:
    """One line a class and one for the mean over classes: means over cases with 95 % intervals, and how many cases are in them.

    Args:
        summary: As `write_scores` returns it.
        title: Heading; the number of cases if left out.
    """
    metrics: Mapping[str, Mapping[str, Any]] = summary["metrics"]
    groups = f" of {summary['groups']} patients" if summary["groups"] < summary["cases"] else ""
    left_out = [f"{len(summary[key])} {what}" for key, what in _LEFT_OUT.items() if summary.get(key)]
    heading = f"mean over {summary['cases']} cases{groups} [95 % interval]" + "".join(f"; {part}" for part in left_out)
    table = Table(title=title or heading, caption=summary["definitions"]["empty"])
    table.add_column("class")
    for metric in _SHOWN:
        table.add_column(metric.replace("_", " "), justify="right")
    table.add_column("cases", justify="right")
    table.add_column("both empty", justify="right")
    classes = [one["class_name"] for one in metrics.values() if one["metric"] == "dice" and one["class_name"] is not None]
    for name in classes:
        table.add_row(escape(name), *_cells(metrics, f"/{name}"))
    if len(classes) > 1:
        table.add_section()
        table.add_row("mean over classes", *_cells(metrics, "")[: len(_SHOWN)])
    return table


def print_evaluation(result: Evaluation, out: Path, console: Console) -> None:
    """Print the table, then every case that is missing, extra or at fault, and where the files are."""
    console.print(summary_table(result.summary))
    lines = [f"{name}: no prediction; scored as missed" for name in result.missing]
    lines += [f"{name}: no reference; not scored" for name in result.extra]
    lines += [f"{name}: not scored: {reason}" for name, reason in result.faults.items()]
    for line in (*lines, f"written to {out}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _cells(metrics: Mapping[str, Mapping[str, Any]], which: str) -> list[str]:
    dice = metrics[f"dice{which}"]
    cells = [_with_interval(metrics[metric + which]) for metric in _SHOWN]
    return [*cells, str(dice["n_valid"]), str(dice["n_both_empty"])]


def _with_interval(one: Mapping[str, Any]) -> str:
    # Rich takes brackets for markup only before a letter, so [0.1, 0.2] is safe.
    interval = f" [{one['low']:.2f}, {one['high']:.2f}]" if one["low"] is not None else ""
    return _number(one["mean"]) + interval


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
