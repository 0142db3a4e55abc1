"""Networks for tests of windows, and what their memory is measured with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile


def network(dims: int, outputs: int = 3, channels: int = 2) -> nn.Module:
    """A random network that sees its neighbourhood and the border of its window."""
    torch.manual_seed(0)
    kind = nn.Conv3d if dims == 3 else nn.Conv2d
    return nn.Sequential(kind(channels, 6, 3, padding=1), nn.ReLU(), kind(6, outputs, 3, padding=1)).eval()


class Pointwise(nn.Module):
    """Logits of two classes from the intensity alone; counts the windows that it sees, and how large batches were."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, image: Tensor) -> Tensor:
        self.batches.append(len(image))
        return torch.cat([image[:, :1], -image[:, :1]], dim=1)


class Forgetful(Pointwise):
    """Runs out of memory with more than so many windows at once, and on other devices than the CPU too, if told."""

    def __init__(self, most: int, error: type[Exception] = torch.OutOfMemoryError, text: str = "CUDA out of memory") -> None:
        super().__init__()
        self.most, self.error, self.text = most, error, text
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> Tensor:
        if len(image) > self.most:
            raise self.error(self.text)
        return super().forward(image) * self.weight


def peak_bytes(action: Callable[[], object]) -> int:
    """The most that torch holds at a time on the CPU."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        action()
    live = peak = 0
    assert found.profiler is not None
    for event in sorted((e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak
