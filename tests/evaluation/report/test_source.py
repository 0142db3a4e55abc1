from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest

from medseg.config import load_config, to_yaml
from medseg.errors import DataError
from medseg.evaluation.report.source import Source, badness
from medseg.metrics import MetricOptions
from tests.evaluation.report.made import CASES, CLASSES, make_evaluation


@pytest.fixture(scope="module")
def source(volumes: Path) -> Source:
    return Source.open(volumes)


class TestOpening:
    def test_an_evaluation_is_read_with_all_its_tables(self, source: Source) -> None:
        assert source.cases == sorted(CASES)
        assert source.classes == list(CLASSES)
        assert source.config is None
        assert source.candidates
        assert source.calibration
        assert source.options == MetricOptions()

    def test_a_run_is_read_with_its_config_and_training(self, volumes: Path, tmp_path: Path) -> None:
        shutil.copytree(volumes, tmp_path / "evaluation")
        (tmp_path / "config.yaml").write_text(to_yaml(load_config("focal_dice", ["name=mine"])))
        (tmp_path / "environment.txt").write_text("command: medseg train: x\ntorch: 2\nempty:\n")
        (tmp_path / "metrics.csv").write_text("epoch,train/loss,val/dice\n0,0.5,\n1,0.25,0.75\n")
        run = Source.open(tmp_path)
        assert run.name == "mine"
        assert run.environment == {"command": "medseg train: x", "torch": "2"}
        assert run.epochs == [{"epoch": 0, "train/loss": 0.5}, {"epoch": 1, "train/loss": 0.25, "val/dice": 0.75}]

    def test_a_config_of_another_version_does_not_stop_the_report(self, volumes: Path, tmp_path: Path) -> None:
        shutil.copytree(volumes, tmp_path / "evaluation")
        (tmp_path / "config.yaml").write_text("nothing: known\n")
        run = Source.open(tmp_path)
        assert run.config is None
        assert run.config_text == "nothing: known\n"

    def test_other_folders_are_refused(self, volumes: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="neither a run nor an evaluation"):
            Source.open(tmp_path)
        (tmp_path / "config.yaml").write_text("")
        with pytest.raises(DataError, match="no evaluation yet"):
            Source.open(tmp_path)

    def test_damaged_tables_are_named(self, volumes: Path, tmp_path: Path) -> None:
        shutil.copytree(volumes, tmp_path / "a")
        lines = (tmp_path / "a" / "cases.csv").read_text(encoding="utf-8").splitlines()
        (tmp_path / "a" / "cases.csv").write_text(lines[0] + "\n")
        with pytest.raises(DataError, match="holds no case"):
            Source.open(tmp_path / "a")
        (tmp_path / "a" / "lesions.csv").write_text("what\n1\n")
        with pytest.raises(DataError, match=r"lesions\.csv"):
            Source.open(tmp_path / "a")

    def test_metrics_that_are_no_numbers_are_named(self, volumes: Path, tmp_path: Path) -> None:
        shutil.copytree(volumes, tmp_path / "evaluation")
        (tmp_path / "config.yaml").write_text("")
        (tmp_path / "metrics.csv").write_text("epoch\nfirst\n")
        with pytest.raises(DataError, match=r"metrics\.csv"):
            Source.open(tmp_path)


class TestWords:
    def test_the_primary_metric_comes_first(self, source: Source) -> None:
        assert source.metrics[0] == source.primary == "dice"
        other = dataclasses.replace(source, summary={**source.summary, "primary": "nsd"})
        assert other.primary == "nsd_1mm"

    def test_titles_name_definition_tolerance_and_unit(self, source: Source) -> None:
        assert source.title("hd95") == "HD95 (max of directed), mm"
        assert source.title("nsd_2mm") == "NSD at 2 mm"
        assert source.title("old_metric") == "old metric"

    def test_definitions_state_the_rules(self, source: Source) -> None:
        said = source.definition("lesion_f1")
        assert "26-connected" in said
        assert "Empty masks: class empty in prediction and reference: excluded" in said
        assert "Lower is better." in source.definition("hd95")

    def test_volumes_are_millilitres_and_sizes_cubic_millimetres(self, source: Source) -> None:
        assert (source.length_unit, source.size_unit, source.volume_unit) == ("mm", "mm³", "mL")
        row = source.per_class(CLASSES[0])[0]
        assert source.volume(row, "ref") == row.ref_ml

    def test_pictures_without_spacing_are_measured_in_pixels(self, pictures: Path) -> None:
        flat = Source.open(pictures)
        assert (flat.length_unit, flat.size_unit, flat.volume_unit) == ("pixels", "pixels", "pixels")
        assert flat.title("hd95") == "HD95 (max of directed), pixels"
        row = next(row for row in flat.per_class(CLASSES[0]) if row.ref_voxels)
        assert flat.volume(row, "ref") == row.ref_voxels

    def test_options_survive_the_file(self, tmp_path: Path) -> None:
        options = MetricOptions(
            metrics=("dice", "nsd"), tolerances={CLASSES[0]: (2.0,), CLASSES[1]: (1.0,)}, penalty=374.0, minimum_lesion=5
        )
        folder = make_evaluation(tmp_path, scores=False, options=options)
        source = Source.open(folder)
        assert source.options == options
        assert source.metrics == ["dice", "nsd_2mm", "nsd_1mm"]

    def test_an_evaluation_of_before_is_read_as_far_as_it_goes(self, volumes: Path, tmp_path: Path) -> None:
        shutil.copytree(volumes, tmp_path / "a")
        for name in ("candidates.csv", "calibration.csv", "lesions.csv"):
            (tmp_path / "a" / name).unlink()
        path = tmp_path / "a" / "summary.json"
        summary = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({key: value for key, value in summary.items() if key not in ("options", "primary", "definitions")}))
        source = Source.open(tmp_path / "a")
        assert (source.lesions, source.primary, source.options) == ([], "dice", MetricOptions())


class TestBadness:
    def test_lower_scores_and_larger_distances_are_worse(self, source: Source) -> None:
        row = source.rows[0]

        def of(metric: str, *values: float) -> list[float]:
            return [badness(source, dataclasses.replace(row, metric=metric, value=value)) for value in values]

        for metric, values in (("dice", (0.9, 0.1, 0.0)), ("hd95", (0.0, 5.0, math.inf)), ("volume_difference_ml", (0.1, -0.5, 2.0))):
            assert of(metric, *values) == sorted(of(metric, *values)), metric
            assert of(metric, math.nan) == [math.inf]
