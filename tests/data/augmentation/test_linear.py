"""Maps along the axes, against SciPy and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.interpolate import BSpline
from torch.nn import functional as F  # noqa: N812

from medseg.data.augmentation.linear import coarsening, gaussian, interpolation, separable, spline


def image(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))


class TestSeparable:
    @pytest.mark.parametrize("shape", [(5, 6), (7, 150), (150, 7), (4, 5, 6), (3, 140, 4)])
    def test_each_axis_is_multiplied_by_its_matrix(self, shape: tuple[int, ...]) -> None:
        # 150 rows are several blocks.
        x = image(2, *shape)
        matrices = [np.random.default_rng(axis).normal(size=(size + 1, size)).astype(np.float32) for axis, size in enumerate(shape)]
        expected = x.double().numpy()
        for axis, matrix in enumerate(matrices):
            expected = np.moveaxis(np.tensordot(expected, matrix.astype(float), axes=(axis + 1, 1)), -1, axis + 1)
        np.testing.assert_allclose(separable(x, matrices), expected, rtol=1e-3, atol=1e-3)

    def test_none_leaves_an_axis_alone(self) -> None:
        x = image(1, 4, 5)
        assert separable(x, [None, None]) is x
        np.testing.assert_array_equal(separable(x, [2 * np.eye(4, dtype=np.float32), None]), 2 * x)

    def test_banded_blocks_are_the_whole_matrix(self) -> None:
        x = image(1, 300, 3)
        matrix = gaussian(300, 2.0)
        np.testing.assert_allclose(separable(x, [matrix, None])[0], matrix @ x[0].numpy(), atol=1e-5)


class TestGaussian:
    @pytest.mark.parametrize("sigma", [0.3, 0.5, 0.75, 1.0, 2.5])
    @pytest.mark.parametrize("shape", [(20, 24), (9, 14, 150)])
    def test_it_is_the_blur_of_scipy(self, sigma: float, shape: tuple[int, ...]) -> None:
        x = image(1, *shape)
        blurred = separable(x, [gaussian(size, sigma) for size in shape])[0]
        np.testing.assert_allclose(blurred, ndimage.gaussian_filter(x[0].double().numpy(), sigma, mode="nearest"), atol=2e-5)

    def test_no_blur_is_the_identity(self) -> None:
        np.testing.assert_array_equal(gaussian(5, 0.0), np.eye(5))


class TestInterpolation:
    def test_it_is_linear_within_and_constant_beyond(self) -> None:
        values = np.random.default_rng(0).normal(size=7)
        positions = np.linspace(-2, 8, 41)
        np.testing.assert_allclose(interpolation(positions, 7) @ values, np.interp(positions, np.arange(7), values), atol=1e-6)

    def test_an_axis_of_one_voxel_is_constant(self) -> None:
        np.testing.assert_array_equal(interpolation(np.array([-1.0, 0.0, 0.4]), 1), np.ones((3, 1)))


class TestCoarsening:
    @pytest.mark.parametrize(("shape", "coarse"), [((21, 31), (13, 28)), ((16, 21, 24), (8, 13, 1))])
    def test_it_is_torch_interpolating_down_and_up(self, shape: tuple[int, ...], coarse: tuple[int, ...]) -> None:
        x = image(1, *shape)
        ours = separable(x, [coarsening(size, count) for size, count in zip(shape, coarse, strict=True)])
        down = F.interpolate(x[None], coarse, mode="nearest-exact")
        np.testing.assert_allclose(ours, F.interpolate(down, shape, mode="bilinear" if len(shape) == 2 else "trilinear")[0], atol=1e-5)

    def test_all_voxels_kept_is_the_identity(self) -> None:
        np.testing.assert_array_equal(coarsening(9, 9), np.eye(9))


class TestSpline:
    @pytest.mark.parametrize("controls", [4, 5, 7])
    def test_it_is_a_uniform_cubic_spline(self, controls: int) -> None:
        values = np.random.default_rng(0).normal(size=controls)
        reference = BSpline(np.arange(-3, controls + 1), values, 3)
        at = (np.arange(50) + 0.5) / 50 * (controls - 3)
        np.testing.assert_allclose(spline(50, controls) @ values, reference(at), atol=1e-5)

    def test_weights_are_a_partition_of_one(self) -> None:
        matrix = spline(33, 6)
        assert (matrix >= 0).all()
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
