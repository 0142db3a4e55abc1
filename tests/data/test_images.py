from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from medseg.data.geometry import Geometry
from medseg.data.images import (
    FileError,
    count_channels,
    files_of,
    list_images,
    lossless_suffix,
    natural,
    read_geometry,
    read_image,
    read_label,
    stem_of,
    suffix_of,
    write_label,
)
from medseg.errors import DataError

AFFINE = np.array([[-0.7, 0.1, 0, 10], [0.1, 1.2, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]])
GREY = np.arange(20, dtype=np.uint8).reshape(4, 5)
COLOUR = np.stack([GREY, GREY + 50, GREY + 100], axis=-1)


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


class TestNames:
    @pytest.mark.parametrize(
        ("name", "suffix", "stem"),
        [
            ("a.b.nii.gz", ".nii.gz", "a.b"),
            ("A.NII.GZ", ".nii.gz", "A"),
            ("x (1).PNG", ".png", "x (1)"),
            ("a.txt", "", "a.txt"),
            ("a.gz", "", "a.gz"),
        ],
    )
    def test_the_suffix_is_that_of_the_format(self, name: str, suffix: str, stem: str) -> None:
        assert (suffix_of(name), stem_of(name)) == (suffix, stem)

    def test_hidden_files_and_strangers_are_not_listed(self, tmp_path: Path) -> None:
        for name in ("b.png", "._b.png", "a.nii.gz", "notes.txt", "Thumbs.db"):
            (tmp_path / name).touch()
        (tmp_path / "folder.png").mkdir()
        assert [path.name for path in list_images(tmp_path)] == ["a.nii.gz", "b.png"]

    def test_numbers_sort_as_people_count(self) -> None:
        assert sorted(["s10.png", "s9.png", "s1b.png", "s1.png"], key=natural) == ["s1.png", "s1b.png", "s9.png", "s10.png"]

    def test_a_header_and_its_voxels_belong_together(self, tmp_path: Path) -> None:
        write_label(tmp_path / "a.mhd", np.ones((2, 2, 2), np.uint8), Geometry((2, 2, 2), np.eye(4)))
        assert [path.name for path in files_of(tmp_path / "a.mhd")] == ["a.mhd", "a.raw"]
        assert [path.name for path in files_of(tmp_path / "b.nii.gz")] == ["b.nii.gz"]
        (tmp_path / ".hidden").touch()
        assert [path.name for path in files_of(tmp_path)] == ["a.mhd", "a.raw"]


