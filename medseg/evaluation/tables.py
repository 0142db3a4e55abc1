"""An evaluation on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from rich.box import HORIZONTALS
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medseg.evaluation.folders import Evaluation
from medseg.metrics import METRICS, metric_of

_USUAL = ("dice", "lesion_f1", "hd95")  # where no metrics were asked for; summary.json holds all
_WIDTH = 100
_CLASS, _COUNTS, _GAP = 13, {"cases": 5, "both\nempty": 5, "penalised": 9}, 2  # columns

_LEFT_OUT = {
    "missing": "of them without prediction, scored as failed",
    "unusable": "of them with an unusable prediction, scored as failed",
    "faults": "more not scored",
}

Summaries = Mapping[str, Mapping[str, Any]]


def summary_table(summary: Mapping[str, Any], title: str | None = None, width: int = _WIDTH) -> Table:
    """One line a class and one for the mean over classes: means over cases with 95 % intervals, and how many cases are in them.

    The primary metric stands first; behind it those that were asked for, else Dice, lesion F1 and HD95, as many as the width holds. Which
    these are depends on the options and the width alone, never on the numbers.

    Args:
        summary: As `write_scores` returns it.
        title: Heading; the number of cases if left out.
        width: Of the terminal; 100 columns at most are used.
    """
    metrics: Summaries = summary["metrics"]
    groups = f" of {summary['groups']} patients" if summary["groups"] < summary["cases"] else ""
    left_out = [f"{len(summary[key])} {what}" for key, what in _LEFT_OUT.items() if summary.get(key)]
    heading = f"mean over {summary['cases']} cases{groups} [95 % interval]" + "".join(f"; {part}" for part in left_out)
    table = _table(metrics, _shown(summary, min(width, _WIDTH)))
    rules = [summary["definitions"]["empty"]]
    if summary.get("missing") or summary.get("unusable"):
        rules.append(summary["definitions"]["no_prediction"])
    table.title, table.caption = title or heading, "; ".join(rules)
    return table


def print_evaluation(result: Evaluation, out: Path, console: Console) -> None:
    """Print the table, then every case that is missing, unusable, extra or at fault, and where the files are."""
    console.print(summary_table(result.summary, width=console.width))
    lines = [f"{name}: no prediction; scored as failed in every class" for name in result.missing]
    lines += [f"{name}: scored as failed in every class: {reason}" for name, reason in result.unusable.items()]
    if result.left_out:
        one = len(result.left_out) == 1
        lines.append(f"{len(result.left_out)} reference{' was' if one else 's were'} left out, without prediction")
    lines += [f"{name}: no reference; not scored" for name in result.extra]
    lines += [f"{name}: not scored: {reason}" for name, reason in result.faults.items()]
    for line in (*lines, f"written to {out}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _shown(summary: Mapping[str, Any], width: int) -> list[str]:
    """The metrics of the table, in its order."""
    names = [one["metric"] for one in summary["metrics"].values() if one["class_name"] is None]
    asked = summary["options"]["metrics"] or _USUAL
    wanted = (summary["primary"], *(name for one in asked for name in names if metric_of(name) is METRICS[one]))
    found = list(dict.fromkeys(name for name in wanted if name in names)) or names[:1]
    left = width - _CLASS - sum(_GAP + count for count in _COUNTS.values())
    fitting = sum(end <= left for end in accumulate(_GAP + _room(name) for name in found))
    return found[: max(1, fitting)]


def _room(metric: str) -> int:
    """Columns for a metric: `0.512 [0.42, 0.60]`, `123.4 [100.1, 150.2]`; what is longer is wrapped."""
    found = metric_of(metric)
    return 18 if found.better == "higher" else 20


def _table(metrics: Summaries, shown: Sequence[str]) -> Table:
    table = Table(box=HORIZONTALS, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    table.add_column("class", max_width=_CLASS, overflow="fold")
    for metric in shown:
        table.add_column(_header(metric), justify="right", max_width=_room(metric))
    for header, size in _COUNTS.items():
        table.add_column(header, justify="right", max_width=size)
    classes = list(dict.fromkeys(one["class_name"] for one in metrics.values() if one["class_name"] is not None))
    for name in classes:
        own = {one["metric"]: one for one in metrics.values() if one["class_name"] == name}
        first = next((own[metric] for metric in shown if metric in own), next(iter(own.values())))
        counts = [first["n_valid"], first["n_both_empty"], max(one["n_penalised"] for one in own.values())]
        cells = [_with_interval(own[metric]) if metric in own else "" for metric in shown]
        table.add_row(escape(name), *cells, *map(str, counts))
    if len(classes) > 1:
        table.add_section()
        table.add_row("class mean", *(_with_interval(metrics[metric]) for metric in shown))
    return table


def _header(metric: str) -> str:
    found = metric_of(metric)
    tolerance = f" {metric.rsplit('_', 1)[1].removesuffix('mm')} mm" if found.per_tolerance else ""
    title, _, definition = found.title.partition(" (")
    unit = f", {found.unit}" if found.unit else ""
    return f"{title}{tolerance}{unit}" + (f"\n({definition}" if definition else "")


def _with_interval(one: Mapping[str, Any]) -> str:
    # Rich takes brackets for markup only before a letter, so [0.1, 0.2] is safe.
    digits = 1 if metric_of(one["metric"]).unit else 2
    interval = f" [{one['low']:.{digits}f}, {one['high']:.{digits}f}]" if one["low"] is not None else ""
    return ("-" if one["mean"] is None else f"{one['mean']:.{digits if digits == 1 else 3}f}") + interval
