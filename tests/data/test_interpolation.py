from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.interpolate import CubicSpline

from medseg.data.interpolation import Kernel, read_along

KERNELS: list[Kernel] = ["cubic", "linear"]


def noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))


def spaced(size: int, step: float, count: int) -> np.ndarray:
    """Positions around the middle of an axis."""
    return (np.arange(count) - (count - 1) / 2) * step + (size - 1) / 2


class TestSmallerVoxels:
    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_cubic_is_the_spline_through_all_voxels_of_the_line(self, axis: int) -> None:
        # Long enough for several pieces, each of which sees only a part of the line.
        shape = [3, 4, 5]
        shape[axis] = 150
        tensor, positions = noise(*shape), spaced(150, 0.37, 390)
        expected = CubicSpline(np.arange(150), tensor.numpy().astype(np.float64), axis=axis, bc_type="natural")(positions)
        np.testing.assert_allclose(read_along(tensor, axis, positions, "cubic").numpy(), expected, atol=2e-5)

    def test_cubic_is_scipys_spline_of_order_3_away_from_the_ends(self) -> None:
        line, positions = noise(200), spaced(200, 0.7, 280)
        expected = ndimage.map_coordinates(line.numpy().astype(np.float64), positions[None], order=3, mode="mirror")
        inner = slice(30, -30)
        np.testing.assert_allclose(read_along(line, 0, positions, "cubic").numpy()[inner], expected[inner], atol=1e-5)

    def test_linear_joins_neighbours(self) -> None:
        line, positions = noise(60), spaced(60, 0.4, 140)
        expected = np.interp(positions, np.arange(60), line.numpy())
        np.testing.assert_allclose(read_along(line, 0, positions, "linear").numpy(), expected, atol=1e-6)


class TestLargerVoxels:
    @pytest.mark.parametrize("kernel", KERNELS)
    def test_what_is_finer_than_the_new_voxels_vanishes(self, kernel: Kernel) -> None:
        line = torch.tensor([1.0, -1.0] * 50)
        assert read_along(line, 0, spaced(100, 3.0, 33), kernel).abs()[3:-3].max() < 0.08

    def test_cubic_is_the_antialiased_bicubic_of_torch(self) -> None:
        image = noise(1, 1, 60, 40)
        expected = torch.nn.functional.interpolate(image, size=(20, 40), mode="bicubic", antialias=True, align_corners=False)
        result = read_along(image, 2, spaced(60, 3.0, 20), "cubic")
        np.testing.assert_allclose(result[:, :, 3:-3].numpy(), expected[:, :, 3:-3].numpy(), atol=1e-5)


class TestBoth:
    @pytest.mark.parametrize("kernel", KERNELS)
    @pytest.mark.parametrize("step", [0.3, 1.0, 1.25, 2.0, 2.7, -0.4, -1.7])
    def test_a_ramp_comes_out_as_it_went_in(self, kernel: Kernel, step: float) -> None:
        line = torch.arange(120.0)
        positions = spaced(120, step, int(110 / abs(step)))
        np.testing.assert_allclose(read_along(line, 0, positions, kernel).numpy(), positions, atol=2e-2)

    @pytest.mark.parametrize("kernel", KERNELS)
    @pytest.mark.parametrize("step", [0.3, 2.7])
    def test_a_constant_stays_constant_beyond_the_ends(self, kernel: Kernel, step: float) -> None:
        result = read_along(torch.full((9,), 3.5), 0, spaced(9, step, 40), kernel)
        np.testing.assert_allclose(result.numpy(), 3.5, rtol=1e-6)

    @pytest.mark.parametrize("kernel", KERNELS)
    @pytest.mark.parametrize("size", [1, 2, 3])
    def test_short_lines_are_read(self, kernel: Kernel, size: int) -> None:
        for step in (0.5, 2.0):
            result = read_along(noise(size, 4), 0, spaced(size, step, 3), kernel)
            assert result.shape == (3, 4)
            assert torch.isfinite(result).all()
