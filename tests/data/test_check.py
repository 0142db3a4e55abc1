from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from medseg.data import check_case
from medseg.data.case import Case, DataSet, Fault
from medseg.data.check import check_dataset, inspect_dataset, layout_errors
from medseg.data.formats.decathlon import Decathlon
from medseg.data.formats.folders import Folders
from medseg.data.formats.nnunet import NnUNet
from medseg.data.geometry import Geometry
from medseg.data.images import read_image
from medseg.data.labels import LabelSchema
from medseg.data.masks import Layer, Masks
from medseg.data.splits import Splits

SHAPE = (6, 7, 8)


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def make_dataset(root: Path, count: int = 3) -> DataSet:
    """A faultless data set with two channels and two classes."""
    rng = np.random.default_rng(0)
    cases = []
    for index in range(count):
        name = f"c{index}"
        images = tuple(root / "images" / f"{name}_{channel}.nii.gz" for channel in range(2))
        for path in images:
            save(path, rng.normal(size=SHAPE).astype(np.float32))
        label = root / "labels" / f"{name}.nii.gz"
        save(label, (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 3).astype(np.uint8))
        cases.append(Case(name, images, label, name, 2))
    return DataSet("set", root, tuple(cases), ("a", "b"), LabelSchema.exclusive({"liver": 1, "tumour": 2}), 3, ".nii.gz")


def image_of(root: Path, case: str = "c1", channel: int = 1) -> Path:
    return root / "images" / f"{case}_{channel}.nii.gz"


def label_of(root: Path, case: str = "c1") -> Path:
    return root / "labels" / f"{case}.nii.gz"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def noise() -> np.ndarray:
    return np.random.default_rng(9).normal(size=SHAPE).astype(np.float32)


def with_voxel(value: float) -> np.ndarray:
    array = noise()
    array[1, 2, 3] = value
    return array


def labelled(value: float, dtype: type = np.int16) -> np.ndarray:
    array = np.ones(SHAPE, dtype)
    array[0, 0, 0], array[0, 0, 1] = value, 2
    return array


SHIFTED = np.eye(4)
SHIFTED[0, 3] = 2.0

ERRORS: list[tuple[str, Callable[[Path], None], str, str]] = [
    ("truncated image", lambda root: truncate(image_of(root)), "c1_1.nii.gz", "cannot be read"),
    ("truncated label", lambda root: truncate(label_of(root)), "c1.nii.gz", "cannot be read"),
    ("missing image", lambda root: image_of(root).unlink(), "c1_1.nii.gz", "does not exist"),
    ("missing label", lambda root: label_of(root).unlink(), "c1.nii.gz", "does not exist"),
    (
        "label of another shape",
        lambda root: save(label_of(root), np.ones((6, 7, 9), np.uint8)),
        "c1.nii.gz",
        "shape (6, 7, 9) against (6, 7, 8)",
    ),
    (
        "label at another place",
        lambda root: save(label_of(root), labelled(1), SHIFTED),
        "c1.nii.gz",
        "origin (2, 0, 0) mm against (0, 0, 0) mm",
    ),
    (
        "channel of another spacing",
        lambda root: save(image_of(root), noise(), np.diag([1, 1, 2, 1])),
        "c1_1.nii.gz",
        "spacing (1, 1, 2) mm",
    ),
    (
        "too many channels",
        lambda root: save(image_of(root), np.stack([noise()] * 2, -1)),
        "c1_0.nii.gz",
        "3 channels in c1_0.nii.gz, c1_1.nii.gz, 2 in the data set",
    ),
    ("flat image", lambda root: save(image_of(root), noise()[0]), "c1_1.nii.gz", "is 2-D, the data set 3-D"),
    ("unknown label values", lambda root: save(label_of(root), labelled(9)), "c1.nii.gz", "label values 9 are not among"),
    ("negative label values", lambda root: save(label_of(root), labelled(-1)), "c1.nii.gz", "label values -1 are not among"),
    ("broken label values", lambda root: save(label_of(root), labelled(0.5, np.float32)), "c1.nii.gz", "not integers (such as 0.5)"),
    ("NaN label", lambda root: save(label_of(root), labelled(np.nan, np.float32)), "c1.nii.gz", "NaN"),
    ("NaN voxel", lambda root: save(image_of(root), with_voxel(np.nan)), "c1_1.nii.gz", "1 of 336 voxels are NaN or infinite"),
    ("infinite voxel", lambda root: save(image_of(root), with_voxel(-np.inf)), "c1_1.nii.gz", "1 of 336 voxels are NaN or infinite"),
]


