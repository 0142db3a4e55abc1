from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from medseg.data.formats.nnunet import NnUNet
from medseg.errors import DataError


def save(path: Path, shape: tuple[int, ...] = (4, 5, 6), value: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.full(shape, value, np.uint8)
    if path.name.endswith(".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    else:
        Image.fromarray(array).save(path)
    return path


def describe(root: Path, **changes: Any) -> Path:
    """Write a dataset.json; `changes` replace its keys, None removes one."""
    content: dict[str, Any] = {
        "channel_names": {"0": "FLAIR", "1": "T1"},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.json").write_text(json.dumps({key: value for key, value in (content | changes).items() if value is not None}))
    return root


def make_raw(root: Path, **changes: Any) -> Path:
    """Two cases with two channels."""
    for case in ("ms_1", "ms_2"):
        for channel in range(2):
            save(root / "imagesTr" / f"{case}_{channel:04d}.nii.gz", value=channel + 3)
        save(root / "labelsTr" / f"{case}.nii.gz")
    return describe(root, **changes)


class TestRead:
    def test_lists_cases_with_one_file_per_channel(self, tmp_path: Path) -> None:
        dataset = NnUNet().read(make_raw(tmp_path / "Dataset007_Ms"))
        assert [case.id for case in dataset.cases] == ["ms_1", "ms_2"]
        assert [path.name for path in dataset.cases[1].images] == ["ms_2_0000.nii.gz", "ms_2_0001.nii.gz"]
        assert (dataset.channels, dataset.suffix, dataset.spatial_dims) == (("FLAIR", "T1"), ".nii.gz", 3)
        assert dataset.name == "Dataset007_Ms"
        image, _ = dataset.cases[0].read_image()
        assert image[:, 0, 0, 0].tolist() == [3, 4]
        assert dataset.faults == ()

    def test_channels_are_in_the_order_of_their_numbers(self, tmp_path: Path) -> None:
        names = {str(index): f"c{index}" for index in reversed(range(12))}
        for index in range(12):
            save(tmp_path / "imagesTr" / f"a_{index:04d}.nii.gz", value=index)
        save(tmp_path / "labelsTr" / "a.nii.gz")
        dataset = NnUNet().read(describe(tmp_path, channel_names=names))
        assert dataset.channels == tuple(f"c{index}" for index in range(12))
        assert dataset.cases[0].read_image()[0][:, 0, 0, 0].tolist() == list(range(12))

    def test_regions_and_ignore(self, tmp_path: Path) -> None:
        labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
        schema = NnUNet().read(make_raw(tmp_path, labels=labels, regions_class_order=[1, 2, 3])).labels
        assert schema.classes == ("whole", "core", "enhancing")
        assert schema.overlapping
        assert schema.ignore_value == 4
        assert schema.paint == (1, 2, 3)

    def test_classes_pick_regions(self, tmp_path: Path) -> None:
        labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
        schema = NnUNet(classes=["core"]).read(make_raw(tmp_path, labels=labels, regions_class_order=[1, 2, 3])).labels
        assert schema.classes == ("core",)
        assert not schema.overlapping

    def test_a_missing_channel_is_named_on_reading(self, tmp_path: Path) -> None:
        make_raw(tmp_path)
        (tmp_path / "imagesTr" / "ms_2_0001.nii.gz").unlink()
        dataset = NnUNet().read(tmp_path)
        assert len(dataset.cases) == 2
        with pytest.raises(DataError, match=r"ms_2_0001\.nii\.gz: the file does not exist"):
            dataset.cases[1].read_image()

    def test_a_channel_that_is_missing_everywhere_is_no_multichannel_file(self, tmp_path: Path) -> None:
        make_raw(tmp_path)
        for case in ("ms_1", "ms_2"):
            (tmp_path / "imagesTr" / f"{case}_0001.nii.gz").unlink()
        with pytest.raises(DataError, match=r"ms_1_0001\.nii\.gz: the file does not exist"):
            NnUNet().read(tmp_path).cases[0].read_image()

    def test_rgb_pictures_hold_their_channels_in_one_file(self, tmp_path: Path) -> None:
        save(tmp_path / "imagesTr" / "a_0000.png", (8, 9, 3))
        save(tmp_path / "imagesTr" / "b_0000.png", (8, 9))
        for case in "ab":
            save(tmp_path / "labelsTr" / f"{case}.png", (8, 9))
        dataset = NnUNet().read(describe(tmp_path, channel_names={"0": "R", "1": "G", "2": "B"}, file_ending=".png"))
        assert (dataset.spatial_dims, dataset.suffix) == (2, ".png")
        assert [case.read_image()[0].shape for case in dataset.cases] == [(3, 8, 9)] * 2

    def test_explicit_file_lists_replace_the_naming_rule(self, tmp_path: Path) -> None:
        save(tmp_path / "raw" / "flair of x.nii.gz", value=7)
        save(tmp_path / "raw" / "t1.nii.gz", value=8)
        save(tmp_path / "gt.nii.gz")
        listed = {"x": {"images": ["raw/flair of x.nii.gz", "./raw/t1.nii.gz"], "label": "gt.nii.gz"}}
        dataset = NnUNet().read(describe(tmp_path, dataset=listed))
        assert [case.id for case in dataset.cases] == ["x"]
        assert dataset.cases[0].read_image()[0][:, 0, 0, 0].tolist() == [7, 8]

    def test_an_explicit_path_cannot_leave_the_folder(self, tmp_path: Path) -> None:
        listed = {"x": {"images": ["../../flair.nii.gz"], "label": "gt.nii.gz"}}
        with pytest.raises(DataError, match=r"dataset\.json: the path '../../flair\.nii\.gz' leads out of"):
            NnUNet().read(describe(tmp_path, dataset=listed))

    def test_test_images_have_labels_where_there_are_some(self, tmp_path: Path) -> None:
        make_raw(tmp_path)
        for case in ("t_1", "t_2"):
            for channel in range(2):
                save(tmp_path / "imagesTs" / f"{case}_{channel:04d}.nii.gz")
        save(tmp_path / "labelsTs" / "t_2.nii.gz")
        tests = NnUNet().read(tmp_path).test_cases
        assert [(case.id, case.label is None) for case in tests] == [("t_1", True), ("t_2", False)]

    def test_files_that_fit_nowhere_are_reported(self, tmp_path: Path) -> None:
        make_raw(tmp_path)
        save(tmp_path / "imagesTr" / "stray.nii.gz")
        save(tmp_path / "imagesTr" / "ms_1_0002.nii.gz")
        save(tmp_path / "labelsTr" / "ms_9.nii.gz")
        found = {fault.file.name: fault.message for fault in NnUNet().read(tmp_path).faults if fault.file}
        assert set(found) == {"stray.nii.gz", "ms_1_0002.nii.gz", "ms_9.nii.gz"}
        assert found["ms_9.nii.gz"] == "is a label without images"

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"labels": None}, '"labels" is missing; add it'),
            ({"channel_names": None, "modality": {"0": "MR"}}, "use data.format.name=decathlon"),
            ({"file_ending": ".npz"}, "medseg reads .nii.gz"),
            ({"channel_names": ["FLAIR"]}, '"channel_names" must number'),
            ({"dataset": ["a"]}, '"dataset" must map'),
            ({"dataset": {"a": {"images": "x.nii.gz", "label": "y.nii.gz"}}}, r'dataset\["a"\] must be'),
        ],
    )
    def test_a_broken_dataset_json_is_explained(self, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=rf"dataset\.json: .*{message}"):
            NnUNet().read(make_raw(tmp_path, **changes))

    def test_an_empty_folder_is_explained(self, tmp_path: Path) -> None:
        describe(tmp_path)
        with pytest.raises(DataError, match="imagesTr: the folder of images does not exist"):
            NnUNet().read(tmp_path)
        (tmp_path / "imagesTr").mkdir()
        with pytest.raises(DataError, match=r"imagesTr: no training image named <case>_0000\.nii\.gz here"):
            NnUNet().read(tmp_path)


