"""Composed labels, against loops over voxels and SciPy."""

from __future__ import annotations

import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from medseg.data.geometry import Geometry
from medseg.data.images import FileError
from medseg.data.masks import HIGHEST, LOWEST, Layer, Masks, on_grid, require_same_grid

GRID = Geometry((4, 5), np.eye(4))
IMAGE = Path("image.png")
RNG = np.random.default_rng(0)


def picture(path: Path, array: np.ndarray) -> Path:
    Image.fromarray(array.astype(np.uint8)).save(path)
    return path


def volume(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine, dtype=array.dtype), path)
    return path


class TestPainting:
    def test_later_layers_are_painted_over_earlier_ones(self, tmp_path: Path) -> None:
        arrays = RNG.integers(0, 2, size=(3, 4, 5))
        layers = tuple(Layer.above([picture(tmp_path / f"{index}.png", array)], 0, index + 1) for index, array in enumerate(arrays))
        expected = np.zeros((4, 5), int)
        for position in np.ndindex(4, 5):
            for index in range(3):
                if arrays[(index, *position)]:
                    expected[position] = index + 1
        label = Masks(layers).read(IMAGE, GRID)
        np.testing.assert_array_equal(label, expected)
        assert label.dtype == np.uint8
        assert not np.array_equal(Masks(layers[::-1]).read(IMAGE, GRID), expected)

    def test_several_files_of_a_layer_are_united(self, tmp_path: Path) -> None:
        arrays = RNG.integers(0, 2, size=(5, 4, 5)) * 255
        files = [picture(tmp_path / f"{index}.png", array) for index, array in enumerate(arrays)]
        np.testing.assert_array_equal(Masks((Layer.above(files, 127, 1),)).read(IMAGE, GRID), arrays.any(axis=0))

    @pytest.mark.parametrize("threshold", [0, 127])
    def test_a_threshold_parts_grey_masks(self, threshold: int, tmp_path: Path) -> None:
        array = RNG.integers(0, 256, size=(4, 5))
        label = Masks((Layer.above([picture(tmp_path / "a.png", array)], threshold, 7),)).read(IMAGE, GRID)
        np.testing.assert_array_equal(label, np.where(array > threshold, 7, 0))

    def test_ranges_and_values_are_mapped(self, tmp_path: Path) -> None:
        array = RNG.choice([0, 55, 63, 70, 110, 200], size=(4, 5))
        layer = Layer((picture(tmp_path / "a.png", array),), ((55, 70, 1), (110, 110, 2)), ((0, 0), (200, 210)))
        expected = np.where((array >= 55) & (array <= 70), 1, np.where(array == 110, 2, 0))
        np.testing.assert_array_equal(Masks((layer,)).read(IMAGE, GRID), expected)

    def test_the_background_may_have_another_value_than_zero(self, tmp_path: Path) -> None:
        array = RNG.choice([0, 255], size=(4, 5))
        layer = Layer((picture(tmp_path / "a.png", array),), ((0, 0, 0),), ((255, 255),))
        np.testing.assert_array_equal(Masks((layer,), background=255).read(IMAGE, GRID), array)

    @pytest.mark.parametrize("values", [[0, 70_000, -70_000], [0, 3_000_000_000 - 2**31, 5]])
    def test_far_apart_and_negative_values_are_mapped_too(self, values: list[int], tmp_path: Path) -> None:
        array = RNG.choice(values, size=(4, 5, 2)).astype(np.int32)
        layer = Layer((volume(tmp_path / "a.nii.gz", array),), ((values[1], values[1], 1), (values[2], values[2], -2)))
        label = Masks((layer,)).read(IMAGE, Geometry(array.shape, np.eye(4)))
        np.testing.assert_array_equal(label, np.select([array == values[1], array == values[2]], [1, -2]))

    @pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64, np.int8])
    def test_every_integer_type_is_read(self, dtype: type, tmp_path: Path) -> None:
        array = RNG.integers(0, 3, size=(4, 5, 2)).astype(dtype)
        layer = Layer((volume(tmp_path / "a.nii.gz", array),), ((1, 1, 1), (2, 2, 300)))
        label = Masks((layer,)).read(IMAGE, Geometry(array.shape, np.eye(4)))
        np.testing.assert_array_equal(label, np.array([0, 1, 300])[array.astype(int)])
        assert label.dtype == np.uint16

    def test_no_files_are_a_label_without_anything(self) -> None:
        label = Masks((Layer((), ((1, 1, 1),)),)).read(IMAGE, GRID)
        assert label.shape == (4, 5)
        assert not label.any()


