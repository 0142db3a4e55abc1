"""Score a finished run anew: by other rules, or with post-processing that is chosen now."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from medseg.config import load_config
from medseg.config.schema import Config
from medseg.data import DATA_MODULES
from medseg.data.modules import SegmentationDataModule
from medseg.errors import RunError
from medseg.evaluation import read_summary
from medseg.evaluation.report import write_report
from medseg.training.postprocess import postprocess_run
from medseg.training.run_folder import RunFolder
from medseg.training.scoring import score_run

_DECLARED = ("evaluation.primary", "evaluation.margin")


def rescore(path: Path, overrides: Sequence[str] = ()) -> RunFolder:
    """Predict the cases that close a run again, with its best checkpoint, and score them; its evaluation and report are replaced.

    Args:
        path: A run folder with a best checkpoint.
        overrides: `evaluation.key=value` pairs, for this scoring alone; the primary metric and the margin were declared before training.

    Raises:
        RunError: It is no run folder, the overrides ask for more, or its data set has changed.
    """
    run = RunFolder.open(path)
    for override in overrides:
        key = override.partition("=")[0]
        if not key.startswith("evaluation.") or key in _DECLARED:
            raise RunError(
                f"{path}: scoring a run anew takes evaluation.key=value, and not {' or '.join(_DECLARED)}, which were declared "
                f"before training; remove {key}"
            )
    config, data = _open(run, overrides)
    with run.locked():
        _score(config, data, run)
    return run


def postprocess_and_rescore(path: Path, console: Console | None = None) -> RunFolder:
    """Choose the post-processing of a finished run, and score the run with it; its evaluation and report are replaced.

    Args:
        path: The run folder.
        console: Where is shown what was kept, and what that makes of the primary metric; None shows nothing.

    Raises:
        RunError: It is no finished run, its data set has changed, or it has no validation case.
    """
    run, console = RunFolder.open(path), console or Console(quiet=True)
    if not run.finished:
        raise RunError(f"{path}: this run is not finished; let it finish (`medseg resume {path}`), then choose its post-processing")
    before = read_summary(run.evaluation / "summary.json")
    config, data = _open(run)
    with run.locked():
        postprocess_run(run.path, console, data=data)
        _score(config, data, run)
    after = read_summary(run.evaluation / "summary.json")
    for line in _changes(before, after):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return run


def _open(run: RunFolder, overrides: Sequence[str] = ()) -> tuple[Config, SegmentationDataModule]:
    config = load_config(str(run.config), overrides)
    data = DATA_MODULES[config.data.module](config.data, config.seed)
    data.prepare_cases()
    data.setup("fit")
    if run.splits.is_file() and json.loads(run.splits.read_text(encoding="utf-8")) != json.loads(data.splits.to_json()):
        raise RunError(f"{run.splits}: the data set gives other splits now, so cases were added or removed; train a new run")
    return config, data


def _score(config: Config, data: SegmentationDataModule, run: RunFolder) -> None:
    score_run(config, data, run)
    if config.evaluation.report:
        print(f"report: {write_report(run.path)}")


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What post-processing made of the primary metric, and whether that can be believed."""
    primary, cases = after["primary"], f"{after['cases']} {'test' if after['split'] == 'test' else 'validation'} cases"
    if before.get("options") != after["options"] or before.get("primary") != primary:
        lines = [f"{cases} were scored anew by the run's own rules; the scores before were made by others"]
    else:
        old, new = (summary["metrics"].get(primary, {}).get("mean") for summary in (before, after))
        had = " (with the post-processing before)" if before.get("postprocessing") else ""
        lines = [f"{primary}, mean over classes of {cases}: {_number(old)}{had} -> {_number(new)}"]
    if after["postprocessing_chosen_on_scored_cases"]:
        lines.append("these cases chose the post-processing too, so that the new numbers are too good: believe those of cases held out")
    elif after["postprocessing"] is not None:
        lines.append("these cases took no part in choosing the post-processing")
    return lines


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
