"""Python numbers beside a tensor, without waiting for its device: a copy from the host would, in every step, level and term."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Numbers:
    """A parameter of several numbers, class weights for example; copied once to every device and type it is asked for.

    No buffer, which would be of one type: float64 does not go to every device, and float32 is not exact beside float64 logits. Nor would
    `DistributedDataParallel` leave a buffer alone, it sends them to all ranks in every step.
    """

    def __init__(self, values: Sequence[float]) -> None:
        self.values = list(values)
        self._copies: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def like(self, tensor: Tensor) -> Tensor:
        """The numbers (n,) on the tensor's device, of its type."""
        key = (tensor.device, tensor.dtype)
        if key not in self._copies:
            with torch.inference_mode(False):  # a copy made in a validation step must serve the next training step
                self._copies[key] = torch.tensor(self.values, dtype=tensor.dtype, device=tensor.device)
        return self._copies[key]


def beside(tensor: Tensor, values: Sequence[float]) -> Tensor:
    """Numbers (n,) that change from call to call, by one fill each: for a few, such as an image's sizes."""
    return torch.stack([tensor.new_full((), value) for value in values])
