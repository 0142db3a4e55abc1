"""Powers with a bounded slope, and the slopes of the voxel functions."""

from __future__ import annotations

import pytest
import torch

from medseg.losses.powers import power, power_slope
from medseg.losses.voxelwise import FocalLogLoss, LogLoss, PowerLogLoss, VoxelFunction

X = torch.logspace(-9, 1, 200, dtype=torch.float64)
EXPONENTS = pytest.mark.parametrize("exponent", [0.3, 0.75, 1.0, 1.5, 2.0])


class TestPower:
    @EXPONENTS
    def test_it_is_the_power_above_the_join(self, exponent: float) -> None:
        above = X[X >= 1e-3]
        torch.testing.assert_close(power(above, exponent, 1e-3), above**exponent, rtol=1e-14, atol=0)

    @EXPONENTS
    def test_it_is_zero_at_zero_with_a_finite_slope(self, exponent: float) -> None:
        zero = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        value = power(zero, exponent, 1e-3)
        (slope,) = torch.autograd.grad(value, zero)
        assert value.item() == 0
        assert slope.item() == pytest.approx((2 - exponent) * 1e-3 ** (exponent - 1) if exponent < 1 else float(exponent == 1))

    @EXPONENTS
    def test_it_rises(self, exponent: float) -> None:
        assert (power(X, exponent, 1e-3).diff() > 0).all()

    @EXPONENTS
    def test_the_slope_is_the_derivative(self, exponent: float) -> None:
        x = X.clone().requires_grad_()
        (derivative,) = torch.autograd.grad(power(x, exponent, 1e-3).sum(), x)
        torch.testing.assert_close(power_slope(X, exponent, 1e-3), derivative, rtol=1e-12, atol=0)

    def test_value_and_slope_meet_at_the_join(self) -> None:
        around = torch.tensor([1e-3 - 1e-12, 1e-3], dtype=torch.float64)
        for function in (power, power_slope):
            below, above = function(around, 0.3, 1e-3)
            assert below.item() == pytest.approx(above.item(), rel=1e-8)


FUNCTIONS: list[VoxelFunction] = [
    LogLoss(), FocalLogLoss(0.5), FocalLogLoss(1.0), FocalLogLoss(2.0), PowerLogLoss(0.3, 1e-3), PowerLogLoss(2.0, 1e-3)
]  # fmt: skip


class TestVoxelFunctions:
    @pytest.mark.parametrize("function", FUNCTIONS, ids=str)
    def test_the_slope_is_the_derivative(self, function: VoxelFunction) -> None:
        n = X.clone().requires_grad_()
        (derivative,) = torch.autograd.grad(function.value(n).sum(), n)
        torch.testing.assert_close(function.slope(X), derivative, rtol=1e-6, atol=0)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("function", FUNCTIONS, ids=str)
    def test_the_ends_are_finite(self, function: VoxelFunction, dtype: torch.dtype) -> None:
        ends = torch.tensor([0.0, 1e-30, 1e4], dtype=dtype)
        assert function.value(ends)[0] == 0
        assert function.value(ends).isfinite().all()
        assert function.slope(ends).isfinite().all()

    @pytest.mark.parametrize("function", FUNCTIONS, ids=str)
    def test_linear_means_the_identity(self, function: VoxelFunction) -> None:
        assert function.linear == torch.equal(function.value(X), X)
