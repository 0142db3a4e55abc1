"""Resampling at the points of a motion, against SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from medseg.data.augmentation import warp as module
from medseg.data.augmentation.linear import spline
from medseg.data.augmentation.warp import Motion, warp, warp_slices

BOX = {2: (50, 40), 3: (26, 30, 24)}
PATCH = {2: (33, 28), 3: (14, 16, 20)}
DIMS = pytest.mark.parametrize("dims", [2, 3])


def box(dims: int, channels: int = 2, smooth: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(dims)
    image = np.stack([ndimage.gaussian_filter(rng.normal(size=BOX[dims]), smooth) for _ in range(channels)]).astype(np.float32)
    label = np.where(image[0] > 0.1, 3, 0).astype(np.uint8)
    label[tuple(slice(0, 4) for _ in range(dims))] = 255
    return image, label


def motion(dims: int, controls: bool = False, seed: int = 0) -> Motion:
    rng = np.random.default_rng(seed)
    matrix = np.linalg.qr(rng.normal(size=(dims, dims)))[0] * 0.8
    offset = (np.array(BOX[dims]) - 1) / 2 - matrix @ ((np.array(PATCH[dims]) - 1) / 2)
    return Motion(matrix, offset, rng.uniform(-3, 3, (dims, *(5, 6, 4)[:dims])) if controls else None)


def points(motion: Motion, patch: tuple[int, ...]) -> np.ndarray:
    """Where the voxels of the patch come from, in float64."""
    dims = len(patch)
    at = np.tensordot(motion.matrix, np.indices(patch), axes=1) + motion.offset.reshape(-1, *(1,) * dims)
    if motion.controls is not None:
        bend = motion.controls
        for axis, size in enumerate(patch):
            bend = np.moveaxis(np.tensordot(bend, spline(size, bend.shape[axis + 1]).astype(float), axes=(axis + 1, 1)), -1, axis + 1)
        at = at + bend
    return at


def warped(image: np.ndarray, label: np.ndarray, motion: Motion, patch: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    moved, ids = warp(torch.from_numpy(image), torch.from_numpy(label), motion, patch)
    return moved.numpy(), ids.numpy()


def assert_like_scipy(dims: int, motion: Motion) -> None:
    image, label = box(dims)
    at = points(motion, PATCH[dims])
    moved, ids = warped(image, label, motion, PATCH[dims])
    assert moved.dtype == np.float32
    assert ids.dtype == np.uint8
    for channel, ours in zip(image, moved, strict=True):
        np.testing.assert_allclose(ours, ndimage.map_coordinates(channel.astype(float), at, order=1, mode="nearest"), atol=1e-4)
    clear = (np.abs(at - np.floor(at) - 0.5) > 1e-3).all(axis=0)  # ties between two voxels may fall either way
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(ids[clear], ndimage.map_coordinates(label, at, order=0, mode="nearest")[clear])


class TestWarp:
    @DIMS
    def test_a_rotation_is_that_of_scipy(self, dims: int) -> None:
        assert_like_scipy(dims, motion(dims))

    @DIMS
    def test_a_bent_patch_is_that_of_scipy_at_the_same_points(self, dims: int) -> None:
        assert_like_scipy(dims, motion(dims, controls=True))

    @DIMS
    def test_scaling_flips_and_shifts_along_the_axes_are_those_of_scipy(self, dims: int) -> None:
        assert_like_scipy(dims, Motion(np.diag([1.21, -0.73, 0.93][:dims]), np.array([3.317, 25.129, 1.0131])[:dims]))

    @DIMS
    def test_points_outside_take_the_value_at_the_border(self, dims: int) -> None:
        at = motion(dims)
        assert_like_scipy(dims, Motion(at.matrix * 2, at.offset - 9))
        assert_like_scipy(dims, Motion(np.eye(dims), np.full(dims, -4.3)))

    @DIMS
    def test_blocks_of_rows_make_no_difference(self, dims: int, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = warped(*box(dims), motion(dims, controls=True), PATCH[dims])
        monkeypatch.setattr(module, "_POINTS", 3 * int(np.prod(PATCH[dims][1:])))
        for ours, expected in zip(warped(*box(dims), motion(dims, controls=True), PATCH[dims]), whole, strict=True):
            np.testing.assert_array_equal(ours, expected)

    @DIMS
    def test_an_image_of_one_slice_is_sampled(self, dims: int) -> None:
        turn = np.array([[0.8, 0.6], [-0.6, 0.8]])
        matrix = np.eye(dims)
        matrix[-2:, -2:] = turn
        single, patch = (1, 9, 8)[-dims:], (1, 6, 5)[-dims:]
        image, label = np.random.default_rng(0).normal(size=(1, *single)).astype(np.float32), np.ones(single, np.uint8)
        at = Motion(matrix, np.array([0.0, 1.5, 2.5])[-dims:])
        moved, ids = warped(image, label, at, patch)
        np.testing.assert_allclose(moved[0], ndimage.map_coordinates(image[0], points(at, patch), order=1, mode="nearest"), atol=1e-5)
        assert (ids == 1).all()

    def test_labels_of_large_boxes_are_found_exactly(self) -> None:
        index = [torch.tensor([float(z)]) for z in (299, 298, 297)]
        assert module._nearest(index, (300, 300, 300)).item() == 299 * 90000 + 298 * 300 + 297

    @DIMS
    def test_no_id_is_made_up(self, dims: int) -> None:
        assert set(np.unique(warped(*box(dims), motion(dims), PATCH[dims])[1])) <= {0, 3, 255}

    @DIMS
    @pytest.mark.parametrize("kind", ["turned", "scaled"])
    def test_the_box_is_left_as_it_was(self, dims: int, kind: str) -> None:
        image, label = box(dims)
        at = motion(dims) if kind == "turned" else Motion(np.eye(dims) * 0.5, np.zeros(dims))
        warped(image, label, at, PATCH[dims])
        for array, before in zip((image, label), box(dims), strict=True):
            np.testing.assert_array_equal(array, before)


class TestWarpSlices:
    @pytest.mark.parametrize("at", [motion(2), motion(2, controls=True), Motion(np.eye(2) * 1.7, np.array([-3.0, 2.0]))])
    def test_each_slice_is_moved_as_a_picture_is(self, at: Motion) -> None:
        rng = np.random.default_rng(0)
        image = rng.normal(size=(2, *BOX[2], 5)).astype(np.float32)
        label = rng.integers(0, 4, (*BOX[2], 5)).astype(np.uint8)
        arguments: Any = (torch.from_numpy(image), torch.from_numpy(label), at, PATCH[2])
        moved, ids = warp_slices(*arguments)
        for number in range(5):
            picture, mask = warped(np.ascontiguousarray(image[..., number]), np.ascontiguousarray(label[..., number]), at, PATCH[2])
            np.testing.assert_allclose(moved[..., number], picture, atol=1e-4)
            np.testing.assert_array_equal(ids[..., number], mask)