class TestVolumes:
    @pytest.mark.parametrize(("unit", "scale"), [("meter", 1000), ("mm", 1), ("micron", 0.001), ("unknown", 1)])
    def test_units_of_length_become_millimetres(self, unit: str, scale: float, tmp_path: Path) -> None:
        nifti = nibabel.Nifti1Image(np.ones((2, 3, 4), np.uint8), AFFINE)
        nifti.header.set_xyzt_units(unit)
        nibabel.save(nifti, tmp_path / "a.nii.gz")
        expected = AFFINE.copy()
        expected[:3] *= scale
        for geometry in (read_geometry(tmp_path / "a.nii.gz"), read_image(tmp_path / "a.nii.gz")[1], read_label(tmp_path / "a.nii.gz")[1]):
            np.testing.assert_allclose(geometry.affine, expected, rtol=1e-6)

    def test_an_undefined_unit_means_millimetres(self, tmp_path: Path) -> None:
        path = save_nifti(tmp_path / "a.nii", np.ones((2, 3, 4), np.uint8))
        raw = bytearray(path.read_bytes())
        raw[123] = 5
        path.write_bytes(raw)
        np.testing.assert_allclose(read_geometry(path).affine, AFFINE, rtol=1e-6)

    @pytest.mark.parametrize("read", [read_image, read_label, read_geometry, count_channels])
    def test_missing_voxels_of_a_header_are_named(self, read: object, tmp_path: Path) -> None:
        write_label(tmp_path / "Case00.mhd", np.ones((2, 2, 2), np.uint8), Geometry((2, 2, 2), np.eye(4)))
        (tmp_path / "Case00.raw").unlink()
        with pytest.raises(FileError, match=r"Case00\.mhd: its voxels are in Case00\.raw, which does not exist; put Case00\.raw beside it"):
            read(tmp_path / "Case00.mhd")  # type: ignore[operator]

    def test_the_fourth_axis_is_the_channels(self, tmp_path: Path) -> None:
        array = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype(np.float32)
        path = save_nifti(tmp_path / "a.nii.gz", array)
        image, geometry = read_image(path)
        np.testing.assert_array_equal(image, np.moveaxis(array, -1, 0))
        assert (image.dtype, geometry.shape, count_channels(path)) == (np.float32, (3, 4, 5), 2)
        np.testing.assert_allclose(geometry.affine, AFFINE, atol=1e-6)

    def test_slope_and_intercept_are_applied(self, tmp_path: Path) -> None:
        nifti = nibabel.Nifti1Image(np.full((2, 2, 2), 7, np.int16), np.eye(4))
        nifti.header.set_slope_inter(0.5, 3)
        nibabel.save(nifti, tmp_path / "a.nii")
        raw = bytearray((tmp_path / "a.nii").read_bytes())
        stored = np.frombuffer(raw[352:], np.int16)[0]
        slope, intercept = np.frombuffer(raw[112:120], np.float32)
        assert read_image(tmp_path / "a.nii")[0].flat[0] == pytest.approx(stored * slope + intercept)

    @pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd"])
    def test_itk_components_are_the_channels(self, suffix: str, tmp_path: Path) -> None:
        array = np.random.default_rng(1).normal(size=(3, 4, 5, 2)).astype(np.float32)
        image = SimpleITK.GetImageFromArray(array.transpose(2, 1, 0, 3), isVector=True)
        image.SetSpacing((0.5, 0.6, 2.0))
        image.SetOrigin((1, 2, 3))
        path = tmp_path / f"a{suffix}"
        SimpleITK.WriteImage(image, str(path))
        found, geometry = read_image(path)
        np.testing.assert_array_equal(found, np.moveaxis(array, -1, 0))
        assert geometry.orientation == "LPS"
        assert geometry.affine[:3, 3].tolist() == [-1, -2, 3]
        assert count_channels(path) == 2

    def test_a_fourth_itk_axis_is_the_channels_too(self, tmp_path: Path) -> None:
        array = np.random.default_rng(2).normal(size=(3, 4, 5, 2)).astype(np.float32)
        path = tmp_path / "a.nrrd"
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array.transpose(3, 2, 1, 0), isVector=False), str(path))
        found, geometry = read_image(path)
        np.testing.assert_array_equal(found, np.moveaxis(array, -1, 0))
        assert (geometry.shape, count_channels(path)) == ((3, 4, 5), 2)

    @pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
    def test_flat_images_have_rows_and_columns_like_pictures(self, suffix: str, tmp_path: Path) -> None:
        image = SimpleITK.GetImageFromArray(GREY)
        image.SetSpacing((0.25, 0.5))  # columns, rows
        SimpleITK.WriteImage(image, str(tmp_path / f"a{suffix}"))
        found, geometry = read_image(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(found[0], GREY)
        assert geometry.spacing == pytest.approx((0.5, 0.25))

    @pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".png", ".tif", ".bmp"])
    def test_the_header_alone_tells_the_geometry(self, suffix: str, tmp_path: Path) -> None:
        flat = suffix in (".png", ".tif", ".bmp")
        geometry = Geometry((4, 5), np.eye(4)) if flat else Geometry((4, 5, 6), AFFINE)
        write_label(tmp_path / f"a{suffix}", np.ones(geometry.shape, np.uint8), geometry)
        assert read_geometry(tmp_path / f"a{suffix}").mismatch(geometry, tolerance=0.02) is None or suffix in (".mha", ".mhd", ".nrrd")
        assert read_geometry(tmp_path / f"a{suffix}").mismatch(read_image(tmp_path / f"a{suffix}")[1]) is None


