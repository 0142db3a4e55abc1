from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK

from medseg.data.formats.cases import Cases
from medseg.data.geometry import Geometry
from medseg.data.images import write_label
from medseg.data.labels import LabelSchema
from medseg.errors import DataError
from medseg.evaluation import Evaluation, Settings, evaluate_dataset, evaluate_folders, read_rows
from medseg.evaluation.compare.runs import RunTable
from medseg.metrics import METRICS, MetricOptions, Row, metric_of
from medseg.metrics.options import BothEmpty

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def box(low: int, high: int, value: int = 1) -> np.ndarray:
    array = np.zeros((8, 8, 6), np.uint8)
    array[low:high, low:high, 2:4] = value
    return array


def write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    write_label(path, array, Geometry(array.shape, affine))


def evaluate(pred: Path, ref: Path, out: Path, labels: LabelSchema | None = None, **settings: Any) -> Evaluation:
    return evaluate_folders(pred, ref, Settings(out, **settings), labels)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Three cases: perfect, half, missed."""
    pred, ref = tmp_path / "pred", tmp_path / "ref"
    for name, prediction in [("a", box(2, 4)), ("b", box(2, 3)), ("c", box(0, 0))]:
        write(ref / f"{name}.nii.gz", box(2, 4))
        write(pred / f"{name}.nii.gz", prediction)
    return pred, ref, tmp_path / "out"


class TestScores:
    def test_every_case_is_scored_and_written(self, folders: tuple[Path, Path, Path]) -> None:
        result = evaluate(*folders)
        assert result.exit_code == 0
        assert {row.case_id: row.value for row in result.rows if row.metric == "dice"} == pytest.approx({"a": 1.0, "b": 0.4, "c": 0.0})
        assert repr(read_rows(folders[2] / "cases.csv")) == repr(result.rows)  # NaN included
        assert json.loads((folders[2] / "summary.json").read_text()) == result.summary
        assert result.summary["metrics"]["dice/foreground"]["mean"] == pytest.approx(1.4 / 3)
        with (folders[2] / "lesions.csv").open() as file:
            lesions = list(csv.DictReader(file))
        assert [(line["case_id"], line["side"], line["voxels"], line["matched"]) for line in lesions if line["side"] == "reference"] == [
            ("a", "reference", "8", "True"),
            ("b", "reference", "8", "True"),
            ("c", "reference", "8", "False"),
        ]
        assert float(lesions[0]["size"]) == pytest.approx(16.0)

    def test_the_rules_are_printed_in_the_summary(self, folders: tuple[Path, Path, Path]) -> None:
        summary = evaluate(*folders).summary
        assert "excluded from the mean and counted" in summary["definitions"]["empty"]
        assert summary["labels"]["classes"] == ["foreground"]

    def test_suffixes_may_differ(self, folders: tuple[Path, Path, Path]) -> None:
        pred, ref, out = folders
        (pred / "a.nii.gz").unlink()
        write(pred / "a.mha", box(2, 4))
        (pred / "b.nii.gz").rename(pred / "b.nii.gz.bak")
        write(pred / "b.nrrd", box(2, 4))
        result = evaluate(pred, ref, out)
        assert [row.value for row in result.rows if row.metric == "dice"] == [1.0, 1.0, 0.0]

    def test_no_temporary_file_is_left(self, folders: tuple[Path, Path, Path]) -> None:
        evaluate(*folders)
        assert sorted(path.name for path in folders[2].iterdir()) == ["cases.csv", "lesions.csv", "summary.json"]

    def test_patients_come_from_a_groups_file(self, folders: tuple[Path, Path, Path]) -> None:
        (folders[1].parent / "groups.csv").write_text("case,group\na,p1\nb,p1\nc,p2\n")
        assert [row.group for row in evaluate(*folders).rows if row.metric == "dice"] == ["p1", "p1", "p2"]

    def test_pictures_are_scored_in_pixels(self, tmp_path: Path) -> None:
        square = np.zeros((10, 12), np.uint8)
        square[2:5, 2:5] = 1
        for folder, array in (("pred", square), ("ref", square)):
            write_label(tmp_path / folder / "x.png", array, Geometry(array.shape, np.eye(4)))
        result = evaluate(tmp_path / "pred", tmp_path / "ref", tmp_path / "out")
        assert {row.value for row in result.rows if row.metric in ("dice", "lesion_f1", "nsd_1mm")} == {1.0}
        assert not [row for row in result.rows if row.metric.endswith("_ml")]

    def test_pictures_of_a_volume_of_one_slice_keep_its_spacing(self, tmp_path: Path) -> None:
        square = np.zeros((10, 12), np.uint8)
        square[2:5, 2:5] = 1
        itk = SimpleITK.GetImageFromArray(square)
        itk.SetSpacing((0.5, 0.25))
        (tmp_path / "set").mkdir()
        SimpleITK.WriteImage(itk, str(tmp_path / "set" / "x.mha"))
        write_label(tmp_path / "set" / "x_mask.png", square, Geometry(square.shape, np.eye(4)))
        write_label(tmp_path / "pred" / "x.png", np.roll(square, 1, axis=1), Geometry(square.shape, np.eye(4)))
        layout = Cases(images={"US": "{name:x}.mha"}, masks=[{"file": "{name}_mask.png", "class": "lesion"}])
        rows = evaluate_dataset(tmp_path / "pred", layout.read(tmp_path / "set"), Settings(tmp_path / "out")).rows
        assert next(row.value for row in rows if row.metric == "hd95") == pytest.approx(0.5)


class TestFaultsOfCases:
    def test_a_missing_prediction_counts_as_missed_and_is_listed(self, folders: tuple[Path, Path, Path]) -> None:
        (folders[0] / "a.nii.gz").unlink()
        result = evaluate(*folders)
        assert result.missing == ["a"] == result.summary["missing"]
        assert result.exit_code == 1
        assert result.summary["metrics"]["dice"]["mean"] == pytest.approx(0.4 / 3)

    def test_an_extra_prediction_is_only_listed(self, folders: tuple[Path, Path, Path]) -> None:
        write(folders[0] / "z.nii.gz", box(2, 4))
        result = evaluate(*folders)
        assert (result.extra, result.exit_code) == (["z"], 0)
        assert result.summary["cases"] == 3

    @pytest.mark.parametrize("fault", ["grid", "shape", "truncated", "value"])
    def test_a_prediction_that_cannot_be_used_counts_as_missed_and_says_why(self, folders: tuple[Path, Path, Path], fault: str) -> None:
        path = folders[0] / "b.nii.gz"
        if fault == "grid":
            write(path, box(2, 4), np.diag([1.0, 1.0, 3.0, 1.0]))
        elif fault == "shape":
            write(path, box(2, 4)[:-1])
        elif fault == "truncated":
            path.write_bytes(path.read_bytes()[:40])
        else:
            write(path, box(2, 4, value=7))
        result = evaluate(*folders, LabelSchema.exclusive({"lesion": 1}))
        assert list(result.unusable) == ["b"]
        assert "b.nii.gz" in result.unusable["b"]
        assert {"grid": "spacing", "shape": "shape", "truncated": "", "value": "7"}[fault] in result.unusable["b"]
        assert {row.case_id: row.value for row in result.rows if row.metric == "dice"} == {"a": 1.0, "b": 0.0, "c": 0.0}
        assert result.summary["unusable"] == result.unusable
        assert result.exit_code == 1

    def test_a_reference_that_cannot_be_used_is_left_out_and_listed(self, folders: tuple[Path, Path, Path]) -> None:
        path = folders[1] / "b.nii.gz"
        path.write_bytes(path.read_bytes()[:40])
        result = evaluate(*folders, LabelSchema.exclusive({"lesion": 1}))
        assert list(result.faults) == ["b"]
        assert {row.case_id for row in result.rows} == {"a", "c"}
        assert result.exit_code == 1

    def test_a_part_leaves_out_what_was_not_predicted(self, folders: tuple[Path, Path, Path]) -> None:
        (folders[0] / "a.nii.gz").unlink()
        result = evaluate(*folders, partial=True)
        assert (result.missing, result.left_out, result.exit_code) == ([], ["a"], 0)
        assert {row.case_id for row in result.rows} == {"b", "c"}
        assert result.summary["left_out"] == 1


class TestFailedPredictions:
    """No mean gains by a prediction that is missing or unusable, also where the reference lacks the class."""

    OPTIONS = MetricOptions(tuple(METRICS), minimum_lesion=4.0)

    @pytest.fixture
    def mixed(self, tmp_path: Path) -> tuple[Path, Path]:
        """Right, half, nothing to find, a false alarm, and a lesion too small to be scored."""
        pred, ref = tmp_path / "pred", tmp_path / "ref"
        ref.mkdir()
        (ref / "dataset.json").write_text('{"labels": {"background": 0, "one": 1, "two": 2}}')
        tiny = np.zeros((8, 8, 6), np.uint8)
        tiny[7, 7, 5] = 1
        two = box(5, 7, 2)
        pairs = {
            "a": (box(2, 4) + two, box(2, 4) + two),
            "b": (box(2, 3), box(2, 4) + two),
            "c": (box(0, 0), box(0, 0)),
            "d": (box(0, 1), two),
            "e": (box(0, 1) + two, tiny + two),
        }
        for name, (prediction, reference) in pairs.items():
            write(pred / f"{name}.nii.gz", prediction)
            write(ref / f"{name}.nii.gz", reference)
        return pred, ref

    @pytest.mark.parametrize("both_empty", ["exclude", "best"])
    @pytest.mark.parametrize("gone", ["a", "b", "c", "d", "e", "ce", "cd"])
    def test_deleting_predictions_never_pays(self, mixed: tuple[Path, Path], tmp_path: Path, gone: str, both_empty: BothEmpty) -> None:
        options = replace(self.OPTIONS, both_empty=both_empty)
        before = evaluate(*mixed, tmp_path / "before", options=options).summary["metrics"]
        for name in gone:
            (mixed[0] / f"{name}.nii.gz").unlink()
        after = evaluate(*mixed, tmp_path / "after", options=options).summary["metrics"]
        checked = 0
        for key, one in before.items():
            metric, mean = metric_of(one["metric"]), after[key]["mean"]
            if metric.better == "higher" and one["mean"] is not None:
                assert mean <= one["mean"] + 1e-12, key
                checked += 1
            if metric.unit == "mm" and one["mean"] is not None:
                assert mean >= one["mean"] - 1e-12, key
                checked += 1
        assert checked > 60

    @pytest.mark.parametrize("failure", ["missing", "unusable"])
    @pytest.mark.parametrize("both_empty", ["exclude", "best"])
    def test_it_is_penalised_and_no_pair_of_empty_masks(
        self, mixed: tuple[Path, Path], tmp_path: Path, failure: str, both_empty: BothEmpty
    ) -> None:
        options = replace(self.OPTIONS, both_empty=both_empty)
        assert evaluate(*mixed, tmp_path / "before", options=options).summary["metrics"]["dice/one"]["n_both_empty"] == 1
        (mixed[0] / "c.nii.gz").unlink()
        if failure == "unusable":
            (mixed[0] / "c.nii.gz").write_text("nothing")
        result = evaluate(*mixed, tmp_path / "after", options=options)
        own = [row for row in result.rows if row.case_id == "c"]
        assert all(row.penalised and not row.both_empty for row in own)
        diagonal = float(np.linalg.norm((8, 8, 12)))
        for row in own:
            metric = metric_of(row.metric)
            if metric.better == "higher":
                assert row.value == 0
            elif metric.unit == "mm":
                assert row.value == pytest.approx(374 if row.metric == "brats_hd95" else diagonal)
            elif row.metric != "relative_volume_difference":
                assert row.value == 0  # what the formula gives for two empty masks
        dice = result.summary["metrics"]["dice/one"]
        assert (dice["n_both_empty"], dice["n_penalised"], dice["n_valid"]) == (0, 1, 5)
        assert "failed in every class" in result.summary["definitions"]["no_prediction"]
        table = RunTable.of(result.rows)
        assert not table.both_empty[table.cases.index("c")].any()


class TestUnknownValues:
    def test_the_file_that_declares_the_values_is_named(self, folders: tuple[Path, Path, Path]) -> None:
        source = folders[1] / "dataset.json"
        source.write_text('{"labels": {"background": 0, "lesion": 1}}')
        write(folders[0] / "b.nii.gz", box(2, 4, 255))
        said = evaluate(*folders).unusable["b"]
        assert "label values 255 are not among the data set's values 0, 1; write the file with those values" in said
        assert said.endswith(f"or declare the others in {source} or by --labels")

    def test_given_labels_are_no_dataset_json(self, folders: tuple[Path, Path, Path]) -> None:
        write(folders[0] / "b.nii.gz", box(2, 4, 255))
        said = evaluate(*folders, LabelSchema.exclusive({"lesion": 1})).unusable["b"]
        assert said.endswith("write the file with those values, or declare the others by --labels")

    @pytest.mark.parametrize("declared", [False, True])
    @pytest.mark.parametrize("side", [0, 1])
    def test_images_are_told_apart_on_both_sides(self, folders: tuple[Path, Path, Path], side: int, declared: bool) -> None:
        if declared:
            (folders[1] / "dataset.json").write_text('{"labels": {"background": 0, "lesion": 1}}')
        for name in "abc":
            write(folders[side] / f"{name}.nii.gz", np.arange(8 * 8 * 6).reshape(8, 8, 6))
        with pytest.raises(DataError, match="different integers, so these are images, no label maps; give the folder of label maps"):
            evaluate(*folders)

    def test_an_ignored_value_goes_with_given_labels(self, folders: tuple[Path, Path, Path]) -> None:
        write(folders[1] / "b.nii.gz", box(2, 4) + box(2, 3, 8))
        result = evaluate_folders(folders[0], folders[1], Settings(folders[2]), LabelSchema.exclusive({"lesion": 1}), ignore=9)
        assert (result.faults, result.summary["labels"]["ignore_value"]) == ({}, 9)


class TestSettings:
    def test_the_rules_reach_rows_and_summary(self, folders: tuple[Path, Path, Path]) -> None:
        result = evaluate(*folders, options=MetricOptions(("hd95",), penalty=50.0), primary="hd95")
        assert [row.value for row in result.rows] == [0.0, pytest.approx(2**0.5), 50.0]
        assert result.summary["options"]["penalty"] == 50.0
        assert result.summary["primary"] == "hd95"

    def test_the_number_of_workers_changes_nothing(self, folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
        counted: list[tuple[int, int]] = []
        one = evaluate(folders[0], folders[1], tmp_path / "1", workers=1, progress=lambda done, total: counted.append((done, total)))
        assert repr(one.rows) == repr(evaluate(folders[0], folders[1], tmp_path / "3", workers=3).rows)
        assert counted == [(1, 3), (2, 3), (3, 3)]

    def test_an_ignored_value_counts_as_no_voxel(self, folders: tuple[Path, Path, Path]) -> None:
        pred, ref, out = folders
        write(ref / "b.nii.gz", box(2, 4) + box(2, 3, 8))  # the predicted corner is not scored
        result = evaluate_folders(pred, ref, Settings(out), ignore=9)
        assert next(row.value for row in result.rows if row.metric == "dice" and row.case_id == "b") == 0.0
        assert result.summary["labels"]["ignore_value"] == 9


class TestFoldersOfOtherTools:
    def test_nnunet_folders_are_taken_as_they_are(self, folders: tuple[Path, Path, Path]) -> None:
        pred, ref, out = folders
        content = json.dumps({"labels": {"background": 0, "lesion": 1}, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"})
        for name in ("dataset.json", "plans.json", "summary.json", "predict_from_raw_data_args.json"):
            (pred / name).write_text(content if name == "dataset.json" else "{}")
        (pred / "a.pkl").write_bytes(b"")
        probability = np.zeros((2, 6, 8, 8), np.float32)  # axes z, y, x
        probability[1] = 0.9 * box(2, 4).transpose(2, 1, 0)
        probability[0] = 1 - probability[1]
        np.savez_compressed(pred / "a.npz", probabilities=probability)
        result = evaluate(pred, ref, out)
        assert {row.class_name for row in result.rows} == {"lesion"}
        assert result.summary["labels_from"].endswith("dataset.json")
        assert [(row.case_id, row.class_name, row.hits) for row in result.candidates] == [("a", "lesion", (0,))]
        assert result.candidates[0].score == pytest.approx(0.9)
        assert {row.case_id for row in result.calibration} == {"a"}
        assert (out / "candidates.csv").is_file()

    @pytest.mark.parametrize("failure", ["missing", "unusable"])
    def test_lesions_of_a_case_whose_prediction_failed_are_not_found(self, folders: tuple[Path, Path, Path], failure: str) -> None:
        """Else detection would gain by failing: the case would leave the curve with all its lesions."""
        pred, ref, out = folders
        np.savez_compressed(pred / "a.npz", probabilities=np.stack([1 - box(2, 4), box(2, 4)]).transpose(0, 3, 2, 1).astype(np.float32))
        before = evaluate(pred, ref, out).summary
        (pred / "b.nii.gz").unlink()
        if failure == "unusable":
            (pred / "b.nii.gz").write_text("nothing")
        after = evaluate(pred, ref, out).summary
        for summary, cases in ((before, 1), (after, 2)):
            assert (summary["detection"]["cases"], summary["detection"]["mean"]["froc"]) == (cases, 1 / cases)
        assert after["calibration"]["mean"] == before["calibration"]["mean"]

    @pytest.mark.parametrize("subfolders", [False, True])
    def test_monai_folders_are_taken_as_they_are(self, folders: tuple[Path, Path, Path], subfolders: bool) -> None:
        pred, ref, out = folders
        for name in "abc":
            target = pred / name / f"{name}_seg.nii.gz" if subfolders else pred / f"{name}_seg.nii.gz"
            target.parent.mkdir(exist_ok=True)
            path = pred / f"{name}.nii.gz"
            image = nibabel.load(path)
            nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj, np.float32), image.affine), target)  # SaveImage's own type
            path.unlink()
        result = evaluate(pred, ref, out)
        assert {row.case_id: row.value for row in result.rows if row.metric == "dice"} == pytest.approx({"a": 1.0, "b": 0.4, "c": 0.0})
        assert result.exit_code == 0


class TestFaultsOfFolders:
    def test_a_missing_folder_is_named(self, folders: tuple[Path, Path, Path]) -> None:
        with pytest.raises(DataError, match=r"no_such.*does not exist"):
            evaluate(folders[0].parent / "no_such", folders[1], folders[2])

    def test_an_empty_folder_is_refused(self, folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match="no label map"):
            evaluate(tmp_path / "empty", folders[1], folders[2])

    def test_folders_without_a_common_name_are_refused(self, folders: tuple[Path, Path, Path]) -> None:
        for path in list(folders[0].iterdir()):
            path.rename(path.with_name("x" + path.name))
        with pytest.raises(DataError, match="no prediction has the name of a reference"):
            evaluate(*folders)

    def test_two_files_of_one_name_are_refused(self, folders: tuple[Path, Path, Path]) -> None:
        write(folders[0] / "a.mha", box(2, 4))
        with pytest.raises(DataError, match=r"a\.mha and a\.nii\.gz"):
            evaluate(*folders)

    def test_images_given_for_references_are_told_apart(self, folders: tuple[Path, Path, Path]) -> None:
        write(folders[1] / "a.nii.gz", np.arange(8 * 8 * 6).reshape(8, 8, 6))
        with pytest.raises(DataError, match=r"these are images, no label maps"):
            evaluate(*folders)

    def test_nothing_is_written_when_no_case_can_be_scored(self, folders: tuple[Path, Path, Path]) -> None:
        for name in "abc":
            write(folders[0] / f"{name}.nii.gz", box(2, 4)[:-1])
        with pytest.raises(DataError, match="no case could be scored"):
            evaluate(*folders)
        assert not folders[2].exists()


class TestRealData:
    @pytest.mark.parametrize(("name", "labels"), [("Task04_Hippocampus", "labelsTr"), ("Dataset501_OpenMS", "labelsTr")])
    def test_a_set_against_itself_is_perfect(self, real_data: Path, tmp_path: Path, name: str, labels: str) -> None:
        pred, ref = tmp_path / "pred", tmp_path / name / "labels"
        for folder in (pred, ref):
            folder.mkdir(parents=True)
            for path in sorted((real_data / name / labels).glob("*.nii.gz"))[:2]:
                (folder / path.name).symlink_to(path)
        (tmp_path / name / "dataset.json").symlink_to(real_data / name / "dataset.json")
        result = evaluate(pred, ref, tmp_path / "out")
        assert result.exit_code == 0
        assert {row.value for row in result.rows if metric_of(row.metric).better == "higher"} == {1.0}
        assert {row.value for row in result.rows if metric_of(row.metric).better != "higher"} == {0.0}
        assert result.summary["labels_from"].endswith("dataset.json")


class TestDataSets:
    """The references of a data set, put together of files that no prediction is named after."""

    @pytest.fixture
    def layout(self, tmp_path: Path) -> Cases:
        for name in ("p1/a", "p1/b", "p2/c"):
            write(tmp_path / "set" / f"{name}.nii.gz", box(0, 8))
            write(tmp_path / "set" / f"{name}_one.nii.gz", box(1, 3))
            write(tmp_path / "set" / f"{name}_two.nii.gz", box(2, 5))
            both = box(1, 3) + 2 * box(2, 5)
            write(tmp_path / "pred" / f"{name[3:]}.nii.gz", both if name != "p1/b" else box(2, 5, 2))
        masks: list[Mapping[str, Any]] = [{"file": f"{{patient}}/{{name}}_{kind}.nii.gz", "class": kind} for kind in ("one", "two")]
        return Cases(
            images={"MR": "{patient}/{name:[abc]}.nii.gz"},
            masks=masks,
            overlap="keep",
            case="{name}",
            group="{patient}",
            test={"patient": "p2"},
        )

    def scores(self, rows: list[Row]) -> dict[tuple[str, str], float]:
        return {(row.case_id, row.class_name): row.value for row in rows if row.metric == "dice"}

    def test_overlapping_classes_are_compared_each_by_itself(self, layout: Cases, tmp_path: Path) -> None:
        result = evaluate_dataset(tmp_path / "pred", layout.read(tmp_path / "set"), Settings(tmp_path / "out"))
        assert result.exit_code == 0
        found = self.scores(result.rows)
        assert found.pop(("b", "one")) == 0
        assert set(found.values()) == {1.0}
        assert len(found) == 5
        assert {row.group for row in result.rows} == {"p1", "p2"}

    def test_a_part_can_be_scored_alone(self, layout: Cases, tmp_path: Path) -> None:
        dataset = layout.read(tmp_path / "set")
        result = evaluate_dataset(tmp_path / "pred", dataset, Settings(tmp_path / "out", classes=["two"]), "test")
        assert self.scores(result.rows) == {("c", "two"): 1.0}
        assert (result.extra, result.missing) == (["a", "b"], [])
        (tmp_path / "pred" / "a.nii.gz").unlink()
        assert evaluate_dataset(tmp_path / "pred", dataset, Settings(tmp_path / "out"), "train").missing == ["a"]

    def test_one_prediction_cannot_serve_two_cases_of_one_name(self, layout: Cases, tmp_path: Path) -> None:
        dataset = layout.read(tmp_path / "set")
        again = replace(dataset, test_cases=tuple(replace(case, id="a") for case in dataset.test_cases))
        with pytest.raises(DataError, match="two cases of 'all' are named a; rename one"):
            evaluate_dataset(tmp_path / "pred", again, Settings(tmp_path / "out"))

    def test_what_cannot_be_compared_is_explained(self, layout: Cases, tmp_path: Path) -> None:
        dataset = layout.read(tmp_path / "set")
        (tmp_path / "pred" / "c.nii.gz").rename(tmp_path / "pred" / "x.nii.gz")
        with pytest.raises(DataError, match=r"no prediction has the name of a case of set \(found: a, wanted: c\)"):
            evaluate_dataset(tmp_path / "pred", dataset, Settings(tmp_path / "out"), "test")
        with pytest.raises(DataError, match="no case of 'test' has a reference"):
            evaluate_dataset(tmp_path / "pred", replace(dataset, test_cases=()), Settings(tmp_path / "out"), "test")
