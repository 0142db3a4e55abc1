"""Moves in space: drawn, composed, and true to millimetres."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy import ndimage

from medseg.data.augmentation.spatial import Move, Spatial, default_rotation, still_axis

DIMS = pytest.mark.parametrize("dims", [2, 3])
SIZES = {2: (20, 24), 3: (14, 20, 16)}


class Largest:
    """A generator whose numbers are the largest of their range, and whose chances are always taken."""

    def random(self, size: Any = None) -> Any:
        return 0.0 if size is None else np.zeros(size)

    def uniform(self, low: float, high: float, size: Any = None) -> Any:
        return high if size is None else np.full(size, high)


LARGEST = cast(np.random.Generator, Largest())


def spatial(
    dims: int, *, angle: float | None = 0.0, sizes: tuple[float, float] = (1.0, 1.0), bend: float = 0.0, mirror: float = 0.0
) -> Spatial:
    """Turns and scales every patch, and bends it if `bend` is above 0."""
    return Spatial(angle, sizes, bend, tuple(range(dims)), {"mirror": mirror, "rotation": 1.0, "scale": 1.0, "elastic": 1.0})


def moved(image: np.ndarray, label: np.ndarray, drawn: tuple[Move, tuple[int, ...], tuple[int, ...]]) -> tuple[np.ndarray, np.ndarray]:
    """Reads the box of a large enough array and applies the move."""
    move, start, size = drawn
    where = tuple(slice(first, first + length) for first, length in zip(start, size, strict=True))
    assert all(first >= 0 for first in start)
    box = image[(slice(None), *where)].copy(), label[where].copy()
    assert box[1].shape == size
    patch, ids = move.apply(torch.from_numpy(box[0]), torch.from_numpy(box[1]))
    return patch.numpy(), ids.numpy()


def blob(shape: tuple[int, ...], spacing: Sequence[float], radius: float) -> np.ndarray:
    """A ball, in mm, in the middle."""
    grid = np.indices(shape)
    distance = sum(((g - (n - 1) / 2) * mm) ** 2 for g, n, mm in zip(grid, shape, spacing, strict=True))
    return (distance <= radius**2).astype(np.uint8)


class TestWithoutInterpolation:
    @DIMS
    def test_mirroring_alone_moves_no_voxel(self, dims: int) -> None:
        rng = np.random.default_rng(0)
        image, label = rng.normal(size=(2, *SIZES[dims])).astype(np.float32), rng.integers(0, 9, SIZES[dims]).astype(np.uint8)
        seen = set()
        for seed in range(40):
            drawn = spatial(dims, mirror=0.5).draw((0,) * dims, SIZES[dims], (1.0,) * dims, np.random.default_rng(seed))
            assert drawn[0].motion is None
            assert drawn[1:] == ((0,) * dims, SIZES[dims])
            patch, ids = moved(image, label, drawn)  # of a box that was read backwards already
            np.testing.assert_array_equal(patch, image)
            np.testing.assert_array_equal(ids, label)
            seen.add(drawn[0].mirrored)
        assert len(seen) == 2**dims

    @DIMS
    def test_nothing_drawn_is_the_patch_itself(self, dims: int) -> None:
        move, start, size = spatial(dims).draw((5,) * dims, SIZES[dims], (1.0,) * dims, LARGEST)
        assert move.motion is None
        assert (start, size) == ((5,) * dims, SIZES[dims])


class TestRotation:
    def test_of_a_picture_by_90_degrees_is_rot90(self) -> None:
        rng = np.random.default_rng(0)
        image, label = rng.normal(size=(1, 60, 60)).astype(np.float32), rng.integers(0, 9, (60, 60)).astype(np.uint8)
        drawn = spatial(2, angle=90.0).draw((10, 20), (20, 30), (1.0, 1.0), LARGEST)
        assert drawn[1:] == ((5, 25), (30, 20))  # around the same centre, (19.5, 34.5)
        patch, ids = moved(image, label, drawn)
        turns = [k for k in (1, 3) if np.allclose(patch[0], np.rot90(image[0, 5:35, 25:45], k), atol=1e-4)]
        assert len(turns) == 1
        np.testing.assert_array_equal(ids, np.rot90(label[5:35, 25:45], turns[0]))

    def test_of_a_volume_within_its_slices_by_90_degrees_is_rot90(self) -> None:
        rng = np.random.default_rng(0)
        image, label = rng.normal(size=(2, 40, 40, 5)).astype(np.float32), rng.integers(0, 9, (40, 40, 5)).astype(np.uint8)
        drawn = spatial(3, angle=90.0).draw((10, 10, 0), (20, 20, 5), (1.0, 1.0, 9.0), LARGEST)
        assert drawn[1:] == ((10, 10, 0), (20, 20, 5))
        patch, ids = moved(image, label, drawn)
        inner, mask = image[:, 10:30, 10:30], label[10:30, 10:30]
        turns = [k for k in (1, 3) if np.allclose(patch, np.rot90(inner, k, axes=(1, 2)), atol=1e-4)]
        assert len(turns) == 1
        np.testing.assert_array_equal(ids, np.rot90(mask, turns[0]))

    def test_of_a_cube_by_90_degrees_is_a_sequence_of_rot90(self) -> None:
        rng = np.random.default_rng(0)
        image, label = rng.normal(size=(1, 12, 12, 12)).astype(np.float32), rng.integers(0, 9, (12, 12, 12)).astype(np.uint8)
        patch, ids = moved(image, label, spatial(3, angle=90.0).draw((0, 0, 0), (12, 12, 12), (1.0,) * 3, LARGEST))
        found = [
            turns
            for turns in itertools.product((1, 3), repeat=3)
            if np.allclose(patch[0], _turned(image[0], turns), atol=1e-4) and np.array_equal(ids, _turned(label, turns))
        ]
        assert found

    @DIMS
    def test_the_interior_is_that_of_scipy(self, dims: int) -> None:
        large = tuple(4 * size for size in SIZES[dims])
        rng = np.random.default_rng(1)
        image = ndimage.gaussian_filter(rng.normal(size=large), 1)[None].astype(np.float32)
        label = (image[0] > 0).astype(np.uint8)
        spacing = (1.0, 0.8, 1.7)[:dims]
        start = tuple(size + 5 for size in SIZES[dims])
        for seed in range(5):
            drawn = spatial(dims, angle=40.0, sizes=(0.7, 1.4), mirror=0.5).draw(start, SIZES[dims], spacing, np.random.default_rng(seed))
            motion = drawn[0].motion
            assert motion is not None
            patch, _ = moved(image, label, drawn)
            offset = motion.offset + np.array(drawn[1])
            expected = ndimage.affine_transform(image[0].astype(float), motion.matrix, offset, SIZES[dims], order=1)
            np.testing.assert_allclose(patch[0], expected, atol=1e-4)

    @pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 2.9, 1.0), (0.5, 0.9, 1.4)])
    def test_angles_and_sizes_are_those_in_mm(self, spacing: tuple[float, ...]) -> None:
        mm = np.array(spacing)
        angles = []
        for seed in range(100):
            move = spatial(3, angle=20.0, sizes=(0.8, 1.25)).draw((0,) * 3, (20, 20, 20), spacing, np.random.default_rng(seed))[0]
            assert move.motion is not None
            body = move.motion.matrix * mm[:, None] / mm
            shrink = np.linalg.det(body) ** (1 / 3)
            assert 0.8 - 1e-9 <= shrink <= 1.25 + 1e-9
            turn = body / shrink
            np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
            angles.append(np.degrees(np.arccos((np.trace(turn) - 1) / 2)))
        assert 18 < max(angles) <= 3 * 20

    @pytest.mark.parametrize(("dims", "spacing"), [(2, (1.0, 2.0)), (3, (1.0, 2.0, 1.5)), (3, (0.5, 0.5, 3.0))])
    def test_a_ball_stays_a_ball_under_anisotropy(self, dims: int, spacing: tuple[float, ...]) -> None:
        shape = tuple(int(80 / mm) | 1 for mm in spacing)
        label = blob(shape, spacing, 11.0)
        patch = tuple(int(36 / mm) | 1 for mm in spacing)
        start = tuple((n - p) // 2 for n, p in zip(shape, patch, strict=True))
        expected = blob(patch, spacing, 11.0)
        for seed in range(6):
            drawn = spatial(dims, angle=90.0).draw(start, patch, spacing, np.random.default_rng(seed))
            image, ids = moved(label[None].astype(np.float32), label, drawn)
            assert (ids != expected).sum() < 0.15 * expected.sum()  # voxels at its surface; turned in voxels it would be 40 %
            assert np.abs(image[0] - expected).mean() < 0.15 * expected.mean()

    def test_volumes_of_thick_slices_turn_within_them(self) -> None:
        for axis in range(3):
            spacing = [1.0, 1.0, 1.0]
            spacing[axis] = 3.1
            assert still_axis((20, 20, 20), spacing) == axis
            patch = [40, 40, 40]
            patch[axis] = 13
            assert still_axis(tuple(patch), (1.0, 1.0, 1.0)) == axis
            drawn = spatial(3, angle=None, sizes=(0.5, 2.0), bend=9.0).draw((0,) * 3, (20, 20, 20), spacing, LARGEST)
            assert drawn[0].still == axis
            assert drawn[2][axis] == 20
        assert still_axis((20, 20, 20), (1.0, 1.0, 3.0)) is None
        assert still_axis((39, 13, 39), (1.0, 1.0, 1.0)) is None
        assert still_axis((4, 40), (1.0, 9.0)) is None

    def test_default_angles_are_those_of_nnunet(self) -> None:
        assert default_rotation((64, 64, 64), 3) == 30
        assert default_rotation((64, 64, 8), 2) == 180
        assert default_rotation((64, 64), 2) == 180
        assert default_rotation((64, 97), 2) == 15
        by_default = spatial(3, angle=None).draw((0,) * 3, (20, 20, 20), (1.0,) * 3, LARGEST)[0].motion
        given = spatial(3, angle=30.0).draw((0,) * 3, (20, 20, 20), (1.0,) * 3, LARGEST)[0].motion
        assert by_default is not None
        assert given is not None
        np.testing.assert_array_equal(by_default.matrix, given.matrix)


class TestScaling:
    @DIMS
    def test_objects_grow_by_the_factor(self, dims: int) -> None:
        size = (41,) * dims
        label = blob(tuple(3 * n for n in size), (1.0,) * dims, 10.0)
        drawn = spatial(dims, sizes=(0.5, 1.5))
        volumes = []
        for seed in range(40):
            _, ids = moved(label[None].astype(np.float32), label, drawn.draw(size, size, (1.0,) * dims, np.random.default_rng(seed)))
            volumes.append((ids.sum() / label.sum()) ** (1 / dims))
        assert 0.48 < min(volumes) < 0.65
        assert 1.25 < max(volumes) < 1.53

    @DIMS
    def test_enlarging_reads_less_and_shrinking_more(self, dims: int) -> None:
        start, patch, spacing = (0,) * dims, SIZES[dims], (1.0,) * dims
        small = spatial(dims, sizes=(2.0, 2.0)).draw(start, patch, spacing, LARGEST)[2]
        large = spatial(dims, sizes=(0.5, 0.5)).draw(start, patch, spacing, LARGEST)[2]
        assert all(s <= p / 2 + 2 and p * 2 - 2 <= lg <= p * 2 for s, p, lg in zip(small, patch, large, strict=True))


class TestElastic:
    @DIMS
    @pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (1.0, 1.0, 8.0)])
    def test_displacements_stay_below_the_limit_in_mm(self, dims: int, spacing: tuple[float, ...]) -> None:
        largest = 0.0
        for seed in range(30):
            drawn = spatial(dims, bend=1.5).draw((0,) * dims, (40,) * dims, spacing[-dims:], np.random.default_rng(seed))[0]
            assert drawn.motion is not None
            assert drawn.motion.controls is not None
            axes = [axis for axis in range(dims) if axis != drawn.still]
            mm = np.array([spacing[-dims:][axis] for axis in axes]).reshape(-1, *(1,) * len(axes))
            largest = max(largest, float(np.abs(drawn.motion.controls * mm).max()))
        assert 1.2 < largest <= 1.5

    @DIMS
    def test_however_strong_it_never_folds(self, dims: int) -> None:
        # The coordinate along an axis is an image; wherever it falls along that axis, space is turned inside out.
        size = (40,) * dims
        coordinates = np.indices((120,) * dims).astype(np.float32)
        strong = spatial(dims, sizes=(0.7, 0.7), bend=1e6)
        label = np.zeros((120,) * dims, np.uint8)
        for seed in range(5):
            image, _ = moved(coordinates, label, strong.draw(size, size, (1.0,) * dims, np.random.default_rng(seed)))
            jacobian = np.stack([np.stack(np.gradient(channel)) for channel in image.astype(float)])
            inner = (slice(None), slice(None), *(slice(2, -2),) * dims)
            assert (np.linalg.det(np.moveaxis(jacobian[inner], (0, 1), (-2, -1))) > 0).all()
            assert np.abs(jacobian - np.eye(dims).reshape(dims, dims, *(1,) * dims) / 0.7).max() > 0.2

    def test_image_and_label_bend_together(self) -> None:
        rng = np.random.default_rng(0)
        image = ndimage.gaussian_filter(rng.normal(size=(80, 80, 80)), 4)[None].astype(np.float32)
        image /= image.std()
        label = (image[0] > 0).astype(np.uint8)
        drawn = spatial(3, angle=30.0, sizes=(0.8, 1.2), bend=6.0, mirror=1.0).draw((26,) * 3, (24,) * 3, (1.0,) * 3, rng)
        patch, ids = moved(image, label, drawn)
        clear = np.abs(patch[0]) > 0.3
        assert ((patch[0] > 0) == (ids > 0))[clear].mean() > 0.999


class TestBox:
    @DIMS
    def test_the_patch_shows_nothing_but_the_box(self, dims: int) -> None:
        # The corners of the patch are the corners of the object that is turned.
        for seed in range(40):
            rng = np.random.default_rng(seed)
            patch = tuple(int(n) for n in rng.integers(14, 24, dims))
            spacing = tuple(rng.uniform(0.6, 1.4, dims))
            draw = Spatial(20.0, (0.8, 1.4), 1.0, (0, 1), dict.fromkeys(("mirror", "rotation", "scale", "elastic"), 0.7))
            move, start, size = draw.draw((7,) * dims, patch, spacing, rng)
            if move.motion is None:
                assert (start, size) == ((7,) * dims, patch)
                continue
            assert np.prod(size) < 7 * np.prod(patch)  # else it might have been cut
            corners = np.array(list(itertools.product(*((0, n - 1) for n in patch)))).T
            at = move.motion.matrix @ corners + move.motion.offset[:, None]
            reach = 0 if move.motion.controls is None else np.abs(move.motion.controls).reshape(dims, -1).max(axis=1)
            assert (at.min(axis=1) - reach >= -1e-5).all()
            assert (at.max(axis=1) + reach <= np.array(size) - 1 + 1e-5).all()
            # No more than what is needed, and around the same centre.
            assert (at.min(axis=1) - reach < 1).all()
            assert (np.array(size) - 1 - at.max(axis=1) - reach < 1).all()
            np.testing.assert_allclose(at.mean(axis=1) + start, 7 + (np.array(patch) - 1) / 2, atol=1e-9)

    def test_it_is_at_most_eight_times_the_patch(self) -> None:
        cubic = spatial(3, angle=45.0, sizes=(0.4, 0.4)).draw((0,) * 3, (32, 32, 32), (1.0,) * 3, LARGEST)
        assert cubic[2] == (64, 64, 64)
        assert cubic[1] == (-16, -16, -16)
        slab = spatial(3, angle=45.0, sizes=(0.6, 0.6)).draw((0,) * 3, (16, 40, 40), (1.0,) * 3, LARGEST)[2]
        assert 6 * 16 * 40 * 40 < np.prod(slab) <= 8 * 16 * 40 * 40
        # What was cut away is filled with the values at the border.
        image = torch.ones(1, *cubic[2])
        assert cubic[0].motion is not None
        filled, ids = cubic[0].apply(image, torch.ones(cubic[2], dtype=torch.uint8))
        np.testing.assert_allclose(filled, 1, rtol=1e-6)
        assert (ids == 1).all()


def _turned(array: np.ndarray, turns: tuple[int, ...]) -> np.ndarray:
    for count, plane in zip(turns, [(1, 2), (0, 2), (0, 1)], strict=True):
        array = np.rot90(array, count, axes=plane)
    return array
