from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from nibabel import orientations

from medseg.data.geometry import Geometry, from_canonical, resample, resample_to, to_canonical
from medseg.data.images import read_image

SPACING = (0.7, 1.3, 3.0)
SHAPE = (5, 6, 7)


def signed_permutations() -> list[np.ndarray]:
    """All 48 ways in which three axes can lie along right, anterior and superior."""
    matrices = []
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        matrix = np.zeros((3, 3))
        matrix[list(order), range(3)] = signs
        matrices.append(matrix)
    return matrices


def rotation(degrees: float, axis: tuple[float, float, float] = (0.3, -0.5, 0.8)) -> np.ndarray:
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    angle = np.radians(degrees)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def affine_of(matrix: np.ndarray, spacing: tuple[float, ...] = SPACING, origin: tuple[float, ...] = (-11.5, 4.25, 80.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = matrix * np.array(spacing)
    affine[:3, 3] = origin
    return affine


def centre_of_mass_mm(array: np.ndarray, geometry: Geometry) -> np.ndarray:
    """World position of the centre of mass of an array (*spatial)."""
    index = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij"), axis=-1).reshape(-1, array.ndim)
    weights = array.reshape(-1).astype(np.float64)
    centre = np.zeros(4)
    centre[: array.ndim], centre[3] = (index * weights[:, None]).sum(axis=0) / weights.sum(), 1
    return (geometry.affine @ centre)[:3]


def blob(geometry: Geometry, centre_mm: np.ndarray, sigma_mm: float) -> np.ndarray:
    """A Gaussian around a world position, (1, *spatial)."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
    dims = geometry.spatial_dims
    points = index @ geometry.affine[:3, :dims].T + geometry.affine[:3, 3]
    distance = ((points - centre_mm) ** 2).sum(axis=-1)
    return np.exp(-distance / (2 * sigma_mm**2)).astype(np.float32)[None]


class TestGeometry:
    def test_spacing_orientation_and_volume_follow_from_the_affine(self) -> None:
        geometry = Geometry(SHAPE, affine_of(np.diag([-1, 1, 1])))
        assert geometry.spacing == pytest.approx(SPACING)
        assert geometry.orientation == "LAS"
        assert geometry.voxel_volume == pytest.approx(0.7 * 1.3 * 3.0)

    def test_a_picture_has_an_area_and_no_orientation(self) -> None:
        geometry = Geometry((4, 5), np.diag([0.5, 0.25, 1, 1]))
        assert (geometry.spatial_dims, geometry.orientation) == (2, "")
        assert geometry.spacing == (0.5, 0.25)
        assert geometry.voxel_volume == 0.125

    @pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.diag([1, 1, np.nan, 1]), np.ones((4, 4)), np.eye(3)])
    def test_an_affine_that_maps_nowhere_is_refused(self, affine: np.ndarray) -> None:
        with pytest.raises(ValueError, match="affine"):
            Geometry((2, 2, 2), affine)

    def test_micrometre_voxels_are_accepted(self) -> None:
        assert Geometry((2, 2, 2), np.diag([1e-5, 1e-5, 1e-5, 1])).voxel_volume == pytest.approx(1e-15)

    def test_the_affine_cannot_be_changed(self) -> None:
        affine = np.eye(4)
        geometry = Geometry((2, 2, 2), affine)
        affine[0, 0] = 9
        assert geometry.affine[0, 0] == 1
        with pytest.raises(ValueError, match="read-only"):
            geometry.affine[0, 0] = 2

    @pytest.mark.parametrize(
        ("affine", "shape", "word"),
        [
            (affine_of(np.eye(3)), (5, 6, 8), "shape"),
            (affine_of(np.eye(3), (0.7, 1.3, 3.1)), SHAPE, "spacing"),
            (affine_of(np.diag([-1, 1, 1])), SHAPE, "orientation"),
            (affine_of(rotation(2)), SHAPE, "direction"),
            (affine_of(np.eye(3), origin=(-11.5, 4.25, 81.0)), SHAPE, "origin"),
        ],
    )
    def test_mismatch_names_what_differs(self, affine: np.ndarray, shape: tuple[int, ...], word: str) -> None:
        assert word in str(Geometry(SHAPE, affine_of(np.eye(3))).mismatch(Geometry(shape, affine)))

    def test_rounding_is_no_mismatch(self) -> None:
        affine = affine_of(rotation(30))
        assert Geometry(SHAPE, affine).mismatch(Geometry(SHAPE, affine.astype(np.float32))) is None


class TestCanonical:
    @pytest.mark.parametrize("matrix", signed_permutations())
    @pytest.mark.parametrize("tilt", [0, 17])
    def test_agrees_with_nibabel_and_comes_back_exactly(self, matrix: np.ndarray, tilt: float) -> None:
        array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
        affine = affine_of(rotation(tilt) @ matrix)
        expected = nibabel.as_closest_canonical(nibabel.Nifti1Image(array, affine))
        original = Geometry(SHAPE, affine)
        canonical, geometry = to_canonical(array[None], original)
        assert geometry.orientation == "RAS"
        np.testing.assert_array_equal(canonical[0], expected.get_fdata(dtype=np.float32))
        np.testing.assert_allclose(geometry.affine, expected.affine, atol=1e-9)
        assert geometry.spacing == pytest.approx(expected.header.get_zooms(), abs=1e-6)
        assert geometry.shape == expected.shape
        np.testing.assert_array_equal(from_canonical(canonical, original)[0], array)

    @pytest.mark.parametrize("code", ["LPS", "SAR", "PIL"])
    def test_tensors_and_arrays_are_turned_alike(self, code: str) -> None:
        matrix = orientations.inv_ornt_aff(orientations.axcodes2ornt(code), SHAPE)[:3, :3]
        original = Geometry(SHAPE, affine_of(matrix))
        array = np.random.default_rng(1).normal(size=(2, *SHAPE)).astype(np.float32)
        expected, _ = to_canonical(array, original)
        tensor, _ = to_canonical(torch.from_numpy(array), original)
        np.testing.assert_array_equal(tensor.numpy(), expected)
        assert torch.equal(from_canonical(tensor, original), torch.from_numpy(array))
        assert expected.flags.c_contiguous

    def test_pictures_stay_as_they_are(self) -> None:
        array, geometry = np.arange(12.0).reshape(1, 3, 4), Geometry((3, 4), np.diag([-1, 1, 1, 1]))
        assert to_canonical(array, geometry) == (array, geometry)
        assert from_canonical(array, geometry) is array


class TestResample:
    @pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.45, 0.9, 1.1), (1.1, 1.4, 3.0)])
    @pytest.mark.parametrize("tilt", [0, 25])
    def test_a_blob_keeps_its_place_in_the_world(self, spacing: tuple[float, ...], tilt: float) -> None:
        geometry = Geometry((48, 30, 16), affine_of(rotation(tilt) @ np.diag([-1, 1, 1])))
        middle = (geometry.affine @ [22.3, 14.6, 7.8, 1])[:3]
        array = blob(geometry, middle, 3.0)
        result, target = resample(array, geometry, spacing, "linear")
        assert target.spacing == pytest.approx(spacing)
        assert (
            target.shape
            == result.shape[1:]
            == tuple(max(1, round(n * s / t)) for n, s, t in zip((48, 30, 16), SPACING, spacing, strict=True))
        )
        np.testing.assert_allclose(centre_of_mass_mm(result[0], target), centre_of_mass_mm(array[0], geometry), atol=0.05)

    def test_a_blob_in_a_picture_keeps_its_place(self) -> None:
        geometry = Geometry((60, 40), np.diag([0.5, 0.8, 1, 1]))
        array = blob(geometry, np.array([14.2, 17.1, 0]), 2.0)
        result, target = resample(array, geometry, (0.6, 0.6), "linear")
        np.testing.assert_allclose(centre_of_mass_mm(result[0], target), centre_of_mass_mm(array[0], geometry), atol=0.05)

    def test_a_ramp_is_interpolated_exactly(self) -> None:
        geometry = Geometry((20, 10, 8), affine_of(np.eye(3)))
        index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
        ramp = (index @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]) @ [1.0, 2.0, -1.0]
        result, target = resample(ramp.astype(np.float32)[None], geometry, (0.5, 1.0, 2.0), "linear")
        index = np.stack(np.meshgrid(*map(np.arange, target.shape), indexing="ij"), axis=-1)
        expected = (index @ target.affine[:3, :3].T + target.affine[:3, 3]) @ [1.0, 2.0, -1.0]
        inner = (slice(2, -2),) * 3  # beyond the outermost centres the border is repeated
        np.testing.assert_allclose(result[0][inner], expected[inner], atol=1e-4)

    @pytest.mark.parametrize("mode", ["linear", "nearest"])
    def test_the_same_spacing_changes_nothing(self, mode: str) -> None:
        geometry = Geometry(SHAPE, affine_of(rotation(40)))
        array = np.random.default_rng(2).normal(size=(2, *SHAPE)).astype(np.float32)
        result, target = resample(array, geometry, geometry.spacing, mode)  # type: ignore[arg-type]
        np.testing.assert_array_equal(result, array)
        assert target.mismatch(geometry) is None

    def test_nearest_keeps_labels_and_their_type(self) -> None:
        geometry = Geometry((9, 9, 9), affine_of(np.eye(3)))
        labels = np.random.default_rng(3).integers(0, 4, size=(1, 9, 9, 9)).astype(np.uint8)
        result, _ = resample(labels, geometry, (0.3, 0.3, 0.3), "nearest")
        assert result.dtype == np.uint8
        assert set(np.unique(result)) == set(np.unique(labels))

    def test_tensors_stay_tensors(self) -> None:
        geometry = Geometry(SHAPE, affine_of(np.eye(3)))
        array = np.random.default_rng(4).normal(size=(1, *SHAPE)).astype(np.float32)
        expected, _ = resample(array, geometry, (1, 1, 1), "linear")
        result, _ = resample(torch.from_numpy(array), geometry, (1, 1, 1), "linear")
        np.testing.assert_array_equal(result.numpy(), expected)

    def test_a_single_slice_survives(self) -> None:
        geometry = Geometry((4, 4, 1), affine_of(np.eye(3)))
        result, target = resample(np.ones((1, 4, 4, 1), np.float32), geometry, (1, 1, 20.0), "linear")
        assert target.shape[2] == 1
        assert (result == 1).all()

    @pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 0.0, 1.0)])
    def test_an_impossible_spacing_is_refused(self, spacing: tuple[float, ...]) -> None:
        with pytest.raises(ValueError, match="spacing"):
            resample(np.zeros((1, *SHAPE), np.float32), Geometry(SHAPE, np.eye(4)), spacing, "linear")


def ramp_of(geometry: Geometry, direction: tuple[float, float, float] = (1.0, 2.0, -1.0)) -> np.ndarray:
    """Every voxel's own world coordinate along a direction, (1, *spatial)."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
    return ((index @ geometry.affine[:3, : geometry.spatial_dims].T + geometry.affine[:3, 3]) @ direction)[None]


class TestResampleCubic:
    @pytest.mark.parametrize("matrix", [np.eye(3), np.array([[0, 0, 1], [-1, 0, 0], [0, 1, 0]]), rotation(33)])
    @pytest.mark.parametrize("spacing", [(0.5, 1.0, 2.0), (1.1, 0.9, 3.0), (1.9, 1.9, 1.9), (2.4, 3.0, 7.0)])
    def test_every_voxel_keeps_its_world_coordinate(self, matrix: np.ndarray, spacing: tuple[float, ...]) -> None:
        geometry = Geometry((40, 26, 20), affine_of(matrix))
        result, target = resample(ramp_of(geometry), geometry, spacing, "cubic")
        expected = ramp_of(target)
        assert target.spacing == pytest.approx(spacing)
        # Beyond the outermost centres the border is repeated, so that the new voxels there are left out.
        edge = [int(np.ceil(old / new)) + 1 for old, new in zip(SPACING, spacing, strict=True)]
        inner = (slice(None), *(slice(size, -size) for size in edge))
        assert expected[inner].size > 0
        np.testing.assert_allclose(result[inner], expected[inner], atol=0.02)

    def test_pictures_keep_their_place(self) -> None:
        geometry = Geometry((60, 40), np.diag([0.5, 0.8, 1, 1]))
        result, target = resample(ramp_of(geometry, (1, 3, 0)), geometry, (0.6, 0.6), "cubic")
        np.testing.assert_allclose(result[:, 3:-3, 3:-3], ramp_of(target, (1, 3, 0))[:, 3:-3, 3:-3], atol=0.01)

    def test_nothing_leaves_the_range_of_its_channel(self) -> None:
        geometry = Geometry((20, 20, 20), np.eye(4))
        array = np.zeros((2, 20, 20, 20), np.float32)
        array[0, 5:15, 5:15, 5:15], array[1, 5:15] = 1, -300
        result, _ = resample(array, geometry, (0.4, 0.6, 0.8), "cubic")
        assert (result[0].min(), result[0].max(), result[1].min(), result[1].max()) == (0, 1, -300, 0)
        assert ((result[0] > 0.01) & (result[0] < 0.99)).any()

    def test_it_is_closer_to_a_smooth_image_than_linear(self) -> None:
        geometry = Geometry((24, 24, 24), affine_of(np.eye(3), (1, 1, 1), (0, 0, 0)))
        middle = np.array([11.3, 12.2, 11.8])
        array = blob(geometry, middle, 1.5)
        errors = {}
        for mode in ("cubic", "linear"):
            result, target = resample(array, geometry, (0.4, 0.4, 0.4), mode)  # type: ignore[arg-type]
            errors[mode] = np.abs(result - blob(target, middle, 1.5)).max()
        assert errors["cubic"] < errors["linear"] / 4

    def test_shrinking_averages(self) -> None:
        geometry = Geometry((60, 60, 60), np.eye(4))
        noise = np.random.default_rng(0).normal(size=(1, *geometry.shape)).astype(np.float32)
        cubic, linear = (resample(noise, geometry, (3, 3, 3), mode)[0] for mode in ("cubic", "linear"))
        assert cubic.std() < 0.35  # 27 voxels together have a deviation of 0.19, weighted ones somewhat more
        assert linear.std() > 0.9

    def test_slices_are_not_mixed_by_a_curve(self) -> None:
        # Across thick slices a spline overshoots beside a bright one; straight lines do not.
        array = np.zeros((1, 8, 8, 12), np.float32)
        array[..., 6] = 1
        array[..., 0] = -1  # so that the range of the channel leaves room for an overshoot
        thick, even = (Geometry((8, 8, 12), np.diag([1, 1, size, 1])) for size in (3.1, 2.9))
        assert resample(array, thick, (1, 1, 0.5), "cubic")[0][..., 20:].min() >= 0
        assert resample(array, even, (1, 1, 0.5), "cubic")[0][..., 20:].min() < -0.05

    def test_the_coarse_axis_is_taken_from_the_voxel_size(self) -> None:
        noise = np.random.default_rng(0).normal(size=(1, 12, 14, 10)).astype(np.float32)
        geometry = Geometry((12, 14, 10), np.diag([4, 1, 1, 1]))
        result, target = resample(noise, geometry, (2, 1, 1), "cubic")
        expected = resample_to(noise, geometry, target, "linear")
        np.testing.assert_allclose(result, expected, atol=1e-5)

    def test_whole_numbers_and_tensors_come_out_in_float32(self) -> None:
        geometry = Geometry(SHAPE, affine_of(np.eye(3)))
        array = np.random.default_rng(4).integers(0, 200, size=(2, *SHAPE)).astype(np.uint8)
        result, _ = resample(array, geometry, (1, 1, 1), "cubic")
        assert result.dtype == np.float32
        tensor, _ = resample(torch.from_numpy(array), geometry, (1, 1, 1), "cubic")
        np.testing.assert_array_equal(tensor.numpy(), result)

    def test_the_same_spacing_changes_nothing(self) -> None:
        geometry = Geometry(SHAPE, affine_of(rotation(40)))
        array = np.random.default_rng(2).normal(size=(2, *SHAPE)).astype(np.float32)
        np.testing.assert_array_equal(resample(array, geometry, geometry.spacing, "cubic")[0], array)

    def test_a_single_slice_survives(self) -> None:
        result, target = resample(np.ones((1, 4, 4, 1), np.float32), Geometry((4, 4, 1), affine_of(np.eye(3))), (1, 1, 20.0), "cubic")
        assert target.shape[2] == 1
        assert (result == 1).all()

    @pytest.mark.parametrize("mode", ["cubic", "linear"])
    def test_headers_that_round_the_voxel_size_cost_no_interpolation(self, mode: Literal["cubic", "linear"]) -> None:
        array = np.random.default_rng(0).standard_normal((1, 400, 5, 6)).astype(np.float32)
        geometry = Geometry(array.shape[1:], np.diag(np.float32([0.8, 0.8, 0.8, 1])))
        np.testing.assert_array_equal(resample(array, geometry, (0.8, 0.8, 0.8), mode)[0], array)

    def test_it_agrees_with_simpleitks_b_spline(self) -> None:
        geometry = Geometry((30, 28, 26), np.eye(4))
        array = np.random.default_rng(5).normal(size=(1, *geometry.shape)).astype(np.float32)
        result, target = resample(array, geometry, (0.7, 0.8, 0.9), "cubic")
        image = SimpleITK.GetImageFromArray(array[0].transpose(2, 1, 0))
        grid = SimpleITK.Image(*target.shape, SimpleITK.sitkFloat32)
        grid.SetSpacing(target.spacing)
        grid.SetOrigin(target.affine[:3, 3].tolist())
        expected = SimpleITK.GetArrayFromImage(SimpleITK.Resample(image, grid, SimpleITK.Transform(), SimpleITK.sitkBSpline))
        inner = (slice(9, -9),) * 3
        low, high = array.min(), array.max()
        np.testing.assert_allclose(result[0][inner], expected.transpose(2, 1, 0)[inner].clip(low, high), atol=5e-3)


class TestResampleTo:
    def test_forth_and_back_restores_a_smooth_image(self) -> None:
        geometry = Geometry((48, 30, 16), affine_of(np.eye(3)))
        array = blob(geometry, (geometry.affine @ [24, 15, 8, 1])[:3], 5.0)
        fine, target = resample(array, geometry, (0.5, 0.5, 0.5), "linear")
        back = resample_to(fine, target, geometry, "linear")
        assert back.shape == array.shape
        # Linear interpolation errs by at most h^2 / 8 max|f''|, with h = 3 mm and f'' = 1 / sigma^2 along the coarsest axis.
        assert np.abs(back - array).max() < 3.0**2 / 8 / 5.0**2

    @pytest.mark.parametrize("matrix", [np.array([[0, 0, 1], [-1, 0, 0], [0, 1, 0]]), rotation(33)])
    def test_a_turned_grid_agrees_with_simpleitk(self, matrix: np.ndarray, tmp_path: Path) -> None:
        rng = np.random.default_rng(5)
        source = Geometry((20, 22, 18), affine_of(np.eye(3), (1.0, 1.2, 1.5), (0, 0, 0)))
        target = Geometry((9, 8, 10), affine_of(matrix, (0.9, 1.1, 1.0), (8.0, 14.0, 10.0)))
        array = rng.normal(size=(1, *source.shape)).astype(np.float32)

        def as_itk(values: np.ndarray, geometry: Geometry) -> SimpleITK.Image:
            image = SimpleITK.GetImageFromArray(values.transpose(2, 1, 0))
            affine = np.diag([-1, -1, 1, 1]) @ geometry.affine
            image.SetSpacing(geometry.spacing)
            image.SetDirection((affine[:3, :3] / geometry.spacing).ravel().tolist())
            image.SetOrigin(affine[:3, 3].tolist())
            return image

        outside = 1e6
        grid = as_itk(np.zeros(target.shape, np.float32), target)
        expected = SimpleITK.Resample(as_itk(array[0], source), grid, SimpleITK.Transform(), SimpleITK.sitkLinear, outside)
        expected = SimpleITK.GetArrayFromImage(expected).transpose(2, 1, 0)
        inside = expected < outside / 2
        assert inside.mean() > 0.2
        result = resample_to(array, source, target, "linear")
        np.testing.assert_allclose(result[0][inside], expected[inside], atol=1e-3)

    def test_grids_that_do_not_fit_the_array_are_refused(self) -> None:
        geometry = Geometry(SHAPE, np.eye(4))
        with pytest.raises(ValueError, match="do not fit"):
            resample_to(np.zeros((1, 4, 4, 4), np.float32), geometry, geometry, "linear")


class TestWorldOfFormats:
    @pytest.mark.parametrize("tilt", [0, 12])
    def test_nifti_mha_and_nrrd_show_a_blob_at_the_same_place(self, tilt: float, tmp_path: Path) -> None:
        geometry = Geometry((30, 24, 12), affine_of(rotation(tilt) @ np.diag([-1, -1, 1])))
        middle = (geometry.affine @ [11.2, 13.0, 6.1, 1])[:3]
        nibabel.save(nibabel.Nifti1Image(blob(geometry, middle, 2.0)[0], geometry.affine), tmp_path / "a.nii.gz")
        image = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
        places = [centre_of_mass_mm(array[0], found) for array, found in [read_image(tmp_path / "a.nii.gz")]]
        for name in ("a.mha", "a.mhd", "a.nrrd"):
            SimpleITK.WriteImage(image, str(tmp_path / name))
            array, found = read_image(tmp_path / name)
            assert found.mismatch(geometry) is None
            places.append(centre_of_mass_mm(array[0], found))
        np.testing.assert_allclose(places, [places[0]] * 4, atol=1e-3)
        np.testing.assert_allclose(places[0], middle, atol=0.05)