class TestPictures:
    @pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp"])
    @pytest.mark.parametrize(("array", "channels"), [(GREY, 1), (COLOUR, 3)])
    def test_grey_has_one_channel_and_colour_three(self, suffix: str, array: np.ndarray, channels: int, tmp_path: Path) -> None:
        path = tmp_path / f"a (1){suffix}"
        Image.fromarray(array).save(path)
        image, geometry = read_image(path)
        np.testing.assert_array_equal(image, array.reshape(4, 5, channels).transpose(2, 0, 1))
        assert (geometry.shape, geometry.spacing, count_channels(path)) == ((4, 5), (1.0, 1.0), channels)

    @pytest.mark.parametrize(("mode", "channels"), [("RGBA", 3), ("LA", 1), ("P", 3), ("1", 1), ("CMYK", 3)])
    def test_alpha_is_dropped_and_palettes_are_looked_up(self, mode: str, channels: int, tmp_path: Path) -> None:
        picture = Image.fromarray(COLOUR).convert(mode)
        path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
        picture.save(path)
        image, _ = read_image(path)
        assert image.shape == (channels, 4, 5)
        assert count_channels(path) == channels
        if mode == "RGBA":
            np.testing.assert_array_equal(image, COLOUR.transpose(2, 0, 1))

    def test_sixteen_bits_are_kept(self, tmp_path: Path) -> None:
        Image.fromarray(np.array([[0, 40_000]], np.uint16)).save(tmp_path / "a.png")
        assert read_image(tmp_path / "a.png")[0].tolist() == [[[0, 40_000]]]

    def test_several_pages_are_refused(self, tmp_path: Path) -> None:
        pages = [Image.fromarray(GREY) for _ in range(3)]
        pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
        with pytest.raises(DataError, match=r"a\.tif: has 3 pages; store volumes as"):
            read_image(tmp_path / "a.tif")


class TestLabels:
    def test_a_palette_gives_its_indices(self, tmp_path: Path) -> None:
        picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode=None)
        picture = picture.convert("P")
        indices = Image.new("P", (2, 2))
        indices.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
        indices.putdata([0, 1, 2, 1])
        indices.save(tmp_path / "a.png")
        assert read_label(tmp_path / "a.png")[0].tolist() == [[0, 1], [2, 1]]

    def test_a_one_bit_mask_is_zero_and_one(self, tmp_path: Path) -> None:
        Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / "a.png")
        assert read_label(tmp_path / "a.png")[0].tolist() == [[0, 1]]

    def test_a_grey_mask_in_colour_is_read_as_grey(self, tmp_path: Path) -> None:
        Image.fromarray(np.repeat(GREY[..., None], 3, axis=2)).save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_label(tmp_path / "a.png")[0], GREY)

    def test_a_colour_mask_is_refused(self, tmp_path: Path) -> None:
        Image.fromarray(COLOUR).save(tmp_path / "a.png")
        with pytest.raises(DataError, match=r"a\.png: the label map has 3 channels; store one integer per voxel"):
            read_label(tmp_path / "a.png")

    def test_a_gif_with_a_grey_palette_gives_its_grey_levels(self, tmp_path: Path) -> None:
        indices = Image.new("P", (2, 2))
        indices.putpalette([255, 255, 255, 0, 0, 0, 128, 128, 128])
        indices.putdata([0, 1, 2, 1])
        indices.save(tmp_path / "a.gif", optimize=False)
        assert read_label(tmp_path / "a.gif")[0].tolist() == [[255, 0], [128, 0]]
        assert read_image(tmp_path / "a.gif")[0][0].tolist() == [[255, 0], [128, 0]]

    def test_a_gif_in_colour_gives_its_indices(self, tmp_path: Path) -> None:
        indices = Image.new("P", (2, 2))
        indices.putpalette([9, 0, 0, 0, 200, 0, 0, 0, 77])
        indices.putdata([0, 1, 2, 1])
        indices.save(tmp_path / "a.gif", optimize=False)
        assert read_label(tmp_path / "a.gif")[0].tolist() == [[0, 1], [2, 1]]

    def test_label_maps_are_not_written_as_gif(self, tmp_path: Path) -> None:
        assert lossless_suffix(".gif") == ".png"
        with pytest.raises(FileError, match="cannot be stored in this format"):
            write_label(tmp_path / "a.gif", np.ones((2, 2), np.uint8), Geometry((2, 2), np.eye(4)))

    def test_a_palette_tiff_gives_its_indices(self, tmp_path: Path) -> None:
        indices = Image.new("P", (2, 2))
        indices.putpalette([0, 0, 0, 200, 0, 0])
        indices.putdata([0, 1, 1, 0])
        indices.save(tmp_path / "a.tif")
        assert read_label(tmp_path / "a.tif")[0].tolist() == [[0, 1], [1, 0]]

    def test_the_tint_that_jpeg_gives_a_grey_mask_is_no_colour(self, tmp_path: Path) -> None:
        mask = np.zeros((32, 32, 3), np.uint8)
        mask[8:24, 8:24] = 250, 255, 245
        Image.fromarray(mask).save(tmp_path / "a.jpg", quality=95)
        np.testing.assert_array_equal(read_label(tmp_path / "a.jpg")[0] > 127, mask[..., 0] > 127)
        Image.fromarray(mask).save(tmp_path / "a.png")
        with pytest.raises(FileError, match="3 channels"):
            read_label(tmp_path / "a.png")

    def test_colours_in_a_jpeg_mask_are_refused(self, tmp_path: Path) -> None:
        Image.fromarray(np.repeat(COLOUR, 4, axis=0)).save(tmp_path / "a.jpg")
        with pytest.raises(FileError, match="3 channels"):
            read_label(tmp_path / "a.jpg")

    def test_alpha_of_a_mask_is_dropped(self, tmp_path: Path) -> None:
        rgba = np.dstack([np.repeat(GREY[..., None], 3, axis=2), np.full(GREY.shape, 255, np.uint8)])
        Image.fromarray(rgba).save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_label(tmp_path / "a.png")[0], GREY)

    def test_floats_that_are_integers_are_fine(self, tmp_path: Path) -> None:
        array = np.array([0, 1, 2, 0.99999], np.float32).reshape(2, 2, 1)
        label, _ = read_label(save_nifti(tmp_path / "a.nii.gz", array))
        assert label.dtype.kind == "i"
        assert label.ravel().tolist() == [0, 1, 2, 1]

    @pytest.mark.parametrize(("value", "message"), [(0.4, r"not integers \(such as 0\.4\)"), (np.nan, "NaN"), (np.inf, "NaN or infinite")])
    def test_other_floats_are_refused(self, value: float, message: str, tmp_path: Path) -> None:
        path = save_nifti(tmp_path / "a.nii.gz", np.array([0, 1, value, 1], np.float32).reshape(2, 2, 1))
        with pytest.raises(DataError, match=rf"a\.nii\.gz: the label map holds .*{message}"):
            read_label(path)

    def test_a_trailing_axis_of_one_is_no_channel(self, tmp_path: Path) -> None:
        assert read_label(save_nifti(tmp_path / "a.nii.gz", np.ones((2, 3, 4, 1), np.uint8)))[0].shape == (2, 3, 4)


