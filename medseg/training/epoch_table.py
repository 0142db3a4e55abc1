"""metrics.csv: a row an epoch, continued on resume."""

from __future__ import annotations

import csv
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from medseg.files import atomic_path


class EpochTable(Logger):
    """Write logged scalars as one row an epoch.

    Lightning's own CSVLogger deletes the metrics.csv that it finds when a run resumes in the same folder; this one keeps its rows, and
    drops those of epochs that are run again. The file is rewritten whole after each epoch, so that a new column needs no guess.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: dict[int, dict[str, Any]] = {}

    @property
    def name(self) -> str:
        """Name of the logger, for Lightning."""
        return "epochs"

    @property
    def version(self) -> str:
        """One version a run folder."""
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> EpochTable:
        """The table itself."""
        return self

    def restore(self, before_epoch: int) -> None:
        """Read the rows of epochs before `before_epoch` back from the file."""
        if not self.path.is_file():
            return
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = [{k: v for k, v in row.items() if v != ""} for row in csv.DictReader(file)]
        self.rows = {int(row["epoch"]): row for row in rows if int(row["epoch"]) < before_epoch}

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add scalars to the row of their epoch and write the table."""
        values = dict(metrics)
        epoch = int(values.pop("epoch", 0))
        self.rows.setdefault(epoch, {"epoch": epoch, "step": step}).update(values)
        self.write()

    def write(self) -> None:
        """Write the table atomically."""
        seen = dict.fromkeys(key for row in self.rows.values() for key in row)
        columns = sorted(seen, key=lambda key: key.partition("/")[0] if "/" in key else "")  # epoch, step, train/..., val/...
        with atomic_path(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows[epoch] for epoch in sorted(self.rows))
