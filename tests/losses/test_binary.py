"""The faster pass for two-way questions with hard labels, against the general ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import medseg.losses.binary
import medseg.losses.blocks
from medseg.losses.binary import HardSigmoidSums, PairSums
from medseg.losses.sigmoid import SigmoidSums
from medseg.losses.softmax import SoftmaxSums
from medseg.losses.voxelwise import FocalLogLoss, LogLoss, MissPower, PowerLogLoss, VoxelFunction

FUNCTIONS: tuple[VoxelFunction, ...] = (
    LogLoss(),
    FocalLogLoss(2.0),
    FocalLogLoss(0.5),
    MissPower(2.0, everywhere=True),
    MissPower(3.0),
    PowerLogLoss(0.3, 1e-3),
)
OPTIONS = [(False, False), (True, False), (False, True), (True, True)]


def pair_problem(seed: int, dtype: torch.dtype = torch.float64, batch: int = 3, voxels: int = 50) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, 2, voxels, generator=generator, dtype=torch.float64)
    ids = torch.randint(0, 2, (batch, voxels), generator=generator)
    weights = torch.rand(batch, voxels, generator=generator, dtype=torch.float64)
    return logits.to(dtype), ids, weights


def sums_and_gradient(function: Callable[..., Any], logits: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The sums, the counts, and the gradient of a random combination of the sums."""
    z = logits.detach().requires_grad_()
    sums, counts = function(z, *arguments)
    slopes = torch.rand(sums.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((sums * slopes).sum(), z)
    return sums.detach(), counts, gradient


@pytest.mark.parametrize(("ignoring", "weighted"), OPTIONS)
class TestAgainstTheGeneralPass:
    def test_two_exclusive_classes(self, ignoring: bool, weighted: bool) -> None:
        logits, ids, weights = pair_problem(0)
        if ignoring:
            ids[:, :9] = 255
        arguments = (ids, weights if weighted else None, FUNCTIONS, 255 if ignoring else None)
        general = sums_and_gradient(SoftmaxSums.apply, logits, *arguments)
        torch.testing.assert_close(sums_and_gradient(PairSums.apply, logits, *arguments), general, rtol=1e-11, atol=1e-13)

    @pytest.mark.parametrize("weight_channels", [1, 3])
    def test_regions(self, ignoring: bool, weighted: bool, weight_channels: int) -> None:
        generator = torch.Generator().manual_seed(1)
        logits = 3 * torch.randn(2, 3, 40, generator=generator, dtype=torch.float64)
        target = torch.randint(0, 2, (2, 3, 40), generator=generator)
        weights = torch.rand(2, weight_channels, 40, generator=generator, dtype=torch.float64) if weighted else None
        if ignoring:
            target[..., :9] = 7
        arguments = (weights, FUNCTIONS, 7 if ignoring else None)
        general = sums_and_gradient(SigmoidSums.apply, logits, target.double(), *arguments)
        torch.testing.assert_close(sums_and_gradient(HardSigmoidSums.apply, logits, target, *arguments), general, rtol=1e-11, atol=1e-13)


class TestBlocks:
    @pytest.mark.parametrize("size", [1, 100, 700])
    def test_the_cut_does_not_matter(self, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        logits, ids, weights = pair_problem(2, batch=5, voxels=1111)
        whole = sums_and_gradient(PairSums.apply, logits, ids, weights, FUNCTIONS, None)
        monkeypatch.setattr(medseg.losses.binary, "BINARY_BLOCK", size)
        cut = sums_and_gradient(PairSums.apply, logits, ids, weights, FUNCTIONS, None)
        torch.testing.assert_close(cut, whole, rtol=1e-11, atol=1e-13)


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_any_type_of_logits(self, dtype: torch.dtype) -> None:
        logits, ids, _ = pair_problem(3, dtype, voxels=5000)
        arguments = (ids, None, FUNCTIONS, None)
        sums, counts, gradient = sums_and_gradient(PairSums.apply, logits, *arguments)
        exact = sums_and_gradient(PairSums.apply, logits.double(), *arguments)
        torch.testing.assert_close((sums, counts), exact[:2], rtol=1e-6, atol=0)
        assert gradient.dtype == dtype
        torch.testing.assert_close(gradient.double(), exact[2], rtol=2 * torch.finfo(dtype).eps, atol=1e-5 * exact[2].abs().max().item())

    @pytest.mark.parametrize("size", [30.0, 88.0, 1e4, 3e38])
    def test_saturated_logits(self, size: float) -> None:
        """Where exp overflows in float32, from 88 on; both signs, right and wrong."""
        logits = torch.tensor([size, -size, size, -size]).view(1, 1, 4)
        target = torch.tensor([1, 0, 0, 1]).view(1, 1, 4)
        z = logits.requires_grad_()
        sums, _ = HardSigmoidSums.apply(z, target, None, (LogLoss(), FocalLogLoss(2.0)), None)
        tp, fp, fn, inside, outside, *_ = sums[0, :, 0].tolist()
        assert (tp, fp, fn) == pytest.approx((1, 1, 1), abs=1e-12)
        assert (inside, outside) == pytest.approx((size, size), rel=1e-6)
        (gradient,) = torch.autograd.grad(sums[0, 3:5].sum(), z)
        assert gradient.flatten().tolist() == pytest.approx([0, 0, 1, -1], abs=1e-12)

    def test_small_probabilities_keep_their_digits(self) -> None:
        logits = torch.full((1, 1, 10), -60.0)
        sums, _ = HardSigmoidSums.apply(logits, torch.tensor([[[1, 0] * 5]]), None, (), None)
        expected = 5 * torch.sigmoid(torch.tensor(-60.0, dtype=torch.float64)).item()
        assert sums[0, 0, 0].item() == pytest.approx(expected, rel=1e-5)
        assert sums[0, 1, 0].item() == pytest.approx(expected, rel=1e-5)


class TestLayout:
    def test_the_gradient_keeps_channels_last(self) -> None:
        logits = torch.randn(2, 3, 6, 5).contiguous(memory_format=torch.channels_last)
        z = logits.flatten(2).requires_grad_()
        sums, _ = HardSigmoidSums.apply(z, torch.zeros(2, 3, 30, dtype=torch.uint8), None, (LogLoss(),), None)
        (gradient,) = torch.autograd.grad(sums.sum(), z)
        assert gradient.stride() == z.stride()
