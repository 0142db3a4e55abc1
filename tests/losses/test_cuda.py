"""The statistics and terms on a CUDA device against the CPU."""

from __future__ import annotations

import pytest
import torch

from medseg.losses import build_loss
from tests.losses.problems import CASES

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
