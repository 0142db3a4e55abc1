from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from medseg.config import load_sweep
from medseg.evaluation import read_rows
from medseg.training import sweep as sweeping
from medseg.training.run import InterruptedRunError
from medseg.training.run_folder import RunFolder
from medseg.training.sweep import point_folder, run_sweep
from tests.training.conftest import TINY
from tests.training.test_run import stop_in_epoch

SWEEP = """
name: duel
base: tiny.yaml
losses: [focal_dice, bce_dice]
seeds: [0, 1]
overrides: [trainer.max_epochs=1]
"""


@pytest.fixture
def sweep_file(tmp_path: Path, phantom_root: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(TINY.replace("ROOT", str(phantom_root)).replace("RUNS", str(tmp_path / "runs")))
    (tmp_path / "duel.yaml").write_text(SWEEP)
    return tmp_path / "duel.yaml"


class TestRunSweep:
    def test_trains_every_point_once_compares_and_skips_all_on_a_rerun(
        self, sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sweep = load_sweep(str(sweep_file))
        console = Console(record=True, width=120)
        folder = run_sweep(sweep, console)
        assert folder == tmp_path / "runs" / "sweeps" / "duel"
        assert {path.name for path in folder.glob("comparison.*")} == {f"comparison.{kind}" for kind in ("html", "md", "csv", "json")}
        path = folder / "comparison.csv"
        assert "2 runs" in console.export_text()
        assert all(RunFolder.open(point_folder(sweep, point)).finished for point in sweep.points)

        before = path.read_text()
        monkeypatch.setattr(sweeping, "train", None)  # calling it would fail
        monkeypatch.setattr(sweeping, "resume", None)
        again = Console(record=True, width=120)
        run_sweep(load_sweep(str(sweep_file)), again)
        assert again.export_text().count("finished") == 4
        assert path.read_text() == before

    def test_the_means_are_those_of_the_cases_files(self, sweep_file: Path) -> None:
        sweep = load_sweep(str(sweep_file))
        folder = run_sweep(sweep, Console(quiet=True))
        with (folder / "comparison.csv").open(newline="") as file:
            lines = [line for line in csv.DictReader(file) if line["metric"] == "dice" and not line["class"]]
        for loss in ("focal_dice", "bce_dice"):
            points = [point for point in sweep.points if point.loss == loss]
            runs = [read_rows(RunFolder.open(point_folder(sweep, point)).evaluation / "cases.csv") for point in points]
            values = [row.value for rows in runs for row in rows if row.metric == "dice"]
            assert not np.isnan(values).any()
            assert [float(line["mean"]) for line in lines if line["method"] == loss] == [pytest.approx(np.mean(values), rel=1e-4)]

    def test_a_broken_point_is_resumed(self, sweep_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sweep = load_sweep(str(sweep_file), ["seeds=[0]", "losses=[focal_dice]"])
        with monkeypatch.context() as patch:
            stop_in_epoch(patch, 0)
            with pytest.raises(InterruptedRunError):
                run_sweep(sweep, Console(quiet=True))
        console = Console(record=True, width=120)
        run_sweep(sweep, console)
        assert "resume" in console.export_text()

    def test_an_edited_sweep_trains_anew(self, sweep_file: Path) -> None:
        first, second = (load_sweep(str(sweep_file), [f"overrides=[trainer.max_epochs={epochs}]"]) for epochs in (1, 2))
        assert not {point_folder(first, p) for p in first.points} & {point_folder(second, p) for p in second.points}

    def test_one_seed_is_called_what_it_is(self, sweep_file: Path) -> None:
        console = Console(record=True, width=200)
        folder = run_sweep(load_sweep(str(sweep_file), ["seeds=[0]"]), console)
        assert "between two trained models, not between losses" in (folder / "comparison.md").read_text()
        assert "significant" not in console.export_text() + (folder / "comparison.html").read_text()

    def test_one_loss_is_not_compared(self, sweep_file: Path) -> None:
        console = Console(record=True, width=200)
        folder = run_sweep(load_sweep(str(sweep_file), ["seeds=[0]", "losses=[focal_dice]"]), console)
        assert "one loss, nothing to compare" in console.export_text()
        assert not list(folder.glob("comparison.*"))
