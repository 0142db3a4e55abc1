"""An evaluation on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medseg.evaluation.folders import Evaluation
from medseg.metrics import metric_of

_PREFERRED = ("dice", "lesion_f1", "hd95")  # behind the primary one; summary.json holds all metrics
_WIDTH = 100

_LEFT_OUT = {
    "missing": "of them without prediction, scored as missed",
    "unusable": "of them with an unusable prediction, scored as missed",
    "faults": "more not scored",
}

Summaries = Mapping[str, Mapping[str, Any]]


def summary_table(summary: Mapping[str, Any], title: str | None = None) -> Table:
    """One line a class and one for the mean over classes: means over cases with 95 % intervals, and how many cases are in them.

    The primary metric stands first; of the others as many as 100 columns hold.

    Args:
        summary: As `write_scores` returns it.
        title: Heading; the number of cases if left out.
    """
    metrics: Summaries = summary["metrics"]
    groups = f" of {summary['groups']} patients" if summary["groups"] < summary["cases"] else ""
    left_out = [f"{len(summary[key])} {what}" for key, what in _LEFT_OUT.items() if summary.get(key)]
    heading = f"mean over {summary['cases']} cases{groups} [95 % interval]" + "".join(f"; {part}" for part in left_out)
    shown = _shown(metrics, summary["primary"])
    while True:
        table = _table(metrics, shown)
        if len(shown) <= 1 or Console(width=10 * _WIDTH).measure(table).maximum <= _WIDTH:
            break
        shown = shown[:-1]
    table.title, table.caption = title or heading, summary["definitions"]["empty"]
    return table


def print_evaluation(result: Evaluation, out: Path, console: Console) -> None:
    """Print the table, then every case that is missing, unusable, extra or at fault, and where the files are."""
    console.print(summary_table(result.summary))
    lines = [f"{name}: no prediction; scored as missed" for name in result.missing]
    lines += [f"{name}: scored as missed: {reason}" for name, reason in result.unusable.items()]
    if result.left_out:
        lines.append(f"{len(result.left_out)} references without prediction were left out")
    lines += [f"{name}: no reference; not scored" for name in result.extra]
    lines += [f"{name}: not scored: {reason}" for name, reason in result.faults.items()]
    for line in (*lines, f"written to {out}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _shown(metrics: Summaries, primary: str) -> list[str]:
    """The metrics of the table, in its order."""
    names = [one["metric"] for one in metrics.values() if one["class_name"] is None]
    wanted = (primary, *_PREFERRED)
    return list(dict.fromkeys(name for name in wanted if name in names)) or names[:1]


def _table(metrics: Summaries, shown: Sequence[str]) -> Table:
    table = Table()
    table.add_column("class")
    for metric in shown:
        table.add_column(_header(metric), justify="right")
    penalised = any(one["n_penalised"] for one in metrics.values())
    for header in ("cases", "both empty", *(["penalised"] if penalised else [])):
        table.add_column(header.replace(" ", "\n"), justify="right")
    classes = list(dict.fromkeys(one["class_name"] for one in metrics.values() if one["class_name"] is not None))
    for name in classes:
        own = {one["metric"]: one for one in metrics.values() if one["class_name"] == name}
        first = next((own[metric] for metric in shown if metric in own), next(iter(own.values())))
        counts = [first["n_valid"], first["n_both_empty"], max(one["n_penalised"] for one in own.values())]
        cells = [_with_interval(own[metric]) if metric in own else "" for metric in shown]
        table.add_row(escape(name), *cells, *(str(count) for count in counts[: 2 + penalised]))
    if len(classes) > 1:
        table.add_section()
        table.add_row("mean over classes", *(_with_interval(metrics[metric]) for metric in shown))
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
