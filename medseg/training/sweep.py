"""Losses x seeds on one experiment, each point a run of its own; a rerun skips the finished points and resumes a broken one."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from medseg.config import to_dict
from medseg.config.errors import ConfigError, Problem
from medseg.config.sweep import Sweep, SweepPoint
from medseg.evaluation import read_rows
from medseg.files import atomic_path
from medseg.metrics import Aggregate, Row, aggregate, metric_of
from medseg.training.run import resume, train
from medseg.training.run_folder import RunFolder

_SHOWN = ("dice", "lesion_f1")  # behind the primary metric


def run_sweep(sweep: Sweep, console: Console | None = None) -> Path:
    """Run every point that is not finished, then print and write the comparison.

    A point lies in `<runs_dir>/sweeps/<name>/<loss>-seed<seed>-<hash of its config>/`: an edited sweep never takes an old result for
    its own.

    Returns:
        The comparison, `<runs_dir>/sweeps/<name>/comparison.csv`.
    """
    console = console or Console()
    if any(point.config.trainer.devices * point.config.trainer.nodes > 1 for point in sweep.points):
        message = "a sweep trains its points one after another on one device each"
        raise ConfigError([Problem("sweep", "trainer.devices", message, "set trainer.devices=1 and trainer.nodes=1")])
    for number, point in enumerate(sweep.points, 1):
        folder = point_folder(sweep, point)
        state = _state(folder)
        console.print(f"[{number}/{len(sweep.points)}] {point.loss}, seed {point.seed}: {state}", markup=False, highlight=False)
        if state == "resume":
            resume(folder)
        elif state == "train":
            train(point.config, folder)
    comparison = compare_losses(sweep)
    path = point_folder(sweep, sweep.points[0]).parent / "comparison.csv"
    write_comparison(path, comparison)
    seeds = len({point.seed for point in sweep.points})
    console.print(comparison_table(sweep.name, comparison, seeds, sweep.points[0].config.evaluation.primary))
    console.print(f"written to {path}", markup=False, highlight=False, soft_wrap=True)
    return path


def point_folder(sweep: Sweep, point: SweepPoint) -> Path:
    """The folder of a point."""
    digest = hashlib.sha256(json.dumps(to_dict(point.config), sort_keys=True).encode()).hexdigest()[:8]
    return Path(point.config.runs_dir).expanduser() / "sweeps" / sweep.name / f"{point.loss}-seed{point.seed}-{digest}"


def _state(folder: Path) -> str:
    if not folder.exists():
        return "train"
    return "finished" if RunFolder.open(folder).finished else "resume"


def compare_losses(sweep: Sweep) -> dict[str, dict[str, Aggregate]]:
    """Aggregate each loss over cases, after averaging each case over the seeds: the interval speaks of cases, not of seeds."""
    by_loss: dict[str, list[list[Row]]] = defaultdict(list)
    for point in sweep.points:
        by_loss[point.loss].append(read_rows(RunFolder.open(point_folder(sweep, point)).evaluation / "cases.csv"))
    return {loss: aggregate(mean_over_seeds(seeds)) for loss, seeds in by_loss.items()}


def mean_over_seeds(seeds: Iterable[Iterable[Row]]) -> list[Row]:
    """One row per case, class and metric, its value the mean over the seeds where it is defined."""
    groups: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for rows in seeds:
        for row in rows:
            groups[row.case_id, row.class_name, row.metric].append(row)
    merged = []
    for rows in groups.values():
        values = np.array([row.value for row in rows])
        valid = values[~np.isnan(values)]
        merged.append(
            replace(
                rows[0],
                value=float(valid.mean()) if valid.size else float("nan"),
                penalised=any(row.penalised for row in rows),
                pred_empty=all(row.pred_empty for row in rows),
            )
        )
    return merged


def write_comparison(path: Path, comparison: dict[str, dict[str, Aggregate]]) -> None:
    """Write one line per loss, metric and class."""
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["loss", "metric", "class", "mean", "ci95_low", "ci95_high", "sd", "median", "n_valid", "n_both_empty"])
        for loss, summary in comparison.items():
            for one in summary.values():
                numbers = [f"{value:.6g}" for value in (one.mean, one.low, one.high, one.sd, one.median)]
                writer.writerow([loss, one.metric, one.class_name or "", *numbers, one.n_valid, one.n_both_empty])


def comparison_table(name: str, comparison: dict[str, dict[str, Aggregate]], seeds: int, primary: str = "dice") -> Table:
    """The closing table, best mean of the primary metric first."""
    table = Table(title=f"{name}: mean over cases [95 % interval], {seeds} seed{'s' * (seeds > 1)} a loss")
    table.add_column("loss")
    known = [key for key, one in next(iter(comparison.values())).items() if one.class_name is None]
    shown = list(dict.fromkeys(key for key in (primary, *_SHOWN) if key in known)) or known[:1]
    for metric in shown:
        table.add_column(metric.replace("_", " "), justify="right")
    table.add_column("cases", justify="right")
    for loss, summary in sorted(comparison.items(), key=lambda item: _rank(item[1][shown[0]])):
        cells = [f"{summary[m].mean:.3f} [{summary[m].low:.3f}, {summary[m].high:.3f}]" for m in shown]
        table.add_row(loss, *cells, str(summary[shown[0]].n_valid))
    if seeds == 1:
        table.caption = "one run a loss: this compares trained models, not losses"
    return table


def _rank(one: Aggregate) -> float:
    """Smaller is better; undefined comes last."""
    if np.isnan(one.mean):
        return float("inf")
    better = metric_of(one.metric).better
    return -one.mean if better == "higher" else abs(one.mean)