class TestKeeping:
    def test_values_are_sets_of_bits(self, tmp_path: Path) -> None:
        arrays = RNG.integers(0, 2, size=(3, 4, 5))
        layers = tuple(Layer.above([picture(tmp_path / f"{k}.png", array)], 0, 1 << k) for k, array in enumerate(arrays))
        label = Masks(layers, keep=True).read(IMAGE, GRID)
        np.testing.assert_array_equal(label, arrays[0] + 2 * arrays[1] + 4 * arrays[2])

    def test_ignored_voxels_are_in_no_class(self, tmp_path: Path) -> None:
        first, second = picture(tmp_path / "a.png", np.full((4, 5), 9)), picture(tmp_path / "b.png", np.ones((4, 5)))
        layers = (Layer((first,), ((1, 1, 1), (9, 9, 255))), Layer.above([second], 0, 2))
        assert (Masks(layers, ignore=255, keep=True).read(IMAGE, GRID) == 255).all()


class TestIgnoring:
    def test_ignored_values_are_painted_like_others(self, tmp_path: Path) -> None:
        array = RNG.integers(0, 3, size=(4, 5))
        layer = Layer((picture(tmp_path / "a.png", array),), ((1, 1, 1), (2, 2, 2)))
        np.testing.assert_array_equal(Masks((layer,), ignore=2).read(IMAGE, GRID), array)

    @pytest.mark.parametrize("keep", [False, True])
    def test_background_is_ignored_where_a_class_was_not_looked_for(self, keep: bool, tmp_path: Path) -> None:
        array = RNG.integers(0, 2, size=(4, 5))
        layers = (Layer.above([picture(tmp_path / "a.png", array)], 0, 1), Layer((), ((1, 1, 2),), unlabelled=True))
        label = Masks(layers, ignore=255, keep=keep).read(IMAGE, GRID)
        np.testing.assert_array_equal(label, np.where(array, 1, 255))

    def test_that_needs_a_value_to_ignore(self) -> None:
        with pytest.raises(ValueError, match="an unlabelled layer needs an ignore value"):
            Masks((Layer((), ((1, 1, 2),), unlabelled=True),))


class TestFaults:
    def test_unknown_values_are_named_with_their_file(self, tmp_path: Path) -> None:
        file = picture(tmp_path / "a.png", np.arange(20).reshape(4, 5))
        with pytest.raises(
            FileError, match=r"a\.png: holds the values 2, 3, 4, 5, 6, 7, 8, 9, \.\.\. \(18 values\), which stand for nothing"
        ):
            Masks((Layer((file,), ((1, 1, 1),)),)).read(IMAGE, GRID)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(FileError, match=r"gone\.png: the file does not exist"):
            Masks((Layer.above([tmp_path / "gone.png"], 0, 1),)).read(IMAGE, GRID)

    def test_a_mask_of_another_size_is_named(self, tmp_path: Path) -> None:
        file = picture(tmp_path / "a.png", np.zeros((4, 6)))
        for resample in (False, True):  # pictures know no position
            with pytest.raises(FileError, match=r"a\.png: lies in another grid than image\.png: shape \(4, 6\) against \(4, 5\)"):
                Masks((Layer.above([file], 0, 1),)).read(IMAGE, GRID, resample)

    def test_a_picture_is_held_to_the_size_of_a_scan_alone(self, tmp_path: Path) -> None:
        file, scan = picture(tmp_path / "a.png", np.ones((4, 5))), Path("image.nii.gz")
        fine = Geometry((4, 5), np.array([[0.1, 0, 0, 7], [0, 0.2, 0, 3], [0, 0, 1, 0], [0, 0, 0, 1]]))
        assert Masks((Layer.above([file], 0, 1),)).read(scan, fine).all()
        require_same_grid(Path("a.mha"), fine, IMAGE, Geometry((4, 5), np.eye(4)))
        with pytest.raises(FileError, match=r"shape \(4, 5\) against \(5, 4\)"):
            require_same_grid(file, Geometry((4, 5), np.eye(4)), scan, Geometry((5, 4), fine.affine))
        with pytest.raises(FileError, match="spacing"):
            require_same_grid(Path("a.mha"), fine, scan, Geometry((4, 5), np.eye(4)))

    def test_the_remedy_depends_on_what_differs(self) -> None:
        with pytest.raises(FileError, match="copy the image's header to this file"):
            require_same_grid(Path("a.nii"), Geometry((2, 2, 2), np.eye(4)), IMAGE, Geometry((2, 2, 2), np.diag([2, 1, 1, 1])))
        with pytest.raises(FileError, match="resample it to the image's grid"):
            require_same_grid(Path("a.nii"), Geometry((2, 2, 3), np.eye(4)), IMAGE, Geometry((2, 2, 2), np.eye(4)))