class TestWriting:
    @pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mha", ".mhd", ".nrrd"])
    def test_a_volume_comes_back_with_its_place(self, suffix: str, tmp_path: Path) -> None:
        rotated = np.eye(4)
        rotated[:3, :3] = np.array([[-0.8, 0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) * [0.7, 1.2, 3.0]
        rotated[:3, 3] = (10, -20, 5)
        geometry = Geometry((3, 4, 5), rotated)
        labels = np.random.default_rng(0).integers(0, 4, size=(3, 4, 5))
        write_label(tmp_path / "new" / f"a{suffix}", labels, geometry)
        found, place = read_label(tmp_path / "new" / f"a{suffix}")
        np.testing.assert_array_equal(found, labels)
        assert found.dtype == np.uint8
        assert place.mismatch(geometry, tolerance=1e-5) is None

    @pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd"])
    def test_a_flat_medical_image_keeps_its_place(self, suffix: str, tmp_path: Path) -> None:
        image = SimpleITK.GetImageFromArray(GREY)
        image.SetSpacing((0.25, 0.5))
        image.SetOrigin((3.0, 4.0))
        SimpleITK.WriteImage(image, str(tmp_path / f"image{suffix}"))
        _, geometry = read_image(tmp_path / f"image{suffix}")
        write_label(tmp_path / f"label{suffix}", GREY, geometry)
        found, place = read_label(tmp_path / f"label{suffix}")
        np.testing.assert_array_equal(found, GREY)
        assert place.mismatch(geometry) is None
        if suffix != ".nii.gz":  # ITK reads flat NIfTI files with conventions of its own
            written = SimpleITK.ReadImage(str(tmp_path / f"label{suffix}"))
            assert written.GetOrigin() == pytest.approx((3.0, 4.0))
            assert written.GetDirection() == pytest.approx((1, 0, 0, 1))

    @pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
    def test_a_picture_comes_back(self, suffix: str, tmp_path: Path) -> None:
        write_label(tmp_path / f"a{suffix}", GREY.astype(np.int64), Geometry((4, 5), np.eye(4)))
        np.testing.assert_array_equal(read_label(tmp_path / f"a{suffix}")[0], GREY)

    def test_many_labels_take_sixteen_bits(self, tmp_path: Path) -> None:
        labels = np.array([[0, 1000]])
        write_label(tmp_path / "a.png", labels, Geometry((1, 2), np.eye(4)))
        np.testing.assert_array_equal(read_label(tmp_path / "a.png")[0], labels)

    @pytest.mark.parametrize(("name", "value"), [("a.jpg", 1), ("a.txt", 1), ("a.bmp", 256), ("a.png", 70_000), ("a.nii.gz", -1)])
    def test_what_a_format_cannot_hold_is_refused(self, name: str, value: int, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=name.replace(".", r"\.")):
            write_label(tmp_path / name, np.full((2, 2), value), Geometry((2, 2), np.eye(4)))
        assert list(tmp_path.iterdir()) == []

    def test_a_failed_write_leaves_the_old_file_and_nothing_else(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        geometry = Geometry((2, 2, 2), np.eye(4))
        write_label(tmp_path / "a.nii.gz", np.ones((2, 2, 2), np.uint8), geometry)

        def fail(image: object, path: Path) -> None:
            path.write_bytes(b"half")
            raise OSError("no space left on device")

        monkeypatch.setattr(nibabel, "save", fail)
        with pytest.raises(OSError, match="no space"):
            write_label(tmp_path / "a.nii.gz", np.zeros((2, 2, 2), np.uint8), geometry)
        assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]
        assert read_label(tmp_path / "a.nii.gz")[0].all()

    def test_an_array_off_its_grid_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="does not fit its grid"):
            write_label(tmp_path / "a.png", np.zeros((2, 3), np.uint8), Geometry((3, 2), np.eye(4)))


class TestBadFiles:
    @pytest.mark.parametrize("read", [read_image, read_label])
    @pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mha", ".nrrd", ".png", ".jpg", ".tif", ".bmp"])
    @pytest.mark.parametrize("share", [0.0, 0.6])
    def test_a_truncated_file_is_named(self, read: object, suffix: str, share: float, tmp_path: Path) -> None:
        path, rng = tmp_path / f"case_7{suffix}", np.random.default_rng(0)
        if suffix in (".png", ".jpg", ".tif", ".bmp"):
            Image.fromarray(rng.integers(0, 255, size=(64, 64), dtype=np.uint8)).save(path)
        else:
            noise = rng.integers(0, 255, size=(16, 16, 16), dtype=np.uint8)
            write_label(path, noise, Geometry(noise.shape, np.eye(4)))
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(FileError, match=r"case_7.*cannot be read.*damaged or truncated: copy or download it again") as caught:
            read(path)  # type: ignore[operator]
        assert caught.value.file == path
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("suffix", [".nii.gz", ".png", ".mha"])
    def test_a_file_of_another_kind_is_named(self, suffix: str, tmp_path: Path) -> None:
        (tmp_path / f"a{suffix}").write_text("<html>404</html>" * 100)
        for read in (read_image, read_label, read_geometry, count_channels):
            with pytest.raises(DataError, match=rf"a{suffix}: cannot be read"):
                read(tmp_path / f"a{suffix}")

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"gone\.nii\.gz: the file does not exist"):
            read_image(tmp_path / "gone.nii.gz")

    def test_a_missing_folder_of_slices_is_missing_and_no_format(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"Ground: the file does not exist"):
            read_label(tmp_path / "Ground")

    def test_an_unknown_format_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"a\.dcm: not an image format"):
            read_image(tmp_path / "a.dcm")

    def test_a_singular_affine_is_named(self, tmp_path: Path) -> None:
        nifti = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
        nifti.header.set_sform(np.diag([1, 1, 0, 1]), code=2)
        nifti.header.set_qform(None, code=0)
        raw = tmp_path / "a.nii"
        nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), None, nifti.header), raw)
        with pytest.raises(DataError, match=r"a\.nii: .*affine"):
            read_geometry(raw)

    def test_colour_voxels_in_nifti_are_refused(self, tmp_path: Path) -> None:
        colours = np.zeros((2, 2, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
        save_nifti(tmp_path / "a.nii.gz", colours)
        with pytest.raises(DataError, match=r"a\.nii\.gz"):
            read_image(tmp_path / "a.nii.gz")


class TestRealImages:
    def test_simpleitk_and_nibabel_agree_on_a_las_volume(self, real_data: Path, tmp_path: Path) -> None:
        path = real_data / "Dataset501_OpenMS" / "labelsTr" / "openms_07.nii.gz"
        if not path.is_file():
            pytest.skip("OpenMS is not there")
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(tmp_path / "a.nrrd"))
        (first, here), (second, there) = read_label(path), read_label(tmp_path / "a.nrrd")
        np.testing.assert_array_equal(first, second)
        assert here.orientation == "LAS"
        assert here.mismatch(there) is None
