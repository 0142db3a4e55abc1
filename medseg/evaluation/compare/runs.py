"""What a comparison reads of a run: its config, its scores and by which rules they were made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medseg.config import Config, load_config
from medseg.errors import RunError
from medseg.evaluation.scores import read_lesions, read_rows, read_summary
from medseg.metrics import LesionRow, Row


@dataclass(frozen=True)
class ScoredRun:
    """A finished run, or a folder that `medseg evaluate` wrote."""

    path: Path
    config: Config | None
    """None for a folder of `medseg evaluate`."""
    summary: Mapping[str, Any]
    rows: list[Row]
    scores: Path
    """The folder with cases.csv, lesions.csv and summary.json."""

    @classmethod
    def read(cls, path: Path) -> ScoredRun:
        """Read a run folder, or a folder that holds cases.csv and summary.json.

        Raises:
            RunError: When it is neither, or the run is not finished.
            DataError: When a file is damaged.
        """
        if not path.is_dir():
            raise RunError(f"{path}: no such folder; give the folders of finished runs, or folders that `medseg evaluate` wrote")
        is_run = (path / "config.yaml").is_file()
        scores = path / "evaluation" if is_run else path
        if not (scores / "summary.json").is_file():
            if is_run:
                raise RunError(f"{path}: the run is not finished, so it has no scores to compare; finish it with `medseg resume {path}`")
            raise RunError(f"{path}: neither a run folder (config.yaml) nor a folder of scores (summary.json); give one of these")
        config = load_config(str((path / "config.yaml").resolve())) if is_run else None
        return cls(path, config, read_summary(scores / "summary.json"), read_rows(scores / "cases.csv"), scores)

    @property
    def seed(self) -> int:
        """Seed of the training; 0 where it is not known."""
        return self.config.seed if self.config else 0

    @property
    def primary(self) -> str | None:
        """The metric that was declared before training."""
        found = self.summary.get("primary")
        return str(found) if found else self.config.evaluation.primary if self.config else None

    @property
    def margin(self) -> float | None:
        """The difference that was declared not to matter."""
        return self.config.evaluation.margin if self.config else None

    @cached_property
    def table(self) -> RunTable:
        """The rows as arrays."""
        return RunTable.of(self.rows)

    def lesions(self) -> list[LesionRow]:
        """Every connected component of both maps; none where the table was not kept."""
        path = self.scores / "lesions.csv"
        return read_lesions(path) if path.is_file() else []


@dataclass(frozen=True)
class RunTable:
    """The tidy rows of one run, sorted by case."""

    cases: tuple[str, ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...]
    values: dict[str, np.ndarray]
    """Metric -> (cases, classes); NaN where undefined."""
    penalised: dict[str, np.ndarray]
    """Metric -> (cases, classes): whether the value is the penalty of a missed structure, or of one that is not there."""
    both_empty: np.ndarray
    """(cases, classes): rightly empty; not where the prediction failed, which is penalised."""
    missed: np.ndarray
    """(cases, classes): empty in the prediction alone."""
    invented: np.ndarray
    """(cases, classes): empty in the reference alone."""
    reference: np.ndarray
    """(cases, classes, 2): voxels of the reference, and the volume of a voxel in mm^3 (mm^2)."""

    @classmethod
    def of(cls, rows: list[Row]) -> RunTable:
        """Arrays of rows, each case, class and metric at most once."""
        group_of = {row.case_id: row.group for row in rows}
        cases, classes = sorted(group_of), list(dict.fromkeys(row.class_name for row in rows))
        place, column = {name: at for at, name in enumerate(cases)}, {name: at for at, name in enumerate(classes)}
        shape = (len(cases), len(classes))
        metrics = list(dict.fromkeys(row.metric for row in rows))
        values = {metric: np.full(shape, np.nan) for metric in metrics}
        penalised = {metric: np.zeros(shape, dtype=np.bool_) for metric in metrics}
        both_empty, missed, invented, failed = (np.zeros(shape, dtype=np.bool_) for _ in range(4))
        reference = np.full((*shape, 2), np.nan)
        for row in rows:
            at = place[row.case_id], column[row.class_name]
            values[row.metric][at], penalised[row.metric][at] = row.value, row.penalised
            both_empty[at] = row.both_empty
            failed[at] |= row.penalised and row.ref_empty and row.pred_empty
            missed[at], invented[at] = row.pred_empty and not row.ref_empty, row.ref_empty and not row.pred_empty
            reference[at] = row.ref_voxels, np.prod(row.spacing)
        groups = tuple(group_of[name] or name for name in cases)
        return cls(tuple(cases), groups, tuple(classes), values, penalised, both_empty & ~failed, missed, invented, reference)