class TestErrors:
    @pytest.mark.parametrize(("spoil", "file", "message"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS])
    def test_each_fault_is_found_where_it_is_and_alone(
        self, spoil: Callable[[Path], None], file: str, message: str, tmp_path: Path
    ) -> None:
        dataset = make_dataset(tmp_path)
        spoil(tmp_path)
        errors = [fault for fault in check_dataset(dataset) if fault.severity == "error"]
        named = [fault for fault in errors if message in fault.message]
        assert [(fault.case, fault.file.name if fault.file else "") for fault in named] == [("c1", file)]
        assert named[0].remedy
        assert all(fault.case == "c1" for fault in errors)

    def test_a_faultless_set_has_no_faults(self, tmp_path: Path) -> None:
        assert check_dataset(make_dataset(tmp_path)) == []

    def test_all_faults_come_at_once_whatever_the_number_of_workers(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path, 6)
        truncate(image_of(tmp_path, "c0", 0))
        image_of(tmp_path, "c0", 1).unlink()
        save(label_of(tmp_path, "c0"), labelled(7))
        save(image_of(tmp_path, "c3"), with_voxel(np.nan))
        label_of(tmp_path, "c3").unlink()
        save(label_of(tmp_path, "c5"), np.zeros(SHAPE, np.uint8))
        faults = check_dataset(dataset, workers=1)
        assert [(fault.severity, fault.case) for fault in faults] == [("error", "c0")] * 3 + [("error", "c3")] * 2 + [("warning", "c5")]
        assert check_dataset(dataset, workers=5) == faults

    def test_an_empty_data_set_is_a_fault(self, tmp_path: Path) -> None:
        (fault,) = check_dataset(replace(make_dataset(tmp_path), cases=()))
        assert (fault.severity, fault.message) == ("error", "the data set has no cases")

    def test_an_id_that_occurs_twice_is_a_fault(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path)
        dataset = replace(dataset, test_cases=(replace(dataset.cases[0], label=None),))
        assert any("case id 'c0' occurs more than once" in fault.message for fault in check_dataset(dataset) if fault.severity == "error")

    def test_so_are_ids_that_differ_in_case_alone(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path)
        dataset = replace(dataset, cases=(*dataset.cases[:2], replace(dataset.cases[2], id="C0")))
        (fault,) = layout_errors(dataset, ())
        assert fault.message.startswith("the case ids 'c0' and 'C0' differ in upper and lower case alone, which some disks do not")

    @pytest.mark.parametrize("channel", [0, 1])
    @pytest.mark.parametrize("resample", [False, True])
    def test_a_broken_image_of_a_composed_label_is_listed_once(self, channel: int, resample: bool, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path)
        image_of(tmp_path, "c1", channel).write_bytes(b"no image" * 100)
        masks = Masks((Layer((label_of(tmp_path),), ((1, 1, 1), (2, 2, 2))),))
        cases = (replace(dataset.cases[1], label=masks, resample=resample), dataset.cases[0])
        (fault,) = check_dataset(replace(dataset, cases=cases), 1)
        assert (fault.severity, fault.file) == ("error", image_of(tmp_path, "c1", channel))

    def test_a_training_case_needs_a_label_and_a_test_case_does_not(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path)
        bare = replace(dataset.cases[2], label=None)
        assert check_dataset(replace(dataset, cases=dataset.cases[:2], test_cases=(bare,))) == []
        (fault,) = check_dataset(replace(dataset, cases=(*dataset.cases[:2], bare)))
        assert fault.message == "case 'c2' has no label"

    def test_a_case_that_breaks_the_check_does_not_hide_the_others(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        dataset = make_dataset(tmp_path)
        truncate(image_of(tmp_path, "c2"))

        def read(path: Path) -> tuple[np.ndarray, Geometry]:
            if path.name.startswith("c0"):
                raise MemoryError("too large")
            return read_image(path)

        monkeypatch.setattr(check_case, "read_image", read)
        errors = [fault for fault in check_dataset(dataset, 1) if fault.severity == "error"]
        assert [fault.case for fault in errors] == ["c0", "c2"]
        assert errors[0].message == "could not be checked (MemoryError: too large)"

    def test_progress_counts_to_the_end(self, tmp_path: Path) -> None:
        seen: list[tuple[int, int]] = []
        check_dataset(make_dataset(tmp_path), progress=lambda done, total: seen.append((done, total)))
        assert seen == [(1, 3), (2, 3), (3, 3)]


class TestWarnings:
    def only(self, dataset: DataSet) -> Fault:
        (fault,) = check_dataset(dataset)
        assert fault.severity == "warning"
        return fault

    def test_an_empty_mask(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path)
        save(label_of(tmp_path), np.zeros(SHAPE, np.uint8))
        assert self.only(dataset).message == "the mask is empty (no liver, tumour)"

    def test_a_mask_that_ignores_everything(self, tmp_path: Path) -> None:
        dataset = replace(make_dataset(tmp_path), labels=LabelSchema.exclusive({"liver": 1, "tumour": 2, "ignore": 3}))
        save(label_of(tmp_path), np.full(SHAPE, 3, np.uint8))
        assert self.only(dataset).message == "every voxel is ignored"

    def test_a_constant_image(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path)
        save(image_of(tmp_path), np.full(SHAPE, 4.5, np.float32))
        fault = self.only(dataset)
        assert (fault.file, fault.message) == (image_of(tmp_path), "every voxel is 4.5")

    def test_the_same_image_twice(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path)
        for channel in range(2):
            image_of(tmp_path, "c2", channel).write_bytes(image_of(tmp_path, "c0", channel).read_bytes())
        fault = self.only(dataset)
        assert fault.case == "c2"
        assert "same image as case 'c0', in another group" in fault.message
        grouped = replace(dataset, cases=tuple(replace(case, group="p") for case in dataset.cases))
        assert self.only(grouped).message == "shows the same image as case 'c0'"

    def test_one_equal_channel_is_no_duplicate(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path)
        image_of(tmp_path, "c2", 0).write_bytes(image_of(tmp_path, "c0", 0).read_bytes())
        assert check_dataset(dataset) == []

    def test_nearly_the_same_image_in_another_group(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path)
        for channel in range(2):
            image = np.asarray(nibabel.load(image_of(tmp_path, "c0", channel)).dataobj)
            save(image_of(tmp_path, "c2", channel), 40 * image + 3)
        fault = self.only(dataset)
        assert fault.case == "c2"
        assert "nearly the same image as case 'c0' (correlation 1.000), in another group, so that" in fault.message
        grouped = replace(dataset, cases=tuple(replace(case, group="p") for case in dataset.cases))
        assert check_dataset(grouped) == []

    def test_the_same_image_stored_in_another_orientation(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path)
        for channel in range(2):
            image = np.asarray(nibabel.load(image_of(tmp_path, "c0", channel)).dataobj)
            save(image_of(tmp_path, "c2", channel), image[::-1].copy(), np.diag([-1.0, 1, 1, 1]))
        label = np.asarray(nibabel.load(label_of(tmp_path, "c2")).dataobj)
        save(label_of(tmp_path, "c2"), label, np.diag([-1.0, 1, 1, 1]))
        assert "nearly the same image as case 'c0'" in self.only(dataset).message

    def test_folds_that_a_duplicate_spoils_are_named(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path)
        for channel in range(2):
            image_of(tmp_path, "c2", channel).write_bytes(image_of(tmp_path, "c0", channel).read_bytes())
        splits = Splits([], [{"train": ["c0", "c1"], "val": ["c2"]}, {"train": ["c0", "c2"], "val": ["c1"]}])
        (fault,) = inspect_dataset(dataset, splits=splits).faults
        assert fault.message == "shows the same image as case 'c0', in another group: one trains and one validates in fold 0"
        for channel in range(2):
            image = np.asarray(nibabel.load(image_of(tmp_path, "c0", channel)).dataobj)
            save(image_of(tmp_path, "c2", channel), 40 * image + 3)
        (fault,) = inspect_dataset(dataset, splits=splits).faults
        assert fault.message.endswith("in another group: one trains and one validates in fold 0")

    def test_a_case_of_other_voxels_orientation_and_intensities_than_the_others(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path, 12)
        turned = np.array([[0.0, 4, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        for channel in range(2):
            save(image_of(tmp_path, "c5", channel), (1000 if channel else 1) * noise() + channel, turned)
        save(label_of(tmp_path, "c5"), labelled(1), turned)
        messages = [fault.message for fault in check_dataset(dataset) if fault.case == "c5"]
        assert len(messages) == len(check_dataset(dataset)) == 3
        assert any("has voxels of 4 x 1 x 1 mm, the others usually of 1 x 1 x 1 mm" in message for message in messages)
        assert any("is stored as ARS, nearly all others as RAS" in message for message in messages)
        assert any(message.startswith("b has intensities of") for message in messages)

    def test_a_class_that_never_occurs(self, tmp_path: Path) -> None:
        dataset = replace(make_dataset(tmp_path), labels=LabelSchema.exclusive({"liver": 1, "tumour": 2, "vessel": 3}))
        assert self.only(dataset).message == "class 'vessel' occurs in no readable label"


class TestCounts:
    def test_cases_and_voxels_of_each_class_are_counted(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path)
        save(label_of(tmp_path, "c0"), np.zeros(SHAPE, np.uint8))
        two = np.zeros(SHAPE, np.uint8)
        two[0, 0, :6] = 2
        save(label_of(tmp_path, "c1"), two)
        truncate(label_of(tmp_path, "c2"))
        found = inspect_dataset(dataset)
        size = 2 * two.size
        assert [(count.name, count.cases, count.voxels) for count in found.classes] == [
            ("background", 2, size - 6),
            ("liver", 0, 0),
            ("tumour", 1, 6),
        ]
        assert found.classes[2].share == pytest.approx(6 / size)
        assert (found.labelled, found.empty) == (2, 1)

    def test_ignored_voxels_do_not_count_and_overlapping_classes_count_each(self, tmp_path: Path) -> None:
        schema = LabelSchema(("whole", "core"), ((1, 2), (2,)), ignore_value=3)
        dataset = replace(make_dataset(tmp_path, 1), labels=schema)
        label = np.full(SHAPE, 3, np.uint8)
        label[0, 0, :] = [0, 0, 0, 0, 1, 1, 2, 2]
        save(label_of(tmp_path, "c0"), label)
        found = inspect_dataset(dataset)
        assert [(count.name, count.voxels, count.share) for count in found.classes] == [
            ("background", 4, 0.5),
            ("whole", 4, 0.5),
            ("core", 2, 0.25),
        ]

    def test_without_a_label_all_is_zero(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path, 1)
        dataset = replace(dataset, cases=(), test_cases=(replace(dataset.cases[0], label=None),))
        found = inspect_dataset(dataset)
        assert [(count.voxels, count.share) for count in found.classes] == [(0, 0.0)] * 3
        assert found.labelled == 0


class TestLayoutErrors:
    def test_are_those_of_the_used_cases_and_repeated_ids(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path)
        faults = (Fault("error", "c0", None, "x", "y"), Fault("warning", "c0", None, "x", "y"), Fault("error", "c1", None, "x", "y"))
        dataset = replace(dataset, faults=faults, test_cases=(dataset.cases[2],))
        assert [fault.case for fault in layout_errors(dataset, {"c0"})] == ["c0", "c2"]


class TestFolders:
    def make(self, root: Path) -> Path:
        for index, name in enumerate("abcd"):
            for folder in ("images", "masks"):
                (root / folder).mkdir(parents=True, exist_ok=True)
            array = np.random.default_rng(index).integers(0, 255, size=(20, 30), dtype=np.uint8)
            Image.fromarray(array).save(root / "images" / f"{name}.png")
            Image.fromarray((array > 128).astype(np.uint8)).save(root / "masks" / f"{name}.png")
        return root

    def test_what_the_layout_shows_is_listed_with_what_the_files_show(self, tmp_path: Path) -> None:
        root = self.make(tmp_path)
        content = (root / "images" / "a.png").read_bytes()
        (root / "images" / "a.png").write_bytes(content[: len(content) // 2])
        (root / "masks" / "b.png").rename(root / "masks" / "x.png")
        Image.fromarray(np.ones((20, 31), np.uint8)).save(root / "masks" / "c.png")
        with (root / "groups.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("case", "group"), ("a", 1), ("b", 1), ("c", 2)])
        faults = check_dataset(Folders().read(root))
        assert [(fault.severity, fault.case, fault.file.name if fault.file else "") for fault in faults] == [
            ("error", "a", "a.png"),
            ("error", "b", "b.png"),
            ("error", "c", "c.png"),
            ("error", "d", "groups.csv"),
            ("warning", "x", "x.png"),
        ]

    def test_grey_and_colour_mixed_are_no_fault(self, tmp_path: Path) -> None:
        root = self.make(tmp_path)
        Image.fromarray(np.random.default_rng(8).integers(0, 255, size=(20, 30, 3), dtype=np.uint8)).save(root / "images" / "a.png")
        assert check_dataset(Folders().read(root)) == []
        assert check_dataset(Folders(channels=1).read(root)) == []

    def test_values_beyond_the_labels_are_listed(self, tmp_path: Path) -> None:
        root = self.make(tmp_path)
        Image.fromarray(np.tile(np.array([0, 255, 7], np.uint8), (20, 10))).save(root / "masks" / "a.png")
        (fault,) = check_dataset(Folders(labels={"lesion": 1}).read(root))
        assert fault.message == "label values 7, 255 are not among the data set's values 0, 1"


class TestRealData:
    @pytest.mark.parametrize(
        ("reader", "name"),
        [
            (Decathlon(), "Task04_Hippocampus"),
            (NnUNet(), "Dataset501_OpenMS"),
            (NnUNet(), "Dataset502_OpenMSLong"),
            (Folders(), "busi30"),
            (Folders(), "dsb2018_120"),
            (Folders(), "idrid_tiles512"),
            (Folders(), "ms_flair2d"),
        ],
    )
    def test_has_no_errors(self, reader: Decathlon | NnUNet | Folders, name: str, real_data: Path) -> None:
        root = real_data / name
        if not root.is_dir():
            pytest.skip(f"{name} is not there")
        assert [str(fault) for fault in check_dataset(reader.read(root)) if fault.severity == "error"] == []
