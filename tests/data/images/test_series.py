"""DICOM series against SimpleITK's own series reader, and the pictures that label their slices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from medseg.data.images import FileError, count_channels, files_of, read_geometry, read_image, read_label
from medseg.data.images.series import holds_series

SHAPE = (6, 5, 4)  # columns, rows, slices
TURNED = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])


def write_slice(path: Path, array: np.ndarray, position: Sequence[float], series: str = "1.2.7", direction: np.ndarray = TURNED) -> None:
    """Write one slice (columns, rows) as DICOM, 0.5 x 0.7 mm, HU with an intercept of -1024."""
    image = SimpleITK.GetImageFromArray(array.T[None].astype(np.int16))
    image.SetSpacing((0.5, 0.7, 2.5))
    image.SetOrigin([float(value) for value in position])
    image.SetDirection(direction.ravel().tolist())
    tags = {
        "0008|0060": "CT",
        "0020|000d": "1.2.1",
        "0020|000e": series,
        "0020|0032": "\\".join(f"{value:.6f}" for value in position),
        "0020|0037": "\\".join(f"{value:.6f}" for value in direction[:, :2].T.ravel()),
        "0028|1052": "-1024",
        "0028|1053": "1",
    }
    for tag, value in tags.items():
        image.SetMetaData(tag, value)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetImageIO("GDCMImageIO")
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.SetFileName(str(path))
    writer.Execute(image)


def write_series(folder: Path, names: Sequence[str], step: Sequence[float] = (0, 0, 2.5), **kwargs: object) -> np.ndarray:
    """Write a series whose names run against the positions; the array lies along the positions."""
    array = np.random.default_rng(0).integers(-1000, 2000, size=(*SHAPE[:2], len(names)))
    for index, name in enumerate(names):
        place = len(names) - 1 - index
        write_slice(folder / name, array[..., place], np.array([-10.0, 20.0, -5.0]) + place * np.array(step), **kwargs)  # type: ignore[arg-type]
    return array


NAMES = [f"IM{number}.dcm" for number in (8, 9, 10, 11)]


class TestVolume:
    def test_is_what_simpleitk_reads(self, tmp_path: Path) -> None:
        array = write_series(tmp_path, NAMES)
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
        reference = reader.Execute()
        image, geometry = read_image(tmp_path)
        np.testing.assert_array_equal(image[0], SimpleITK.GetArrayFromImage(reference).transpose(2, 1, 0))
        np.testing.assert_array_equal(image[0], array)
        assert (image.dtype, image.shape) == (np.float32, (1, *SHAPE))
        for index in [(0, 0, 0), (5, 0, 0), (0, 4, 0), (0, 0, 3), (5, 4, 3)]:
            world = np.array(reference.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
            np.testing.assert_allclose((geometry.affine @ [*index, 1])[:3], world, atol=1e-4)
        assert read_geometry(tmp_path).mismatch(geometry) is None
        assert count_channels(tmp_path) == 1

    def test_files_need_no_suffix_and_others_are_passed_over(self, tmp_path: Path) -> None:
        array = write_series(tmp_path, ["a", "b", "c", "d"])
        (tmp_path / "notes.xml").write_text("<a/>")
        (tmp_path / "README").write_text("hello" * 100)
        (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
        (tmp_path / "._a.dcm").write_bytes(b"\0" * 200)
        np.testing.assert_array_equal(read_image(tmp_path)[0][0], array)
        assert holds_series(tmp_path)
        assert len(files_of(tmp_path)) == 7

    def test_a_tilted_gantry_shears_the_grid(self, tmp_path: Path) -> None:
        write_series(tmp_path, NAMES, step=(0.0, 0.8, 2.4))
        np.testing.assert_allclose(read_geometry(tmp_path).affine[:3, 2], [0, -0.8, 2.4], atol=1e-4)

    def test_one_slice_is_a_volume_too(self, tmp_path: Path) -> None:
        write_series(tmp_path, ["a.dcm"])
        assert read_image(tmp_path)[0].shape == (1, 6, 5, 1)

    def test_small_jitter_is_no_fault(self, tmp_path: Path) -> None:
        for index, height in enumerate((0, 2.5, 5.03, 7.5)):
            write_slice(tmp_path / f"{index}.dcm", np.zeros(SHAPE[:2]), (0, 0, height))
        assert read_geometry(tmp_path).spacing == pytest.approx((0.5, 0.7, 2.5), abs=1e-4)


class TestFaults:
    @pytest.mark.parametrize(
        ("heights", "message"),
        [
            ((0, 1, 2, 4, 5), r"1 slice missing between 2\.dcm and 3\.dcm \(2 mm apart, others 1\)"),
            ((0, 1, 2, 3, 6), r"2 slices missing between 3\.dcm and 4\.dcm"),
            ((0, 1, 1, 2, 3), r"1 of 5 slices lie at the place of another one, such as 2\.dcm and 1\.dcm"),
            ((0, 1, 2.3, 3, 4), r"not evenly spaced \(2\.dcm lies 0\.3 mm off\)"),
        ],
    )
    def test_uneven_slices_are_refused(self, heights: tuple[float, ...], message: str, tmp_path: Path) -> None:
        for index, height in enumerate(heights):
            write_slice(tmp_path / f"{index}.dcm", np.zeros(SHAPE[:2]), (0, 0, height))
        with pytest.raises(FileError, match=message):
            read_image(tmp_path)

    def test_several_series_are_refused_unless_the_folder_names_one(self, tmp_path: Path) -> None:
        write_series(tmp_path / "1.2.8", [f"a{name}" for name in NAMES], series="1.2.7")
        array = write_series(tmp_path / "1.2.8", [f"b{name}" for name in NAMES], series="1.2.8")
        np.testing.assert_array_equal(read_image(tmp_path / "1.2.8")[0][0], array)
        (tmp_path / "1.2.8").rename(tmp_path / "scan")
        with pytest.raises(FileError, match=r"scan: holds 2 DICOM series \(4 files such as aIM10\.dcm, 4 .*give each series a folder"):
            read_image(tmp_path / "scan")

    def test_slices_that_all_have_their_own_identifier_are_one_series(self, tmp_path: Path) -> None:
        for index in range(4):
            write_slice(tmp_path / f"{index}.dcm", np.full(SHAPE[:2], index), (0, 0, index), series=f"1.2.7.{index}")
        assert read_image(tmp_path)[0][0, 0, 0].tolist() == [0, 1, 2, 3]

    def test_a_slice_of_another_size_is_named(self, tmp_path: Path) -> None:
        write_series(tmp_path, NAMES)
        write_slice(tmp_path / "z.dcm", np.zeros((3, 3)), (-10, 20, 5))
        with pytest.raises(FileError, match=r"z\.dcm: differs in size, pixel spacing or direction from IM10\.dcm"):
            read_image(tmp_path)

    def test_a_turned_slice_is_named(self, tmp_path: Path) -> None:
        write_series(tmp_path, NAMES)
        write_slice(tmp_path / "z.dcm", np.zeros(SHAPE[:2]), (-10, 20, 5), direction=np.eye(3))
        with pytest.raises(FileError, match=r"z\.dcm: differs in size, pixel spacing or direction"):
            read_image(tmp_path)

    def test_a_damaged_slice_is_named(self, tmp_path: Path) -> None:
        write_series(tmp_path, NAMES)
        (tmp_path / "z.dcm").write_text("nothing")
        with pytest.raises(FileError, match=r"z\.dcm: cannot be read .*take it out of the folder"):
            read_image(tmp_path)

    def test_a_truncated_slice_is_named(self, tmp_path: Path) -> None:
        write_series(tmp_path, NAMES)
        content = (tmp_path / "IM9.dcm").read_bytes()
        (tmp_path / "IM9.dcm").write_bytes(content[:-40])
        with pytest.raises(FileError, match=r"IM9\.dcm: cannot be read"):
            read_image(tmp_path)

    def test_a_folder_without_slices_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").touch()
        assert not holds_series(tmp_path)
        with pytest.raises(FileError, match=r"holds no DICOM files; give the folder of the slices"):
            read_geometry(tmp_path)


class TestSlicesOfLabels:
    def write(self, folder: Path, array: np.ndarray, names: Sequence[str]) -> None:
        folder.mkdir()
        for index, name in enumerate(names):
            Image.fromarray(array[..., len(names) - 1 - index].T.astype(np.uint8)).save(folder / name)

    def test_the_kth_by_name_belongs_to_the_kth_file(self, tmp_path: Path) -> None:
        array = write_series(tmp_path / "scan", NAMES)
        self.write(tmp_path / "truth", array > 500, [f"slice_{number}.png" for number in (8, 9, 10, 11)])
        label, geometry = read_label(tmp_path / "truth", tmp_path / "scan")
        np.testing.assert_array_equal(label, array > 500)
        assert geometry.mismatch(read_geometry(tmp_path / "scan")) is None

    def test_there_must_be_one_for_each_slice(self, tmp_path: Path) -> None:
        array = write_series(tmp_path / "scan", NAMES)
        self.write(tmp_path / "truth", array > 500, ["a.png", "b.png", "c.png"])
        with pytest.raises(FileError, match=r"truth: holds 3 pictures for the 4 slices in .*scan; give one picture for each"):
            read_label(tmp_path / "truth", tmp_path / "scan")

    def test_they_must_have_the_slices_size(self, tmp_path: Path) -> None:
        array = write_series(tmp_path / "scan", NAMES)
        self.write(tmp_path / "truth", array[:, :4] > 500, ["a.png", "b.png", "c.png", "d.png"])
        with pytest.raises(FileError, match=r"\.png: is 4 x 6 large, the slices of .*scan are 5 x 6"):
            read_label(tmp_path / "truth", tmp_path / "scan")

    def test_they_have_no_place_without_a_series(self, tmp_path: Path) -> None:
        self.write(tmp_path / "truth", np.ones(SHAPE), ["a.png"])
        with pytest.raises(FileError, match=r"truth: is a folder, whose slices have no place without a DICOM series"):
            read_label(tmp_path / "truth")
