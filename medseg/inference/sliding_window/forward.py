"""One forward pass over a batch of windows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.func import functional_call

from medseg.inference.precision import hardware_has_bf16


class Forward:
    """The network as a function of windows, in its number format and averaged over mirrored copies.

    Args:
        network: In eval mode, on `device`.
        device: Where windows are moved.
        autocast: Number format of the forward pass; None for float32.
        mirror_axes: Spatial axes; the windows are also predicted mirrored along every combination of them, and the logits, mirrored back,
            are averaged in float32.
    """

    def __init__(self, network: nn.Module, device: torch.device, autocast: torch.dtype | None, mirror_axes: Sequence[int]) -> None:
        self.network, self.device, self.autocast = network, device, autocast
        axes = [axis + 2 for axis in mirror_axes]
        self._mirrored = [chosen for count in range(len(axes)) for chosen in itertools.combinations(axes, count + 1)]
        self._copy: dict[str, Tensor] | None = None

    @torch.no_grad()
    def __call__(self, windows: Tensor) -> Tensor:
        """Logits (B, C', *window) of windows (B, C, *window), on `device`, in whatever floating type the network gives."""
        windows = windows.to(self.device)
        with nullcontext() if self.autocast is None else torch.autocast(self.device.type, dtype=self.autocast):
            logits = self._run(windows)
            if not self._mirrored:
                return logits
            total = logits.float().clone()  # the network may have given back its own input
            for axes in self._mirrored:
                total += self._run(windows.flip(axes)).flip(axes)
        return total.div_(1 + len(self._mirrored))

    def move_to_cpu(self) -> None:
        """Compute on the CPU from now on, with a copy of the weights: the network itself, which may be in training, stays where it is."""
        named = itertools.chain(self.network.named_parameters(), self.network.named_buffers())
        self._copy = {name: tensor.detach().cpu() for name, tensor in named}
        self.device = torch.device("cpu")
        if self.autocast is not None:
            self.autocast = torch.bfloat16 if hardware_has_bf16("cpu") else None

    def _run(self, windows: Tensor) -> Tensor:
        logits: Tensor = self.network(windows) if self._copy is None else functional_call(self.network, self._copy, (windows,))
        return logits
