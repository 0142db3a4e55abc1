"""Sums over the processes of a distributed training."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes that train together; 1 when not distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _SumOverRanks(torch.autograd.Function):
    """All-reduce forward and backward: what a rank puts in acts on every rank's result."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        return _summed(local)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _summed(grads[0])  # ranks' gradients may differ: only some have a sample that uses the batch's counts


def _summed(local: Tensor) -> Tensor:
    total = local.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def sum_over_ranks(local: Tensor) -> Tensor:
    """The sum of every rank's tensor, differentiable.

    Every rank computes the same loss from it, so the gradients of a parameter add up to that of the whole batch times the number of ranks;
    `DistributedDataParallel` averages, which cancels the factor, also when ranks hold unequal shares of the batch.
    """
    return _SumOverRanks.apply(local) if world_size() > 1 else local
