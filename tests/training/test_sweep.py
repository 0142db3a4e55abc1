from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from medseg.config import load_sweep
from medseg.evaluation import read_rows
from medseg.metrics import Row
from medseg.training import sweep as sweeping
from medseg.training.run import InterruptedRunError
from medseg.training.run_folder import RunFolder
from medseg.training.sweep import mean_over_seeds, point_folder, run_sweep
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


def row(case: str, value: float, metric: str = "dice") -> Row:
    return Row(case, case, "lesion", metric, value, False, False, False, 10, 10, 0.01, 0.01, 1, 1, (1.0, 1.0, 1.0))


class TestRunSweep:
    def test_trains_every_point_once_compares_and_skips_all_on_a_rerun(
        self, sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sweep = load_sweep(str(sweep_file))
        console = Console(record=True, width=120)
        path = run_sweep(sweep, console)
        assert path == tmp_path / "runs" / "sweeps" / "duel" / "comparison.csv"
        with path.open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert {line["loss"] for line in lines} == {"focal_dice", "bce_dice"}
        assert "2 seeds a loss" in console.export_text()
        assert all(RunFolder.open(point_folder(sweep, point)).finished for point in sweep.points)

        before = path.read_text()
        monkeypatch.setattr(sweeping, "train", None)  # calling it would fail
        monkeypatch.setattr(sweeping, "resume", None)
        again = Console(record=True, width=120)
        run_sweep(load_sweep(str(sweep_file)), again)
        assert again.export_text().count("finished") == 4
        assert path.read_text() == before

    def test_the_means_are_those_of_the_cases_files(self, sweep_file: Path) -> None:
        sweep = load_sweep(str(sweep_file), ["seeds=[0,1]", "losses=[focal_dice]"])
        path = run_sweep(sweep, Console(quiet=True))
        runs = [read_rows(RunFolder.open(point_folder(sweep, point)).evaluation / "cases.csv") for point in sweep.points]
        values = [[r.value for r in rows if r.metric == "dice"] for rows in runs]
        with path.open(newline="") as file:
            mean = next(float(line["mean"]) for line in csv.DictReader(file) if line["metric"] == "dice" and line["class"] == "")
        assert mean == pytest.approx(np.nanmean(np.nanmean(np.array(values), axis=0)), rel=1e-4)

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
        console = Console(record=True, width=120)
        run_sweep(load_sweep(str(sweep_file), ["seeds=[0]", "losses=[focal_dice]"]), console)
        text = console.export_text()
        assert "one run a loss" in text
        assert "significant" not in text


class TestMeanOverSeeds:
    def test_averages_each_case_where_it_is_defined(self) -> None:
        nan = float("nan")
        seeds = [[row("a", 0.2), row("b", nan), row("c", nan)], [row("a", 0.6), row("b", 0.5), row("c", nan)]]
        merged = {r.case_id: r.value for r in mean_over_seeds(seeds)}
        assert merged["a"] == pytest.approx(0.4)
        assert merged["b"] == pytest.approx(0.5)
        assert np.isnan(merged["c"])

    def test_a_prediction_is_empty_only_if_every_seed_found_nothing(self) -> None:
        empty = replace(row("a", 0.0), pred_empty=True)
        assert mean_over_seeds([[empty], [empty]])[0].pred_empty
        assert not mean_over_seeds([[empty], [row("a", 0.0)]])[0].pred_empty
