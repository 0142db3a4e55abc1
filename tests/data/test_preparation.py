"""Files -> arrays -> the files' own grid."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from medseg.data.case import Case
from medseg.data.geometry import Geometry
from medseg.data.labels import IGNORE, LabelSchema
from medseg.data.preparation import Preparer, check_growth, compact
from medseg.errors import DataError

LABELS = LabelSchema.exclusive({"background": 0, "small": 3, "large": 7, "ignore": 9})

# All 48 ways in which three axes can point: RAS, LAS, ..., IPR.
ORIENTATIONS = ["".join(signs) for axes in itertools.permutations(["RL", "AP", "SI"]) for signs in itertools.product(*axes)]


def affine_of(orientation: str, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """An affine whose axes point as named, built column by column."""
    directions = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (letter, size) in enumerate(zip(orientation, spacing, strict=True)):
        row, sign = directions[letter]
        affine[row, axis] = sign * size
    affine[:3, 3] = (3, -5, 7)
    return affine


def write_case(
    folder: Path, image: np.ndarray, label: np.ndarray | None = None, affine: np.ndarray | None = None, name: str = "case"
) -> Case:
    """Writes a NIfTI case of one channel."""
    affine = np.eye(4) if affine is None else affine
    paths = folder / f"{name}_image.nii.gz", folder / f"{name}_label.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image, affine), paths[0])
    if label is not None:
        nibabel.save(nibabel.Nifti1Image(label, affine), paths[1])
    return Case(name, (paths[0],), None if label is None else paths[1], name)


def write_picture(folder: Path, array: np.ndarray, name: str = "picture.png") -> Case:
    Image.fromarray(array).save(folder / name)
    return Case("picture", (folder / name,), None, "picture")


def volume(shape: tuple[int, ...] = (9, 10, 11), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 15, shape).astype(np.float32)


def label_map(shape: tuple[int, ...] = (9, 10, 11)) -> np.ndarray:
    label = np.zeros(shape, dtype=np.uint8)
    label[1, 2, 3] = 3
    label[4:8, 5:7, 6:9] = 7
    label[0] = 9
    return label


class TestGrid:
    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_restore_is_the_exact_inverse_of_prepare_in_every_orientation(self, tmp_path: Path, orientation: str) -> None:
        image = volume()
        case = write_case(tmp_path, image, label_map(), affine_of(orientation, (1.0, 2.0, 3.0)))
        preparer = Preparer("none")
        prepared = preparer.prepare(case, LABELS)
        assert prepared.geometry.orientation == "RAS"
        restored = preparer.restore(torch.from_numpy(prepared.image), prepared)
        np.testing.assert_array_equal(restored[0].numpy(), image)

    def test_a_voxel_lies_where_its_affine_says(self, tmp_path: Path) -> None:
        image = np.zeros((4, 5, 6), dtype=np.float32)
        image[3, 0, 1] = 1
        affine = affine_of("LIA", (1.0, 2.0, 3.0))
        prepared = Preparer("none").prepare(write_case(tmp_path, image, affine=affine), LABELS)
        (found,) = np.argwhere(prepared.image[0])
        np.testing.assert_allclose(prepared.geometry.affine @ [*found, 1], affine @ [3, 0, 1, 1], atol=1e-5)

    def test_the_label_stays_on_its_image(self, tmp_path: Path) -> None:
        label = np.zeros((12, 13, 14), dtype=np.uint8)
        label[1:7, 2:9, 3:12] = 7
        case = write_case(tmp_path, (label == 7).astype(np.float32), label, affine_of("PSL"))
        prepared = Preparer("none", (2.0, 2.0, 2.0)).prepare(case, LABELS)
        assert prepared.label is not None
        assert prepared.image.shape[1:] == prepared.label.shape == prepared.geometry.shape
        inside, outside = prepared.image[0] > 0.99, prepared.image[0] < 0.01  # not interpolated over the border
        assert inside.sum() > 10
        assert (prepared.label[inside] == 2).all()
        assert (prepared.label[outside] == 0).all()

    def test_the_reference_keeps_the_grid_and_the_values_of_the_file(self, tmp_path: Path) -> None:
        label = label_map()
        prepared = Preparer("zscore", (1.7, 1.7, 1.7)).prepare(write_case(tmp_path, volume(), label, affine_of("LPS")), LABELS)
        assert prepared.reference is not None
        assert prepared.reference.dtype == np.uint8
        np.testing.assert_array_equal(prepared.reference, np.select([label == 3, label == 7, label == 9], [1, 2, IGNORE], 0))

    @pytest.mark.parametrize("orientation", ["RAS", "LPS", "SLA", "AIR"])
    @pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (1.5, 1.0, 2.5)])
    def test_with_spacing_a_linear_ramp_comes_back(self, tmp_path: Path, orientation: str, spacing: tuple[float, ...]) -> None:
        # Linear interpolation reproduces a linear function, wherever it does not extrapolate.
        grid = np.meshgrid(*map(np.arange, (14, 15, 16)), indexing="ij")
        ramp = (grid[0] + 10 * grid[1] + 100 * grid[2]).astype(np.float32)
        preparer = Preparer("none", spacing)
        prepared = preparer.prepare(write_case(tmp_path, ramp, affine=affine_of(orientation, (1.0, 1.2, 0.8))), LABELS)
        np.testing.assert_allclose(prepared.geometry.spacing, spacing, rtol=1e-6)
        restored = preparer.restore(torch.from_numpy(prepared.image), prepared)
        assert restored.shape == (1, 14, 15, 16)
        inner = (slice(3, -3),) * 3
        np.testing.assert_allclose(restored[0].numpy()[inner], ramp[inner], atol=0.05)

    def test_restore_takes_any_number_of_channels(self, tmp_path: Path) -> None:
        preparer = Preparer("zscore", (2.0, 2.0, 2.0))
        prepared = preparer.prepare(write_case(tmp_path, volume(), affine=affine_of("ILP")), LABELS)
        assert preparer.restore(torch.rand(5, *prepared.geometry.shape), prepared).shape == (5, 9, 10, 11)

    def test_pictures_keep_their_rows_and_columns(self, tmp_path: Path) -> None:
        array = np.arange(35, dtype=np.uint8).reshape(5, 7)
        preparer = Preparer("none")
        prepared = preparer.prepare(write_picture(tmp_path, array), LABELS)
        np.testing.assert_array_equal(prepared.image[0], array)
        np.testing.assert_array_equal(preparer.restore(torch.from_numpy(prepared.image), prepared)[0], array)

    def test_a_case_without_label_has_none(self, tmp_path: Path) -> None:
        prepared = Preparer("none").prepare(write_case(tmp_path, volume()), LABELS)
        assert prepared.label is None
        assert prepared.reference is None

    def test_equal_arrays_are_one(self, tmp_path: Path) -> None:
        prepared = Preparer("none").prepare(write_case(tmp_path, volume(), label_map()), LABELS)
        assert prepared.label is prepared.reference


class TestZscore:
    def test_a_case_gets_mean_0_and_standard_deviation_1(self, tmp_path: Path) -> None:
        image = Preparer("zscore").prepare(write_case(tmp_path, volume()), LABELS).image
        assert image.dtype == np.float32
        assert image.mean(dtype=np.float64) == pytest.approx(0, abs=1e-5)
        assert image.std(dtype=np.float64) == pytest.approx(1, abs=1e-5)

    @pytest.mark.parametrize("factor", [1e-4, 1e-2, 1e4])
    def test_the_unit_of_the_intensities_does_not_matter(self, tmp_path: Path, factor: float) -> None:
        base, scaled = (
            Preparer("zscore").prepare(write_case(tmp_path, volume() * np.float32(f), name=name), LABELS).image
            for name, f in (("base", 1.0), ("scaled", factor))
        )
        np.testing.assert_allclose(scaled, base, atol=1e-4)

    def test_statistics_leave_out_a_black_background(self, tmp_path: Path) -> None:
        image = volume()
        image[:5] = 0
        result = Preparer("zscore").prepare(write_case(tmp_path, image), LABELS).image[0]
        brain = result[5:]
        assert brain.mean(dtype=np.float64) == pytest.approx(0, abs=1e-5)
        assert brain.std(dtype=np.float64) == pytest.approx(1, abs=1e-5)

    def test_a_few_zeros_are_intensities_like_others(self, tmp_path: Path) -> None:
        image = volume()
        image[0, 0] = 0
        result = Preparer("zscore").prepare(write_case(tmp_path, image), LABELS).image
        assert result.mean(dtype=np.float64) == pytest.approx(0, abs=1e-5)

    def test_the_order_of_intensities_is_kept(self, tmp_path: Path) -> None:
        # Zeros kept at 0, as by others, would come to lie in the middle of a masked image's intensities.
        image = np.maximum(volume() - 105, 0)
        result = Preparer("zscore").prepare(write_case(tmp_path, image), LABELS).image[0]
        order = np.argsort(image.ravel(), kind="stable")
        assert (np.diff(result.ravel()[order]) >= 0).all()

    @pytest.mark.parametrize("value", [0.0, 1000.0, -1e-3])
    def test_a_constant_channel_becomes_0(self, tmp_path: Path, value: float) -> None:
        image = Preparer("zscore").prepare(write_case(tmp_path, np.full((4, 5, 6), value, dtype=np.float32)), LABELS).image
        assert (image == 0).all()

    def test_a_mask_given_as_a_channel_is_not_lost(self, tmp_path: Path) -> None:
        mask = np.zeros((4, 5, 6), dtype=np.float32)
        mask[0, 0] = 1
        image = Preparer("zscore").prepare(write_case(tmp_path, mask), LABELS).image[0]
        assert image[0, 0].min() > image[1].max()


class TestCt:
    def test_intensities_are_clipped_and_standardised(self, tmp_path: Path) -> None:
        statistics = {"low": [70.0], "high": [130.0], "mean": [100.0], "std": [10.0]}
        image = Preparer("ct", statistics=statistics).prepare(write_case(tmp_path, volume()), LABELS).image
        np.testing.assert_allclose(image[0], np.clip((volume() - 100) / 10, -3, 3), atol=1e-5)

    def test_without_statistics_nothing_is_normalised(self, tmp_path: Path) -> None:
        case = write_case(tmp_path, volume())
        with pytest.raises(ValueError, match="statistics"):
            Preparer("ct").prepare(case, LABELS)
        np.testing.assert_array_equal(Preparer("ct").arrays(case, LABELS).image[0], volume())

    def test_another_number_of_channels_is_refused(self, tmp_path: Path) -> None:
        statistics = {key: [1.0, 2.0] for key in ("low", "high", "mean", "std")}
        with pytest.raises(DataError, match=r"case_image\.nii\.gz.* 1 channels, the training data had 2"):
            Preparer("ct", statistics=statistics).prepare(write_case(tmp_path, volume()), LABELS)


class TestArrays:
    @pytest.mark.parametrize(
        ("values", "dtype"),
        [([0, 255], np.uint8), ([0, 256], np.uint16), ([-1000, 3000], np.int16), ([-1, 40000], np.float32), ([0, 0.5], np.float32)],
    )
    def test_raw_intensities_lie_in_the_smallest_type_that_holds_them(self, tmp_path: Path, values: list[float], dtype: type) -> None:
        image = np.resize(np.array(values, dtype=np.float32), (4, 5, 6))
        arrays = Preparer("zscore").arrays(write_case(tmp_path, image), LABELS)
        assert arrays.image.dtype == dtype
        np.testing.assert_array_equal(arrays.image[0], image)

    def test_one_fraction_among_many_integers_keeps_float32(self) -> None:
        image = np.zeros((1, 100, 100), dtype=np.float32)
        image[0, -1, -1] = 0.5
        assert compact(image) is image

    def test_normalised_they_are_the_prepared_case(self, tmp_path: Path) -> None:
        case = write_case(tmp_path, volume(), label_map(), affine_of("LIP", (1.0, 2.0, 3.0)))
        preparer = Preparer("zscore", (1.5, 1.5, 1.5))
        arrays, prepared = preparer.arrays(case, LABELS), preparer.prepare(case, LABELS)
        np.testing.assert_array_equal(preparer.normaliser(arrays.image, arrays.intensities), prepared.image)
        assert arrays.label is not None
        np.testing.assert_array_equal(arrays.label, prepared.label)
        assert arrays.geometry.mismatch(prepared.geometry) is None

    def test_no_intensity_leaves_the_range_of_the_files(self, tmp_path: Path) -> None:
        image = (volume() > 100).astype(np.float32)
        arrays = Preparer("zscore", (0.6, 0.6, 0.6)).arrays(write_case(tmp_path, image), LABELS)
        assert (arrays.intensities.low, arrays.intensities.high) == ((0.0,), (1.0,))
        assert arrays.image.min() == 0
        assert arrays.image.max() == 1


class TestUnit:
    def test_pictures_of_8_bits_are_divided_by_255(self, tmp_path: Path) -> None:
        array = np.array([[10, 20], [51, 102]], dtype=np.uint8)
        image = Preparer("unit").prepare(write_picture(tmp_path, array), LABELS).image
        np.testing.assert_allclose(image[0], array / 255, rtol=1e-6)

    def test_pictures_of_16_bits_reach_from_0_to_1(self, tmp_path: Path) -> None:
        array = np.array([[100, 200], [300, 500]], dtype=np.uint16)
        image = Preparer("unit").prepare(write_picture(tmp_path, array), LABELS).image
        np.testing.assert_allclose(image[0], [[0, 0.25], [0.5, 1]], rtol=1e-6)

    def test_each_channel_of_a_scan_reaches_from_0_to_1(self, tmp_path: Path) -> None:
        first, second = write_case(tmp_path, volume(), name="a"), write_case(tmp_path, volume(seed=1) * 100, name="b")
        case = Case("both", (*first.images, *second.images), None, "both")
        image = Preparer("unit").prepare(case, LABELS).image
        np.testing.assert_array_equal(image.min(axis=(1, 2, 3)), [0, 0])
        np.testing.assert_allclose(image.max(axis=(1, 2, 3)), [1, 1], rtol=1e-6)


class TestFaults:
    def test_nan_is_named_with_its_file(self, tmp_path: Path) -> None:
        image = volume()
        image[1, 2, 3] = np.nan
        with pytest.raises(DataError, match=r"case_image\.nii\.gz: 1 voxels are NaN"):
            Preparer("zscore").prepare(write_case(tmp_path, image), LABELS)

    def test_a_label_in_another_grid_is_refused(self, tmp_path: Path) -> None:
        first, second = write_case(tmp_path, volume(), label_map(), name="a"), write_case(tmp_path, volume((9, 10, 12)), name="b")
        with pytest.raises(DataError, match=r"a_label\.nii\.gz.*b_image\.nii\.gz.*shape"):
            Preparer("none").prepare(Case("x", second.images, first.label, "x"), LABELS)

    def test_unknown_label_values_are_refused(self, tmp_path: Path) -> None:
        label = label_map()
        label[0, 0, 0] = 5
        with pytest.raises(DataError, match=r"case_label\.nii\.gz.*5"):
            Preparer("none").prepare(write_case(tmp_path, volume(), label), LABELS)

    def test_spacing_of_another_dimension_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"3-D but data\.spacing has 2"):
            Preparer("none", (1.0, 1.0)).prepare(write_case(tmp_path, volume()), LABELS)

    @pytest.mark.parametrize(
        ("orientation", "shape", "size"), [("RAS", (9, 10, 11), (1, 1, 2)), ("SPL", (11, 10, 9), (2, 1, 1))], ids=["RAS", "SPL"]
    )
    def test_a_spacing_that_no_memory_holds_is_refused(self, tmp_path: Path, orientation: str, shape, size) -> None:
        case = write_case(tmp_path, volume(shape), affine=affine_of(orientation, size))
        with pytest.raises(DataError) as error:
            Preparer("none", (0.01, 0.001, 0.001)).arrays(case, LABELS)
        for part in (
            "data.spacing=[0.01, 0.001, 0.001]",
            "900 x 10000 x 22000 voxels, 738 GiB, of its 9 x 10 x 11 of 1 x 1 x 2 mm",
            "null",
        ):
            assert part in str(error.value)

    def test_growth_is_allowed_where_it_is_harmless_or_little(self, tmp_path: Path) -> None:
        case = write_case(tmp_path, volume((4, 4, 4)))
        assert Preparer("none", (0.1, 0.1, 0.1)).arrays(case, LABELS).image.shape == (1, 40, 40, 40)
        large = Geometry((1000, 1000, 1000), np.eye(4))
        check_growth(case, large, 1, (0.25, 0.25, 0.25))
        with pytest.raises(DataError, match=r"5000 x 5000 x 5000 voxels, 931 GiB"):
            check_growth(case, large, 2, (0.2, 0.2, 0.2))
        with pytest.raises(DataError, match="inf GiB"):
            check_growth(case, large, 2, (1e-200,) * 3)

    def test_an_unknown_normalisation_is_refused(self) -> None:
        with pytest.raises(ValueError, match="zscore, ct, unit or none"):
            Preparer("minmax")  # type: ignore[arg-type]
