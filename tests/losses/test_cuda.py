"""The statistics and terms on a CUDA device against the CPU."""

from __future__ import annotations

import importlib.util
import math

import pytest
import torch

from medseg.losses import build_loss, fused
from medseg.losses.softmax import SoftmaxSums
from medseg.losses.voxelwise import LOG_LOSS
from tests.losses import problems
from tests.losses.problems import ACTIVATIONS, CASES, ONE_PASS

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _needs_cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


def value_and_gradient(name: str, activation: str, logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    config = {"activation": activation, "ignore_index": 255, "terms": [{"name": name}]}
    leaf = logits.clone().requires_grad_()
    loss = build_loss(config, num_classes=logits.shape[1])(leaf, target)
    loss.backward()
    assert leaf.grad is not None
    return loss.detach().cpu(), leaf.grad.float().cpu()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("name", "activation"), CASES)
class TestCuda:
    def test_equals_the_cpu(self, name: str, activation: str, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(0)
        logits = (3 * torch.randn(2, 4, 9, 33, 17, generator=generator)).to(dtype)
        if activation == "softmax":
            target = torch.randint(0, 4, (2, 1, 9, 33, 17), generator=generator).to(torch.uint8)
            target[:, :, :2] = 255
        else:
            target = torch.randint(0, 2, (2, 4, 9, 33, 17), generator=generator).to(torch.uint8)
            target[:, :, :2] = 255
        value, gradient = value_and_gradient(name, activation, logits, target)
        cuda_value, cuda_gradient = value_and_gradient(name, activation, logits.cuda(), target.cuda())
        torch.testing.assert_close(cuda_value, value, rtol=1e-5, atol=1e-6)
        scale = gradient.abs().max().item()
        tolerance = {torch.float32: 1e-4, torch.bfloat16: 1e-2, torch.float16: 2e-3}[dtype]
        torch.testing.assert_close(cuda_gradient, gradient, rtol=tolerance, atol=tolerance * scale)


def params_of(name: str, activation: str) -> dict[str, list[float]]:
    """Parameters of a number a class, which live on the host."""
    weights = [0.5, 1.0, 0.25, 0.75]
    several = {"bce": "pos_weight", "cross_entropy": "class_weights", "focal": "alpha", "exp_log": "class_weights"}
    return {several[name]: weights} if name in several else {}


class TestSynchronisation:
    """The host runs ahead of the device; a step that waits for it would idle the device between kernels."""

    @pytest.mark.parametrize("enabled", [True, False])
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_no_term_of_the_one_pass_waits_for_the_device(self, activation: str, enabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fused, "enabled", enabled and fused.enabled)
        terms = [{"name": name, "params": params_of(name, activation)} for name, other in ONE_PASS if other == activation]
        config = {"activation": activation, "ignore_index": 255, "reduce_over": "sample", "empty": "volume", "terms": terms}
        loss = build_loss(config, 4).cuda()
        logits, target = draw(activation, 4, torch.float32, 16, 16, 16)
        weight_map = torch.rand(2, 16, 16, 16, device="cuda")
        leaves = [logits.requires_grad_(), logits.detach()[..., ::2].contiguous().requires_grad_()]
        loss(leaves, target, weight_map).backward()  # compiles, and copies parameters to the device
        for leaf in leaves:
            leaf.grad = None
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            loss(leaves, target, weight_map).backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton on this platform")


def draw(activation: str, classes: int, dtype: torch.dtype, *spatial: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels on the device, some of them 255."""
    generator = torch.Generator("cuda").manual_seed(0)
    logits = 3 * torch.randn(2, classes, *spatial, generator=generator, device="cuda")
    high, shape = (classes, (2, *spatial)) if activation == "softmax" else (2, logits.shape)
    target = torch.randint(0, high, shape, generator=generator, device="cuda", dtype=torch.uint8)
    target[..., :3] = 255
    return logits.to(dtype), target


@needs_triton
class TestFused:
    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("classes", [2, 14, 105])
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_is_used_and_equals_the_eager_pass(
        self, activation: str, classes: int, dtype: torch.dtype, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        terms = [{"name": name} for name, other in ONE_PASS if other == activation]
        loss = build_loss({"activation": activation, "ignore_index": 255, "terms": terms}, classes)
        logits, target = draw(activation, classes, dtype, 9, 33, 17)
        logits = logits.contiguous(memory_format=layout)
        weight_map = torch.rand(2, 9, 33, 17, device="cuda")
        calls: list[bool] = []
        kernels = fused._kernels
        monkeypatch.setattr(fused, "_kernels", lambda softmax: calls.append(softmax) or kernels(softmax))
        value, gradient = problems.value_and_gradient(loss, logits, target, weight_map)
        assert calls == [activation == "softmax"] * 2
        assert fused.enabled
        again = problems.value_and_gradient(loss, logits, target, weight_map)
        torch.testing.assert_close(again, (value, gradient), rtol=0, atol=0)
        assert gradient.is_contiguous(memory_format=layout)
        monkeypatch.setattr(fused, "enabled", False)
        exact, exact_gradient = problems.value_and_gradient(loss, logits.double(), target, weight_map)
        torch.testing.assert_close(value.double(), exact, rtol=5e-6, atol=0)
        scale = exact_gradient.abs().max().item()
        tolerance = {torch.float32: 1e-5, torch.bfloat16: 4e-3, torch.float16: 5e-4}[dtype]
        torch.testing.assert_close(gradient.double(), exact_gradient, rtol=tolerance, atol=2e-5 * scale + 6e-8)

    @pytest.mark.parametrize("classes", [3, 14])
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_memory_beside_the_gradient_stays_below_a_third_of_the_logits(self, activation: str, classes: int) -> None:
        names = ("cross_entropy" if activation == "softmax" else "bce", "dice", "focal")
        loss = build_loss({"activation": activation, "terms": [{"name": name} for name in names]}, classes)
        logits, target = draw(activation, classes, torch.float32, 96, 96, 96)
        target.clamp_max_(1)
        logits.requires_grad_()
        loss(logits, target).backward()  # compiles
        logits.grad = None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        value = loss(logits, target)
        assert torch.cuda.max_memory_allocated() - before < 0.3 * logits.nbytes
        value.backward()
        assert torch.cuda.max_memory_allocated() - before < 1.3 * logits.nbytes

    def test_more_elements_than_32_bits_count(self) -> None:
        voxels = (1 << 30) + 100
        if torch.cuda.mem_get_info()[0] < 16 << 30:
            pytest.skip("needs 16 GiB of device memory")
        logits = torch.zeros(1, 2, voxels, dtype=torch.bfloat16, device="cuda")
        logits[0, 1, -50:] = 3.0
        target = torch.zeros(1, voxels, dtype=torch.uint8, device="cuda")
        target[0, -20:] = 1
        logits.requires_grad_()
        sums, counts = fused.FusedSums.apply(SoftmaxSums, logits, target, None, (LOG_LOSS,), None, True)
        (gradient,) = torch.autograd.grad(sums[0, 3].sum(), logits)
        assert counts[0, 0].tolist() == [voxels - 20, 20]
        tail = logits.detach()[..., -100:].float().requires_grad_()
        part, _ = SoftmaxSums.apply(tail, target[:, -100:], None, (LOG_LOSS,), None)
        (expected,) = torch.autograd.grad(part[0, 3].sum(), tail)
        torch.testing.assert_close(gradient[..., -100:].float(), expected, rtol=4e-3, atol=1e-6)
        assert sums[0, 3, 1].item() == pytest.approx(part[0, 3, 1].item(), rel=1e-6)
        assert sums[0, 3, 0].item() == pytest.approx(part[0, 3, 0].item() + (voxels - 100) * math.log(2), rel=1e-6)
