from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medseg.inference.sliding_window import or_on_cpu, predict_logits
from medseg.inference.sliding_window.accumulation import Accumulator
from medseg.inference.sliding_window.forward import Forward
from medseg.inference.sliding_window.layout import Layout
from medseg.inference.sliding_window.memory import out_of_memory
from tests.inference.sliding_window.networks import Pointwise

ELSEWHERE = torch.device("meta")
"""A device that holds nothing, in place of a GPU that is full."""


class Full(Pointwise):
    """Finds no memory but on the CPU."""

    def forward(self, image: Tensor) -> Tensor:
        if image.device == ELSEWHERE:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(image)


class TestOutOfMemory:
    def test_torch_s_own_error_of_the_cpu_is_known(self) -> None:
        with pytest.raises(RuntimeError) as raised:
            torch.empty(10**15)
        assert out_of_memory(raised.value)

    def test_other_errors_are_not_it(self) -> None:
        assert not out_of_memory(RuntimeError("shape mismatch"))
        assert not out_of_memory(ValueError("out of memory"))


class TestTheWayDown:
    def test_batches_then_sums_then_the_network_move_to_the_cpu(self) -> None:
        told: list[str] = []
        x = torch.rand(1, 40, 8)
        logits = predict_logits(Full().eval(), x, (8, 8), batch_size=2, blending="constant", device=ELSEWHERE, notify=told.append)
        torch.testing.assert_close(logits, torch.cat([x, -x]))
        assert [text.removeprefix("out of memory: ") for text in told] == [
            "windows are predicted 1 at a time", "the windows are put together on the CPU", "the network runs on the CPU"
        ]  # fmt: skip

    def test_sums_that_find_no_room_are_made_on_the_cpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        zeros, told = torch.zeros, []

        def full(*args: Any, device: torch.device, **options: Any) -> Tensor:
            if device == ELSEWHERE:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return zeros(*args, device=device, **options)

        monkeypatch.setattr("medseg.inference.sliding_window.accumulation.torch.zeros", full)
        sums = Accumulator(Layout((8, 8), (8, 8), 0.5), 0, None, ELSEWHERE, None, told.append)
        sums.add((0, 0), torch.ones(2, 8, 8))
        rows, part = next(sums.finished(8))
        assert (rows, part.device.type, len(told)) == (slice(0, 8), "cpu", 1)
        assert torch.equal(part, torch.ones(2, 8, 8))

    def test_the_network_itself_stays_where_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network = nn.Conv2d(1, 1, 1, device=ELSEWHERE).eval()
        forward = Forward(network, ELSEWHERE, torch.float16, ())
        monkeypatch.setattr(Tensor, "cpu", lambda tensor: torch.ones(tensor.shape))
        forward.move_to_cpu()
        assert forward.autocast in (torch.bfloat16, None)
        assert torch.equal(forward(torch.ones(1, 1, 4, 4)).float(), torch.full((1, 1, 4, 4), 2.0))
        assert network.weight.device == ELSEWHERE

    def test_a_step_on_a_slab_is_done_on_the_cpu_only_where_memory_is_short(self) -> None:
        def full(part: Tensor) -> Tensor:
            raise MemoryError

        def wrong(part: Tensor) -> Tensor:
            raise RuntimeError("shapes")

        with pytest.raises(MemoryError):
            or_on_cpu(full, torch.ones(2))
        with pytest.raises(RuntimeError, match="shapes"):
            or_on_cpu(wrong, torch.ones(2, device=ELSEWHERE))
