"""The same sums for soft labels of exclusive classes: every class has a share of every voxel, so all probabilities are at hand anyway.

Differentiated by autograd, at its price in memory: soft labels are for distillation and several raters, not for the common case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medseg.losses.blocks import counting_dtype, working_dtype
from medseg.losses.once import differentiable_once
from medseg.losses.voxelwise import VoxelFunction, everywhere


class _Apply(torch.autograd.Function):
    """A voxel function with its own slope, which is finite where autograd's would not be."""

    @staticmethod
    def forward(ctx: Any, n: Tensor, function: VoxelFunction) -> Tensor:
        ctx.save_for_backward(n)
        ctx.function = function
        return function.value(n)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.function.slope(ctx.saved_tensors[0]), None


def soft_softmax_sums(
    logits: Tensor, target: Tensor, weight_map: Tensor | None, functions: Sequence[VoxelFunction], ignore_index: int | None
) -> tuple[Tensor, Tensor]:
    """Logits (B, C, N) and class shares (B, C, N) -> sums and counts as `SoftmaxSums`, each voxel counting for a class with its share."""
    dtype = working_dtype(logits)
    log_p, y = logits.to(dtype).log_softmax(1), target.to(dtype)
    w = torch.ones_like(log_p[:, :1]) if weight_map is None else weight_map.to(dtype).unsqueeze(1)
    if ignore_index is not None:
        keep = (target[:, :1] != ignore_index).to(dtype)
        w, y = w * keep, y * keep
    p, wy, wo = log_p.exp(), w * y, w * (1 - y)
    rows = [p * wy, p * wo, -torch.expm1(log_p) * wy]
    rows += [_Apply.apply(-log_p, function) * wy for function in functions]
    rows += [function.wrong(p) * wo for function in everywhere(functions)]
    counts = counting_dtype(logits)
    sums = torch.stack([row.sum(-1, dtype=counts) for row in rows], 1)
    volume = wy.sum(-1, dtype=counts)
    return sums, torch.stack([volume, w.sum(-1, dtype=counts).expand_as(volume)], 1)
