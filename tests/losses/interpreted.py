"""The fused kernels on the CPU, by Triton's interpreter.

Run by `test_fused.py` in a process of its own, where TRITON_INTERPRET=1 is set from the start.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medseg.losses import build_loss, fused
from medseg.losses.kernels.plan import programs_of
from medseg.losses.sigmoid import SigmoidSums
from medseg.losses.softmax import SoftmaxSums
from medseg.losses.voxelwise import LOG_LOSS, FocalLogLoss, MissPower, PowerLogLoss, VoxelFunction
from tests.losses.problems import ACTIVATIONS, ONE_PASS, value_and_gradient

FUNCTIONS: tuple[VoxelFunction, ...] = (
    LOG_LOSS,
    FocalLogLoss(2.0),
    FocalLogLoss(0.5),
    FocalLogLoss(1.3),
    PowerLogLoss(0.3, 1e-3),
    PowerLogLoss(1.5, 1e-3),
    MissPower(2.0, everywhere=True),
    MissPower(1.5, everywhere=True),
    MissPower(1.0),
)
SOME = (LOG_LOSS, FocalLogLoss(0.5), MissPower(2.0, everywhere=True))
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def draw(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return (3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))).to(dtype)


def labels(high: int, *shape: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def weights(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2))


def results(one_pass: Any, logits: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Sums, counts and a gradient that every sum takes part in."""
    leaf = logits.detach().requires_grad_()
    sums, counts = one_pass(leaf, *arguments)
    slopes = torch.randn(sums.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(sums, leaf, slopes.to(sums.dtype))
    return sums.detach(), counts, gradient


def check(
    logits: Tensor,
    target: Tensor,
    weight_map: Tensor | None = None,
    ignore_index: int | None = None,
    functions: tuple[VoxelFunction, ...] = SOME,
    *,
    softmax: bool,
) -> None:
    """The kernels on `logits` against the eager pass on the same numbers in float64."""
    eager = SoftmaxSums if softmax else SigmoidSums
    sums, counts, gradient = results(
        lambda z, *rest: fused.FusedSums.apply(eager, z, *rest, softmax), logits, target, weight_map, functions, ignore_index
    )
    exact = results(eager.apply, logits.double(), target, weight_map, functions, ignore_index)
    assert sums.dtype == counts.dtype == torch.float64
    assert gradient.dtype == logits.dtype
    assert gradient.stride() == exact[2].stride()
    torch.testing.assert_close(sums, exact[0], rtol=3e-6, atol=3e-7)
    torch.testing.assert_close(counts, exact[1], rtol=3e-7, atol=0)
    rounding = torch.finfo(logits.dtype).eps  # the interpreter cuts off where a device rounds
    difference = (gradient.double() - exact[2]).abs()
    assert (difference <= rounding * exact[2].abs() + 3e-6 * exact[2].abs().max() + 1e-7).all(), difference.max()


class TestSoftmax:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("classes", [1, 2, 3, 14, 105])
    def test_all_functions(self, classes: int, dtype: torch.dtype) -> None:
        check(draw(2, classes, 37, dtype=dtype), labels(classes, 2, 37), None, None, FUNCTIONS, softmax=True)

    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("ignore_index", [None, 255, 1])
    def test_weights_and_ignored_voxels(self, ignore_index: int | None, weighted: bool) -> None:
        target = labels(3, 2, 301)
        if ignore_index == 255:
            target[:, ::7] = 255
        check(draw(2, 3, 301), target, weights(2, 301) if weighted else None, ignore_index, softmax=True)


class TestSigmoid:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("soft", [False, True])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_all_functions(self, channels: int, soft: bool, dtype: torch.dtype) -> None:
        target = weights(2, channels, 37) if soft else labels(2, 2, channels, 37)
        check(draw(2, channels, 37, dtype=dtype), target, None, None, FUNCTIONS, softmax=False)

    @pytest.mark.parametrize("soft", [False, True])
    @pytest.mark.parametrize("channels", [None, 1, 3])
    @pytest.mark.parametrize("ignore_index", [None, 255, -1])
    def test_weights_and_ignored_elements(self, ignore_index: int | None, channels: int | None, soft: bool) -> None:
        target = weights(2, 3, 51).half() if soft else labels(2, 2, 3, 51, dtype=torch.int16)
        if ignore_index is not None:
            target[:, 1, ::7] = ignore_index
        weight_map = None if channels is None else weights(2, channels, 51)
        check(draw(2, 3, 51), target, weight_map, ignore_index, softmax=False)


@pytest.mark.parametrize("softmax", [True, False])
class TestAnyInput:
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.int64])
    def test_ids_of_any_type(self, dtype: torch.dtype, softmax: bool) -> None:
        check(draw(2, 2, 19), labels(2, 2, 19, dtype=dtype) if softmax else labels(2, 2, 2, 19, dtype=dtype), softmax=softmax)

    def test_a_target_of_other_integers_is_that_number_of_voxels(self, softmax: bool) -> None:
        """No target is 300, but an ignored one may be, and must not wrap around into a class."""
        target = labels(2, 2, 19, dtype=torch.int64) if softmax else labels(2, 2, 2, 19, dtype=torch.int64)
        target[..., :5] = 256
        check(draw(2, 2, 19), target, None, 256, softmax=softmax)

    def test_many_tiles_and_programs(self, softmax: bool) -> None:
        voxels = 20_011
        check(draw(1, 3, voxels), labels(3, 1, voxels) if softmax else labels(2, 1, 3, voxels), None, None, (LOG_LOSS,), softmax=softmax)

    @pytest.mark.parametrize("voxels", [1, 2, 16, 1024])
    def test_few_voxels(self, voxels: int, softmax: bool) -> None:
        check(draw(3, 2, voxels), labels(2, 3, voxels) if softmax else labels(2, 3, 2, voxels), softmax=softmax)

    @pytest.mark.parametrize("channels", [2, 14])
    def test_channels_last(self, channels: int, softmax: bool) -> None:
        logits = draw(2, 131, channels).transpose(1, 2)
        target = labels(channels, 131, 2).T if softmax else labels(2, 2, 131, channels).transpose(1, 2)
        weight_map = weights(2, 1).expand(2, 131) if softmax else weights(1, 1, 131).expand(2, channels, 131)
        check(logits, target, weight_map, softmax=softmax)

    def test_other_strides(self, softmax: bool) -> None:
        logits = draw(2, 3, 80)[..., ::2]
        check(logits.contiguous(), (labels(3, 2, 80) if softmax else labels(2, 2, 3, 80))[..., ::2], softmax=softmax)
        eager = SoftmaxSums if softmax else SigmoidSums
        rest = ((labels(3, 2, 40) if softmax else labels(2, 2, 3, 40)), None, SOME, None, softmax)
        dense = results(lambda *a: fused.FusedSums.apply(eager, *a), logits.contiguous(), *rest)
        torch.testing.assert_close(results(lambda *a: fused.FusedSums.apply(eager, *a), logits, *rest), dense, rtol=0, atol=0)

    def test_no_function(self, softmax: bool) -> None:
        check(draw(2, 3, 19), labels(3, 2, 19) if softmax else labels(2, 2, 3, 19), None, None, (), softmax=softmax)

    @pytest.mark.parametrize("strength", [1e4, -1e4, 30.0, -80.0])
    def test_saturated_logits_stay_finite(self, strength: float, softmax: bool) -> None:
        target = labels(3, 2, 50)
        logits = strength * torch.nn.functional.one_hot(target.long(), 3).transpose(1, 2).float()
        if not softmax:
            target = labels(2, 2, 3, 50)
            logits = strength * (2.0 * target - 1)
        check(logits, target, softmax=softmax)

    def test_all_ignored(self, softmax: bool) -> None:
        target = torch.full((2, 50) if softmax else (2, 3, 50), 255, dtype=torch.uint8)
        sums, counts, gradient = results(lambda z: fused.FusedSums.apply(None, z, target, None, SOME, 255, softmax), draw(2, 3, 50))
        assert not sums.any()
        assert not counts.any()
        assert not gradient.any()

    def test_the_same_bits_every_time(self, softmax: bool) -> None:
        target = labels(3, 2, 3000) if softmax else labels(2, 2, 3, 3000)
        runs = [results(lambda z: fused.FusedSums.apply(None, z, target, None, SOME, None, softmax), draw(2, 3, 3000)) for _ in range(2)]
        torch.testing.assert_close(runs[0], runs[1], rtol=0, atol=0)

    def test_a_second_derivative_is_refused(self, softmax: bool) -> None:
        leaf = draw(1, 2, 5).requires_grad_()
        target = labels(2, 1, 5) if softmax else labels(2, 1, 2, 5)
        sums, _ = fused.FusedSums.apply(None, leaf, target, None, SOME, None, softmax)
        (gradient,) = torch.autograd.grad(sums.square().sum(), leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            gradient.sum().backward()


class TestIllegalIds:
    @pytest.mark.parametrize("illegal", [3, 200, -1])
    def test_they_poison_the_sums_and_reach_no_memory(self, illegal: int) -> None:
        target = labels(3, 2, 20, dtype=torch.int64)
        target[1, 4] = illegal
        sums, counts, gradient = results(lambda z: fused.FusedSums.apply(None, z, target, None, SOME, None, True), draw(2, 3, 20))
        assert sums[0].isfinite().all()
        assert sums[1, 1].isnan().all()  # FP of every class
        assert counts[1, 1].isnan().all()  # the size, which every mean divides by
        assert gradient[1, :, 4].isnan().all()
        assert gradient.isnan().sum() == 3

    @pytest.mark.parametrize("wrong", [2, 255, -1])
    def test_a_value_that_is_no_label_is_seen(self, wrong: int) -> None:
        target = labels(2, 2, 3, 9, dtype=torch.int16)
        target[1, 2, 4] = wrong
        sums, counts, gradient = results(lambda z: fused.FusedSums.apply(None, z, target, None, SOME, None, False), draw(2, 3, 9))
        assert sums[1, :3, 2].isnan().all()
        assert sums[0].isfinite().all()
        assert counts[1, 1, 2].isnan()
        assert gradient.isnan().nonzero().tolist() == [[1, 2, 4]]


class TestSelection:
    @pytest.mark.parametrize("classes", [2, 3])
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_a_sum_of_terms_is_the_same(self, activation: str, classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
        terms = [{"name": name} for name, other in ONE_PASS if other == activation]
        loss = build_loss({"activation": activation, "terms": terms, "ignore_index": 255}, classes)
        logits = draw(2, classes, 6, 5, 7).contiguous(memory_format=torch.channels_last_3d)
        target = labels(classes, 2, 6, 5, 7) if activation == "softmax" else labels(2, 2, classes, 6, 5, 7)
        target[:, ..., 0] = 255
        eager = value_and_gradient(loss, logits, target, weights(2, 6, 5, 7))
        calls: list[bool] = []
        kernels = fused._kernels
        monkeypatch.setattr(fused, "fits", lambda *_, **__: True)
        monkeypatch.setattr(fused, "_kernels", lambda softmax: calls.append(softmax) or kernels(softmax))
        found = value_and_gradient(loss, logits, target, weights(2, 6, 5, 7))
        assert calls == [activation == "softmax"] * 2
        torch.testing.assert_close(found[0], eager[0], rtol=2e-6, atol=0)
        torch.testing.assert_close(found[1], eager[1], rtol=1e-4, atol=2e-5 * eager[1].abs().max().item())


class TestPrecision:
    def test_a_small_loss_keeps_its_digits(self) -> None:
        """-log p and 1 - p of a sure voxel come from the other classes, not from a difference to 1."""
        logits = torch.tensor([0.0, 12.0, 20.0, 40.0]).expand(1, 1, 4) * torch.tensor([0.0, 1.0]).view(1, 2, 1)
        target = torch.ones(1, 4, dtype=torch.uint8)
        for k in range(4):
            check(logits[..., k : k + 1], target[:, :1], softmax=True)
        sums, _ = fused.FusedSums.apply(None, logits[..., 3:], target[:, :1], None, (LOG_LOSS,), None, True)
        assert sums[0, 3, 1].item() == pytest.approx(4.248354e-18, rel=1e-5)
        assert sums[0, 2, 1].item() == pytest.approx(4.248354e-18, rel=1e-5)

    def test_a_large_constant_background_is_counted(self) -> None:
        logits = torch.zeros(1, 2, 1 << 17)
        logits[:, 1] = -3.0
        target = torch.zeros(1, 1 << 17, dtype=torch.uint8)
        sums, counts = fused.FusedSums.apply(None, logits, target, None, (LOG_LOSS,), None, True)
        exact, _ = SoftmaxSums.apply(logits[..., :1].double(), target[:, :1], None, (LOG_LOSS,), None)
        torch.testing.assert_close(sums / (1 << 17), exact, rtol=1e-6, atol=0)
        assert counts[0, 0].tolist() == [1 << 17, 0]


class TestPlan:
    @pytest.mark.parametrize("voxels", [1, 64, 65, 1000, 64 * 64 * 8, 10**6, 3 * 10**9])
    @pytest.mark.parametrize("groups", [1, 3, 1000])
    def test_every_tile_has_one_program(self, voxels: int, groups: int) -> None:
        programs, tiles, per_program = programs_of(64, voxels, groups, torch.empty(0))
        assert (tiles - 1) * 64 < voxels <= tiles * 64
        assert (programs - 1) * per_program < tiles <= programs * per_program
        assert per_program <= 64
