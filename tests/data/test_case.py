from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from medseg.data.case import Case, DataSet, Fault
from medseg.data.geometry import Geometry
from medseg.data.images import write_label
from medseg.data.labels import LabelSchema
from medseg.data.masks import Layer, Masks
from medseg.errors import DataError


def picture(path: Path, *shape: int) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, size=shape, dtype=np.uint8)).save(path)
    return path


def volume(path: Path, value: int, shape: tuple[int, ...] = (3, 4, 5), spacing: float = 1.0) -> Path:
    write_label(path, np.full(shape, value), Geometry(shape, np.diag([spacing, 1, 1, 1])))
    return path


class TestReadImage:
    def test_channel_files_are_stacked_in_order(self, tmp_path: Path) -> None:
        paths = tuple(volume(tmp_path / f"a_{index}.nii.gz", index + 5) for index in range(3))
        image, geometry = Case("a", paths, None, "a", 3).read_image()
        assert image.shape == (3, 3, 4, 5)
        assert image[:, 0, 0, 0].tolist() == [5, 6, 7]
        assert geometry.shape == (3, 4, 5)

    def test_grey_becomes_colour_where_asked(self, tmp_path: Path) -> None:
        path = picture(tmp_path / "a.png", 4, 5)
        image, _ = Case("a", (path,), None, "a", 3).read_image()
        np.testing.assert_array_equal(image, np.stack([np.array(Image.open(path))] * 3))

    def test_colour_becomes_grey_as_pillow_does_it(self, tmp_path: Path) -> None:
        path = picture(tmp_path / "a.png", 4, 5, 3)
        image, _ = Case("a", (path,), None, "a", 1).read_image()
        with Image.open(path) as opened:
            np.testing.assert_allclose(image[0], np.array(opened.convert("L")), atol=0.51)

    def test_without_a_wish_the_files_decide(self, tmp_path: Path) -> None:
        assert Case("a", (picture(tmp_path / "a.png", 4, 5, 3),), None, "a").read_image()[0].shape == (3, 4, 5)

    def test_volumes_are_never_converted(self, tmp_path: Path) -> None:
        path = volume(tmp_path / "a.nii.gz", 1)
        with pytest.raises(DataError, match=r"1 channels in a\.nii\.gz, 3 in the data set .*; give the case the same channels"):
            Case("a", (path,), None, "a", 3).read_image()

    def test_channels_in_another_grid_are_named(self, tmp_path: Path) -> None:
        paths = (volume(tmp_path / "a_0000.nii.gz", 1), volume(tmp_path / "a_0001.nii.gz", 1, spacing=2.0))
        with pytest.raises(
            DataError, match=r"a_0001\.nii\.gz: lies in another grid than a_0000\.nii\.gz: spacing \(2, 1, 1\) mm against \(1, 1, 1\)"
        ):
            Case("a", paths, None, "a", 2).read_image()

    def test_a_missing_channel_is_named(self, tmp_path: Path) -> None:
        paths = (volume(tmp_path / "a_0000.nii.gz", 1), tmp_path / "a_0001.nii.gz")
        with pytest.raises(DataError, match=r"a_0001\.nii\.gz: the file does not exist"):
            Case("a", paths, None, "a", 2).read_image()


class TestResampling:
    """Against SimpleITK's linear interpolation."""

    @pytest.fixture
    def paths(self, tmp_path: Path) -> tuple[Path, Path]:
        rng = np.random.default_rng(0)
        for name, shape, spacing in (("a", (8, 7, 6), (1.0, 1.1, 1.3)), ("b", (9, 8, 7), (0.9, 1.0, 1.2))):
            image = SimpleITK.GetImageFromArray(rng.normal(size=shape[::-1]).astype(np.float32))
            image.SetSpacing(spacing)
            SimpleITK.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
        return tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"

    def test_channels_are_interpolated_into_the_grid_of_the_first(self, paths: tuple[Path, Path]) -> None:
        image, geometry = Case("a", paths, None, "a", 2, resample=True).read_image()
        first, second = (SimpleITK.ReadImage(str(path)) for path in paths)
        moved = SimpleITK.GetArrayFromImage(SimpleITK.Resample(second, first, SimpleITK.Transform(), SimpleITK.sitkLinear)).transpose(
            2, 1, 0
        )
        np.testing.assert_array_equal(image[0], SimpleITK.GetArrayFromImage(first).transpose(2, 1, 0))
        np.testing.assert_allclose(image[1], moved, atol=1e-5)
        assert geometry.shape == (8, 7, 6)

    def test_it_is_a_fault_unless_asked_for(self, paths: tuple[Path, Path]) -> None:
        with pytest.raises(DataError, match=r"b\.nii\.gz: lies in another grid than a\.nii\.gz"):
            Case("a", paths, None, "a", 2).read_image()

    def test_a_plain_label_comes_to_the_images_grid(self, paths: tuple[Path, Path], tmp_path: Path) -> None:
        label = (np.random.default_rng(1).random((9, 8, 7)) > 0.5).astype(np.uint8)
        affine = nibabel.load(paths[1]).affine
        nibabel.save(nibabel.Nifti1Image(label, affine), tmp_path / "label.nii.gz")
        found, geometry = Case("a", paths[:1], tmp_path / "label.nii.gz", "a", 1, resample=True).read_label()
        reference = SimpleITK.Resample(
            SimpleITK.ReadImage(str(tmp_path / "label.nii.gz")),
            SimpleITK.ReadImage(str(paths[0])),
            SimpleITK.Transform(),
            SimpleITK.sitkNearestNeighbor,
        )
        np.testing.assert_array_equal(found, SimpleITK.GetArrayFromImage(reference).transpose(2, 1, 0))
        assert geometry.shape == (8, 7, 6)

    def test_pictures_of_other_sizes_stay_a_fault(self, tmp_path: Path) -> None:
        paths = (picture(tmp_path / "a.png", 4, 5), picture(tmp_path / "b.png", 4, 6))
        with pytest.raises(DataError, match=r"b\.png: lies in another grid"):
            Case("a", paths, None, "a", 2, resample=True).read_image()


