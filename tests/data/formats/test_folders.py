from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from medseg.data.formats.folders import Folders
from medseg.errors import DataError

GREY, COLOUR = (8, 9), (8, 9, 3)


def save(path: Path, shape: tuple[int, ...] = GREY, value: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.full(shape, value, np.uint8)
    if path.name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    else:
        Image.fromarray(array).save(path)
    return path


class TestPairing:
    def test_formats_may_be_mixed(self, tmp_path: Path) -> None:
        for name, mask in [("a.jpg", "a.png"), ("b.tif", "b.bmp"), ("c.PNG", "c.png")]:
            save(tmp_path / "images" / name)
            save(tmp_path / "masks" / mask)
        dataset = Folders().read(tmp_path)
        assert [(case.id, case.images[0].name, case.label.name) for case in dataset.cases if case.label] == [
            ("a", "a.jpg", "a.png"),
            ("b", "b.tif", "b.bmp"),
            ("c", "c.PNG", "c.png"),
        ]
        assert dataset.suffix == ".png"
        assert dataset.faults == ()

    def test_volumes_work_alike(self, tmp_path: Path) -> None:
        save(tmp_path / "images" / "a.nii.gz", (4, 5, 6))
        save(tmp_path / "masks" / "a.nii", (4, 5, 6))
        dataset = Folders().read(tmp_path)
        assert (dataset.spatial_dims, dataset.suffix, dataset.channels) == (3, ".nii", ("image",))

    def test_blanks_brackets_and_hidden_files(self, tmp_path: Path) -> None:
        for name in ("benign (1)", "benign [2]", "a.b*c"):
            save(tmp_path / "images" / f"{name}.png")
            save(tmp_path / "masks" / f"{name}_mask.png")
        for hidden in ("._benign (1).png", ".DS_Store"):
            (tmp_path / "images" / hidden).touch()
        dataset = Folders(mask_suffix="_mask").read(tmp_path)
        assert [case.id for case in dataset.cases] == ["a.b*c", "benign (1)", "benign [2]"]
        assert dataset.faults == ()

    def test_images_and_masks_in_one_folder(self, tmp_path: Path) -> None:
        for name in ("x_01L.jpg", "x_01L_1stHO.png", "x_02L.jpg", "x_02L_1stHO.png"):
            save(tmp_path / name)
        dataset = Folders(images=".", masks=".", mask_suffix="_1stHO").read(tmp_path)
        assert [case.id for case in dataset.cases] == ["x_01L", "x_02L"]
        with pytest.raises(DataError, match=r"mask_suffix is needed"):
            Folders(images=".", masks=".").read(tmp_path)

    def test_what_has_no_counterpart_is_reported(self, tmp_path: Path) -> None:
        for name in "abc":
            save(tmp_path / "images" / f"{name}.png")
        for name in "abx":
            save(tmp_path / "masks" / f"{name}.png")
        save(tmp_path / "masks" / "a.tif")
        dataset = Folders().read(tmp_path)
        assert dataset.cases[2].label == tmp_path / "masks" / "c.png"  # where it should be; check says that it is not
        assert [(fault.severity, fault.file) for fault in dataset.faults] == [
            ("error", tmp_path / "masks" / "a.tif"),
            ("warning", tmp_path / "masks" / "x.png"),
        ]

    def test_a_forgotten_suffix_is_suggested(self, tmp_path: Path) -> None:
        for name in ("ISIC_1", "ISIC_2"):
            save(tmp_path / "images" / f"{name}.jpg")
            save(tmp_path / "masks" / f"{name}_segmentation.png")
        with pytest.raises(DataError, match=r"no mask is named after an image .*; set data\.format\.params\.mask_suffix=_segmentation"):
            Folders().read(tmp_path)

    def test_masks_of_other_names_are_shown(self, tmp_path: Path) -> None:
        save(tmp_path / "images" / "a.png")
        save(tmp_path / "masks" / "b.png")
        with pytest.raises(DataError, match=r"a\.png needs a\.\*, there is b\.png\); rename the masks"):
            Folders().read(tmp_path)

    @pytest.mark.parametrize(
        ("missing", "message"),
        [
            (".", "the data set's folder does not exist"),
            ("images", r"images: the folder of images does not exist; is data\.root right\? Else set data\.format\.params\.images"),
            ("masks", r"masks: the folder of masks does not exist; is data\.root right\? Else set data\.format\.params\.masks"),
        ],
    )
    def test_a_missing_folder_is_named(self, missing: str, message: str, tmp_path: Path) -> None:
        root = tmp_path / "set"
        for folder in ("images", "masks") if missing != "." else ():
            if folder != missing:
                save(root / folder / "a.png")
        with pytest.raises(DataError, match=message):
            Folders().read(root)

    def test_empty_folders_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "images").mkdir()
        (tmp_path / "masks").mkdir()
        with pytest.raises(DataError, match="images: no images here"):
            Folders().read(tmp_path)
        save(tmp_path / "images" / "a.png")
        with pytest.raises(DataError, match="masks: no masks here"):
            Folders().read(tmp_path)