class TestFind:
    def test_channel_files_are_gathered(self, tmp_path: Path) -> None:
        make_raw(tmp_path)
        found = NnUNet().find(tmp_path / "imagesTr", 2)
        assert [(case.id, len(case.images), case.label) for case in found] == [("ms_1", 2, None), ("ms_2", 2, None)]

    def test_one_channel_may_have_any_name(self, tmp_path: Path) -> None:
        save(tmp_path / "some head.nii.gz")
        assert [case.id for case in NnUNet().find(tmp_path, 1)] == ["some head"]

    def test_several_channels_need_their_numbers(self, tmp_path: Path) -> None:
        save(tmp_path / "head.nii.gz")
        with pytest.raises(DataError, match=r"head\.nii\.gz: has no channel number; name the 2 files of a case <case>_0000"):
            NnUNet().find(tmp_path, 2)

    def test_one_file_of_a_case_finds_the_others(self, tmp_path: Path) -> None:
        make_raw(tmp_path)
        (case,) = NnUNet().find(tmp_path / "imagesTr" / "ms_1_0000.nii.gz", 2)
        assert case.read_image()[0].shape == (2, 4, 5, 6)


class TestRealData:
    @pytest.mark.parametrize(("name", "channels"), [("Dataset501_OpenMS", 4), ("Dataset502_OpenMSLong", 2)])
    def test_openms(self, name: str, channels: int, real_data: Path) -> None:
        root = real_data / name
        if not root.is_dir():
            pytest.skip(f"{name} is not there")
        dataset = NnUNet().read(root)
        assert len(dataset.cases) == json.loads((root / "dataset.json").read_text())["numTraining"]
        assert len(dataset.channels) == channels
        assert all(
            len(case.images) == channels and all(path.is_file() for path in (*case.images, case.label))
            for case in dataset.cases
            if case.label
        )
        image, geometry = dataset.cases[0].read_image()
        assert image.shape == (channels, *geometry.shape)
        assert geometry.orientation in ("LAS", "LPS")