class TestFiles:
    def test_are_all_that_image_and_label_are_read_from(self, tmp_path: Path) -> None:
        series = tmp_path / "series"
        series.mkdir()
        for name in ("2.dcm", "1.dcm"):
            (series / name).touch()
        header = tmp_path / "b.mhd"
        write_label(header, np.ones((2, 2, 2), np.uint8), Geometry((2, 2, 2), np.eye(4)))
        masks = Masks((Layer.above([tmp_path / "m.png", header], 0, 1),))
        names = [path.name for path in Case("a", (series, header), masks, "a").files]
        assert names == ["1.dcm", "2.dcm", "b.mhd", "b.raw", "m.png", "b.mhd", "b.raw"]
        assert [path.name for path in Case("a", (header,), tmp_path / "m.png", "a").files] == ["b.mhd", "b.raw", "m.png"]
        assert [path.name for path in Case("a", (header,), None, "a").files] == ["b.mhd", "b.raw"]

    def test_a_label_has_a_file_to_name(self, tmp_path: Path) -> None:
        image, mask = tmp_path / "a.png", tmp_path / "m.png"
        assert Case("a", (image,), mask, "a").label_file == mask
        assert Case("a", (image,), Masks((Layer.above([mask, image], 0, 1),)), "a").label_file == mask
        assert Case("a", (image,), Masks((Layer.above([], 0, 1),)), "a").label_file == image


class TestReadLabel:
    def test_a_composed_label_lies_in_the_images_grid(self, tmp_path: Path) -> None:
        image, mask = volume(tmp_path / "a.nii.gz", 1, spacing=2.0), volume(tmp_path / "m.nii.gz", 5, spacing=2.0)
        label, geometry = Case("a", (image,), Masks((Layer.above([mask], 0, 3),)), "a").read_label()
        assert (label == 3).all()
        assert geometry.spacing == (2, 1, 1)
        empty, _ = Case("a", (image,), Masks((Layer((), ((1, 1, 1),)),)), "a").read_label()
        assert empty.shape == (3, 4, 5)

    def test_a_composed_label_in_another_grid_is_named(self, tmp_path: Path) -> None:
        image, mask = volume(tmp_path / "a.nii.gz", 1, spacing=2.0), volume(tmp_path / "m.nii.gz", 5)
        with pytest.raises(DataError, match=r"m\.nii\.gz: lies in another grid than a\.nii\.gz"):
            Case("a", (image,), Masks((Layer.above([mask], 0, 3),)), "a").read_label()

    def test_the_label_comes_as_on_disk(self, tmp_path: Path) -> None:
        label, geometry = Case("a", (), volume(tmp_path / "a.nii.gz", 3), "a").read_label()
        assert (label == 3).all()
        assert geometry.shape == (3, 4, 5)

    def test_a_case_without_a_label_says_so(self) -> None:
        with pytest.raises(DataError, match="case 'a' has no label"):
            Case("a", (), None, "a").read_label()


class TestDataSet:
    def test_the_summary_is_plain_json_and_holds_no_path(self, tmp_path: Path) -> None:
        dataset = DataSet("set", tmp_path, (), ("T1", "T2"), LabelSchema.exclusive({"lesion": 1}), 3, ".nii.gz")
        summary = json.loads(json.dumps(dataset.summary()))
        assert summary == dataset.summary()
        assert LabelSchema.from_dict(summary["labels"]) == dataset.labels
        assert str(tmp_path) not in json.dumps(summary)


class TestFault:
    def test_reads_as_file_problem_remedy(self) -> None:
        assert str(Fault("error", "a", Path("x.png"), "is bad", "fix it")) == "x.png: is bad; fix it"
        assert str(Fault("error", "a", None, "is bad", "fix it")) == "a: is bad; fix it"
        assert str(Fault("error", "", None, "is bad", "fix it")) == "data set: is bad; fix it"