class TestChannels:
    def make(self, root: Path) -> Path:
        save(root / "images" / "a.png", GREY, 100)
        save(root / "images" / "b.png", COLOUR, 200)
        Image.fromarray(np.full((8, 9, 4), 50, np.uint8)).save(root / "images" / "c.png")
        for name in "abc":
            save(root / "masks" / f"{name}.png")
        return root

    @pytest.mark.parametrize(("asked", "expected"), [(None, 3), (1, 1), (3, 3)])
    def test_grey_and_colour_become_one(self, asked: int | None, expected: int, tmp_path: Path) -> None:
        dataset = Folders(channels=asked).read(self.make(tmp_path))
        assert len(dataset.channels) == expected
        images = [case.read_image()[0] for case in dataset.cases]
        assert [image.shape for image in images] == [(expected, 8, 9)] * 3
        assert [image.mean() for image in images] == pytest.approx([100, 200, 50])

    def test_all_grey_stays_grey(self, tmp_path: Path) -> None:
        save(tmp_path / "images" / "a.png")
        save(tmp_path / "masks" / "a.png")
        assert Folders().read(tmp_path).channels == ("image",)

    def test_an_unreadable_picture_does_not_hide_the_others(self, tmp_path: Path) -> None:
        self.make(tmp_path)
        (tmp_path / "images" / "a.png").write_bytes(b"broken")
        assert len(Folders().read(tmp_path).channels) == 3


class TestLabels:
    def make(self, root: Path, *values: int, labels: dict[str, int] | None = None) -> Path:
        save(root / "images" / "a.png", (1, len(values)))
        (root / "masks").mkdir()
        Image.fromarray(np.array([values], np.uint8)).save(root / "masks" / "a.png")
        if labels:
            (root / "dataset.json").write_text(json.dumps({"name": "named", "labels": labels}))
        return root

    def ids(self, reader: Folders, root: Path) -> list[int]:
        dataset = reader.read(root)
        return dataset.labels.encode(dataset.cases[0].read_label()[0])[0].tolist()

    @pytest.mark.parametrize("values", [(0, 1, 1), (0, 255, 255), (0, 3, 200)])
    def test_without_labels_all_above_zero_is_foreground(self, values: tuple[int, ...], tmp_path: Path) -> None:
        assert self.ids(Folders(), self.make(tmp_path, *values)) == [0, 1, 1]

    def test_dataset_json_gives_the_labels(self, tmp_path: Path) -> None:
        root = self.make(tmp_path, 0, 1, 2, labels={"background": 0, "benign": 1, "malignant": 2})
        dataset = Folders().read(root)
        assert (dataset.name, dataset.labels.classes) == ("named", ("benign", "malignant"))
        assert self.ids(Folders(), root) == [0, 1, 2]
        assert self.ids(Folders(classes=["malignant"]), root) == [0, 0, 1]

    def test_the_config_goes_before_dataset_json(self, tmp_path: Path) -> None:
        root = self.make(tmp_path, 0, 1, 2, labels={"background": 0, "benign": 1})
        dataset = Folders(labels={"lesion": 2, "ignore": 1}).read(root)
        assert dataset.labels.classes == ("lesion",)
        assert dataset.labels.ignore_value == 1

    @pytest.mark.parametrize("labels", [None, {"background": 0, "polyp": 1}, {"background": 0, "polyp": 255}])
    def test_a_threshold_parts_grey_masks_and_predictions_alike(self, labels: dict[str, int] | None, tmp_path: Path) -> None:
        root = self.make(tmp_path, 0, 4, 127, 128, 250, labels=labels)
        schema = Folders(threshold=127).read(root).labels
        assert self.ids(Folders(threshold=127), root) == [0, 0, 0, 1, 1]
        assert schema.encode(schema.decode(np.array([0, 1], np.uint8))).tolist() == [0, 1]

    def test_instances_become_one_class(self, tmp_path: Path) -> None:
        root = self.make(tmp_path, 0, 1, 2, 77, labels={"background": 0, "nucleus": 1})
        assert self.ids(Folders(threshold=0), root) == [0, 1, 1, 1]

    @pytest.mark.parametrize(
        ("reader", "message"),
        [
            (Folders(threshold=127, labels={"a": 1, "b": 2}), r"threshold parts one class from the background, but the labels are a, b"),
            (Folders(threshold=300), r"threshold: .*300"),
            (Folders(labels={"a": 0}), r"data\.format\.params\.labels: .*share the value 0"),
            (Folders(classes=["liver"]), r"classes: no class named liver; the classes are foreground"),
        ],
    )
    def test_contradictions_are_refused(self, reader: Folders, message: str, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=message):
            reader.read(self.make(tmp_path, 0, 1))


class TestFind:
    def test_images_are_converted_to_the_networks_channels(self, tmp_path: Path) -> None:
        save(tmp_path / "new (1).jpg", GREY)
        save(tmp_path / "new (2).png", COLOUR)
        found = Folders().find(tmp_path, 3)
        assert [case.id for case in found] == ["new (1)", "new (2)"]
        assert [case.read_image()[0].shape for case in found] == [(3, 8, 9)] * 2


class TestRealData:
    @pytest.mark.parametrize(
        ("name", "channels", "groups", "classes"),
        [
            ("busi30", 3, 30, 2),
            ("dsb2018_120", 3, 120, 1),
            ("idrid_tiles512", 3, 14, 5),
            ("ms_flair2d", 1, 20, 1),
        ],
    )
    def test_the_2d_sets(self, name: str, channels: int, groups: int, classes: int, real_data: Path) -> None:
        root = real_data / name
        if not root.is_dir():
            pytest.skip(f"{name} is not there")
        dataset = Folders().read(root)
        assert len(dataset.cases) == json.loads((root / "dataset.json").read_text())["numTraining"]
        assert (len(dataset.channels), dataset.labels.num_classes, dataset.suffix) == (channels, classes, ".png")
        assert len({case.group for case in dataset.cases}) == groups
        assert dataset.faults == ()
        case = dataset.cases[len(dataset.cases) // 2]
        image, geometry = case.read_image()
        label, place = case.read_label()
        assert image.shape == (channels, *label.shape)
        assert geometry.mismatch(place) is None
        assert dataset.labels.encode(label).max() <= classes
