from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medseg.data.formats.decathlon import Decathlon
from medseg.errors import DataError


def make_task(root: Path, names: tuple[str, ...] = ("la_003", "la_004", "la_005"), channels: int = 1, **changes: Any) -> Path:
    """A Decathlon task; `changes` replace keys of its dataset.json, None removes one."""
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        (root / folder).mkdir(parents=True)
    for name in names:
        shape = (4, 5, 6) if channels == 1 else (4, 5, 6, channels)
        nibabel.save(
            nibabel.Nifti1Image(np.random.default_rng(0).normal(size=shape).astype(np.float32), np.eye(4)), root / f"imagesTr/{name}.nii.gz"
        )
        nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.eye(4)), root / f"labelsTr/{name}.nii.gz")
    content: dict[str, Any] = {
        "name": "Atrium",
        "modality": {str(index): f"M{index}" for index in range(channels)},
        "labels": {"0": "background", "1": "left atrium", "2": "wall"},
        "training": [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names],
        "test": ["./imagesTs/la_100.nii.gz"],
    }
    content = {key: value for key, value in (content | changes).items() if value is not None}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


class TestRead:
    def test_lists_cases_channels_and_labels(self, tmp_path: Path) -> None:
        dataset = Decathlon().read(make_task(tmp_path / "Task02"))
        assert (dataset.name, dataset.spatial_dims, dataset.suffix) == ("Atrium", 3, ".nii.gz")
        assert [case.id for case in dataset.cases] == ["la_003", "la_004", "la_005"]
        assert dataset.cases[0].label == tmp_path / "Task02/labelsTr/la_003.nii.gz"
        assert dataset.labels.classes == ("left atrium", "wall")
        assert [(case.id, case.label) for case in dataset.test_cases] == [("la_100", None)]

    def test_several_modalities_are_the_last_axis(self, tmp_path: Path) -> None:
        dataset = Decathlon().read(make_task(tmp_path, channels=4))
        assert dataset.channels == ("M0", "M1", "M2", "M3")
        assert dataset.cases[0].read_image()[0].shape == (4, 4, 5, 6)

    def test_appledouble_files_are_skipped(self, tmp_path: Path) -> None:
        entry = {"image": "./imagesTr/._la_003.nii.gz", "label": "./labelsTr/._la_003.nii.gz"}
        make_task(tmp_path)
        content = json.loads((tmp_path / "dataset.json").read_text())
        content["training"].insert(0, entry)
        (tmp_path / "dataset.json").write_text(json.dumps(content))
        assert [case.id for case in Decathlon().read(tmp_path).cases] == ["la_003", "la_004", "la_005"]

    def test_the_parent_folder_is_as_good(self, tmp_path: Path) -> None:
        make_task(tmp_path / "Task02")
        assert Decathlon().read(tmp_path).root == tmp_path / "Task02"

    def test_classes_and_groups_are_the_users_choice(self, tmp_path: Path) -> None:
        dataset = Decathlon(classes=["wall"], groups=r"^(..)").read(make_task(tmp_path))
        assert dataset.labels.classes == ("wall",)
        assert {case.group for case in dataset.cases} == {"la"}

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"training": None}, '"training" is missing'),
            ({"training": []}, '"training" lists no case'),
            ({"training": {}}, '"training" must be a list'),
            ({"training": ["./imagesTr/a.nii.gz"]}, r"training\[0\] must be"),
            ({"training": [{"image": "./imagesTr/a.nii.gz"}]}, r"training\[0\] must be"),
            ({"training": [{"image": "../../a.nii.gz", "label": "b.nii.gz"}]}, "leads out of"),
            ({"modality": None, "channel_names": {"0": "MR"}}, "use data.format.name=nnunet"),
            ({"modality": {"1": "MR"}}, '"modality" must number the channels from 0'),
            ({"labels": {"0": "background"}}, "no foreground class"),
        ],
    )
    def test_a_broken_dataset_json_is_explained(self, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=rf"dataset\.json: .*{message}"):
            Decathlon().read(make_task(tmp_path, **changes))


class TestFind:
    def test_every_image_is_a_case(self, tmp_path: Path) -> None:
        make_task(tmp_path)
        (tmp_path / "imagesTr" / "._la_003.nii.gz").touch()
        found = Decathlon().find(tmp_path / "imagesTr", 1)
        assert [(case.id, case.label, case.channels) for case in found] == [("la_003", None, 1), ("la_004", None, 1), ("la_005", None, 1)]

    def test_one_image_is_one_case(self, tmp_path: Path) -> None:
        make_task(tmp_path)
        assert [case.id for case in Decathlon().find(tmp_path / "imagesTr" / "la_004.nii.gz", 1)] == ["la_004"]

    def test_nothing_to_find_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no images here"):
            Decathlon().find(tmp_path, 1)
        with pytest.raises(DataError, match="the folder of images does not exist"):
            Decathlon().find(tmp_path / "gone", 1)


class TestRealData:
    def test_hippocampus(self, real_data: Path) -> None:
        root = real_data / "Task04_Hippocampus"
        if not root.is_dir():
            pytest.skip("the hippocampus set is not there")
        dataset = Decathlon().read(root)
        assert (
            len(dataset.cases)
            == json.loads((root / "dataset.json").read_text())["numTraining"]
            == len(list((root / "labelsTr").glob("h*.nii.gz")))
        )
        assert dataset.labels.classes == ("Anterior", "Posterior")
        image, geometry = dataset.cases[0].read_image()
        label, _ = dataset.cases[0].read_label()
        assert image.shape == (1, *label.shape) == (1, *geometry.shape)
        assert geometry.spacing == pytest.approx((1, 1, 1))
