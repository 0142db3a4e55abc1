"""Score a finished run anew, by other rules or after post-processing was chosen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from medseg.config import load_config
from medseg.data import DATA_MODULES
from medseg.errors import RunError
from medseg.evaluation.report import write_report
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
    config = load_config(str(run.config), overrides)
    data = DATA_MODULES[config.data.module](config.data, config.seed)
    data.prepare_cases()
    data.setup("fit")
    if run.splits.is_file() and json.loads(run.splits.read_text(encoding="utf-8")) != json.loads(data.splits.to_json()):
        raise RunError(f"{run.splits}: the data set gives other splits now, so cases were added or removed; train a new run")
    with run.locked():
        score_run(config, data, run)
        if config.evaluation.report:
            print(f"report: {write_report(run.path)}")
    return run