class TestResampling:
    FINE = Geometry((9, 8, 7), np.array([[0.9, 0, 0, 1], [0, 1.1, 0, -1], [0, 0, 1.3, 0.4], [0, 0, 0, 1]]))

    def reference(self, array: np.ndarray, affine: np.ndarray) -> np.ndarray:
        """Each voxel of the fine grid looks up its nearest voxel; outside there is nothing."""
        points = np.stack(np.meshgrid(*(np.arange(size) for size in self.FINE.shape), indexing="ij")).reshape(3, -1)
        step = np.linalg.inv(affine) @ self.FINE.affine
        coordinates = step[:3, :3] @ points + step[:3, 3:]
        return ndimage.map_coordinates(array, coordinates, order=0, mode="grid-constant", cval=0).reshape(self.FINE.shape)

    @pytest.mark.parametrize("turn", [0.0, 0.3])
    def test_masks_are_read_at_the_nearest_voxel_and_nothing_outside(self, turn: float, tmp_path: Path) -> None:
        turned = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        affine = np.eye(4)
        affine[:3, :3] = turned * [1.7, 1.4, 2.1]
        affine[:3, 3] = 2.03, 0.41, 0.77
        array = RNG.integers(0, 4, size=(3, 4, 3)).astype(np.uint8)
        layer = Layer((volume(tmp_path / "a.nii.gz", array, affine),), ((1, 1, 1), (2, 2, 2), (3, 3, 300)))
        label = Masks((layer,)).read(Path("image.nii.gz"), self.FINE, resample=True)
        expected = self.reference(array, affine)
        np.testing.assert_array_equal(label, np.array([0, 1, 2, 300])[expected])
        assert (expected == 0).mean() > 0.3

    def test_it_is_a_fault_unless_asked_for(self, tmp_path: Path) -> None:
        file = volume(tmp_path / "a.nii.gz", np.ones((3, 4, 3), np.uint8))
        with pytest.raises(FileError, match=r"a\.nii\.gz: lies in another grid"):
            Masks((Layer.above([file], 0, 1),)).read(Path("image.nii.gz"), self.FINE)

    def test_the_same_grid_is_left_alone(self) -> None:
        values = np.ones((2, 2, 2), np.int32)
        grid = Geometry((2, 2, 2), np.eye(4))
        assert on_grid(values, Path("a.nii"), grid, Path("b.nii"), grid, resample=True) is values

    def test_outside_is_what_fill_says(self) -> None:
        grid = Geometry((3, 1, 1), np.eye(4))
        moved = on_grid(np.ones((1, 1, 1), np.int32), Path("a.nii"), Geometry((1, 1, 1), np.eye(4)), Path("b.nii"), grid, True, fill=-5)
        assert moved.ravel().tolist() == [1, -5, -5]

    def test_flat_and_solid_are_never_resampled(self, tmp_path: Path) -> None:
        with pytest.raises(FileError, match="another grid"):
            on_grid(np.ones((3, 3), np.int32), Path("a.nii"), Geometry((3, 3), np.eye(4)), Path("b.nii"), self.FINE, True)


class TestValue:
    def test_travels_to_other_processes(self, tmp_path: Path) -> None:
        masks = Masks((Layer.above([tmp_path / "a.png"], 0, 1),), ignore=2)
        assert pickle.loads(pickle.dumps(masks)) == masks
        assert masks.files == (tmp_path / "a.png",)

    def test_open_ranges_have_no_end(self) -> None:
        layer = Layer.above([], 3, 1)
        assert (layer.values, layer.background) == (((4, HIGHEST, 1),), ((LOWEST, 3),))
