from __future__ import annotations

import csv
from pathlib import Path

from medseg.training.epoch_table import EpochTable


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class TestEpochTable:
    def test_what_is_logged_in_parts_is_one_row_an_epoch(self, tmp_path: Path) -> None:
        table = EpochTable(tmp_path / "metrics.csv")
        table.log_metrics({"val/dice": 0.5, "epoch": 0}, step=3)
        table.log_metrics({"train/loss": 1.0, "epoch": 0}, step=3)
        table.log_metrics({"train/loss": 0.5, "epoch": 1}, step=7)
        rows = read(tmp_path / "metrics.csv")
        assert [(r["epoch"], r["step"], r["train/loss"], r["val/dice"]) for r in rows] == [("0", "3", "1.0", "0.5"), ("1", "7", "0.5", "")]

    def test_training_stands_before_validation(self, tmp_path: Path) -> None:
        table = EpochTable(tmp_path / "metrics.csv")
        table.log_metrics({"val/dice": 0.5, "epoch": 0}, step=3)
        table.log_metrics({"train/loss": 1.0, "epoch": 0}, step=3)
        assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == "epoch,step,train/loss,val/dice"

    def test_a_resumed_table_keeps_the_finished_epochs_and_drops_the_one_that_is_run_again(self, tmp_path: Path) -> None:
        first = EpochTable(tmp_path / "metrics.csv")
        for epoch in range(3):
            first.log_metrics({"train/loss": float(epoch), "epoch": epoch}, step=epoch)
        second = EpochTable(tmp_path / "metrics.csv")
        second.restore(before_epoch=2)
        second.log_metrics({"train/loss": 9.0, "epoch": 2}, step=2)
        assert [row["train/loss"] for row in read(tmp_path / "metrics.csv")] == ["0.0", "1.0", "9.0"]

    def test_no_temporary_file_remains(self, tmp_path: Path) -> None:
        EpochTable(tmp_path / "metrics.csv").log_metrics({"train/loss": 1.0, "epoch": 0}, step=0)
        assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]
