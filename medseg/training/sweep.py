"""Losses x seeds on one experiment, each point a run of its own; a rerun skips the finished points and resumes a broken one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from rich.console import Console

from medseg.config import to_dict
from medseg.config.errors import ConfigError, Problem
from medseg.config.sweep import Sweep, SweepPoint
from medseg.evaluation.compare import compare_runs
from medseg.training.run import resume, train
from medseg.training.run_folder import RunFolder


def run_sweep(sweep: Sweep, console: Console | None = None) -> Path:
    """Run every point that is not finished, then print and write the comparison.

    A point lies in `<runs_dir>/sweeps/<name>/<loss>-seed<seed>-<hash of its config>/`: an edited sweep never takes an old result for
    its own.

    Returns:
        The sweep's folder, `<runs_dir>/sweeps/<name>/`, with comparison.html, .md, .csv and .json.
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
    out = point_folder(sweep, sweep.points[0]).parent
    if len({point.loss for point in sweep.points}) < 2:
        console.print(f"one loss, nothing to compare; the runs lie in {out}", markup=False, highlight=False, soft_wrap=True)
    else:
        compare_runs([point_folder(sweep, point) for point in sweep.points], out, console=console)
    return out


def point_folder(sweep: Sweep, point: SweepPoint) -> Path:
    """The folder of a point."""
    digest = hashlib.sha256(json.dumps(to_dict(point.config), sort_keys=True).encode()).hexdigest()[:8]
    return Path(point.config.runs_dir).expanduser() / "sweeps" / sweep.name / f"{point.loss}-seed{point.seed}-{digest}"


def _state(folder: Path) -> str:
    if not folder.exists():
        return "train"
    return "finished" if RunFolder.open(folder).finished else "resume"
