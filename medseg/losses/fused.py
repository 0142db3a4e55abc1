"""The pass over the voxels on a CUDA device: two Triton kernels in place of the eager passes, chosen here.

A voxel of C classes costs what it must: forward, C logits and its target read; backward, the same again and C gradients written. In bytes
for float32 logits and uint8 ids 12 C + 2 (half precision: 6 C + 2), with a float32 weight map 8 more. The softmax and all functions live in
registers; nothing of the logits' size is stored but the gradient. Sums are float32 over at most 64 tiles and float64 beyond, always in the
same order. An id that is no class makes the sums and the voxel's gradient NaN.

The eager pass stays where kernels cannot go: float64 logits (gradient checks), functions without a `kernel`, more than 1024 classes,
another device, no Triton. Triton compiles at first use; where that fails, for want of a C compiler for example, a warning says so once and
the eager pass does the work. `MEDSEG_FUSED=0` in the environment turns the kernels off.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor

from medseg.losses.once import differentiable_once
from medseg.losses.voxelwise import Kernel, VoxelFunction, everywhere

enabled = os.environ.get("MEDSEG_FUSED", "1") != "0"
"""Whether kernels may be used at all; a failure to compile turns it off for the rest of the process."""
MOST_CLASSES = 1024
"""Whose tile still fits the registers of one program (softmax)."""


def one_pass(
    eager: Any,
    logits: Tensor,
    target: Tensor,
    weight_map: Tensor | None,
    functions: tuple[VoxelFunction, ...],
    ignore_index: int | None,
    *,
    softmax: bool,
) -> tuple[Tensor, Tensor]:
    """Sums and counts as the eager pass (an autograd function) would give them, by kernels where those can."""
    if fits(logits, functions, softmax=softmax):
        try:
            sums, counts = FusedSums.apply(eager, logits, target, weight_map, functions, ignore_index, softmax)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a compiler, an assembler or a driver may raise
            _give_up(error)
        else:
            return sums, counts
    sums, counts = eager.apply(logits, target, weight_map, functions, ignore_index)
    return sums, counts


def fits(logits: Tensor, functions: tuple[VoxelFunction, ...], *, softmax: bool) -> bool:
    """Whether the kernels can serve this input."""
    return (
        enabled
        and logits.is_cuda
        and logits.dtype in (torch.float16, torch.bfloat16, torch.float32)
        and logits.numel() > 0
        and all(f.kernel is not None for f in functions)
        and not (softmax and (logits.shape[1] > MOST_CLASSES or any(_kernel(f)[0] != "miss" for f in everywhere(functions))))
        and _has_triton()
    )


class FusedSums(torch.autograd.Function):
    """The sums and counts of an eager pass by one kernel, and their gradient by another. For the backward only the inputs are kept."""

    @staticmethod
    def forward(
        ctx: Any,
        eager: Any,
        logits: Tensor,
        target: Tensor,
        weight_map: Tensor | None,
        functions: tuple[VoxelFunction, ...],
        ignore_index: int | None,
        softmax: bool,
    ) -> tuple[Tensor, Tensor]:
        """Sums and counts of each sample."""
        sums, counts = _kernels(softmax).forward(logits, target, weight_map, *_described(functions, softmax), ignore_index)
        ctx.save_for_backward(logits, target, weight_map)
        ctx.eager, ctx.functions, ctx.ignore_index, ctx.softmax = eager, functions, ignore_index, softmax
        ctx.mark_non_differentiable(counts)
        return sums, counts

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad_sums: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the logits, from that of the sums."""
        logits, target, weight_map = ctx.saved_tensors
        try:
            described = _described(ctx.functions, ctx.softmax)
            grad = _kernels(ctx.softmax).backward(grad_sums, logits, target, weight_map, *described, ctx.ignore_index)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            _give_up(error)
            with torch.enable_grad():
                leaf = logits.detach().requires_grad_()
                sums, _ = ctx.eager.apply(leaf, target, weight_map, ctx.functions, ctx.ignore_index)
            (grad,) = torch.autograd.grad(sums, leaf, grad_sums)
        return None, grad, None, None, None, None, None


def _described(functions: tuple[VoxelFunction, ...], softmax: bool) -> tuple[tuple[Any, ...], ...]:
    """The functions as the kernels take them; for softmax also the exponents of those that are wanted everywhere."""
    inside = tuple(_kernel(f) for f in functions)
    return (inside, tuple(_kernel(f)[1] for f in everywhere(functions))) if softmax else (inside,)


def _kernel(function: VoxelFunction) -> Kernel:
    assert function.kernel is not None
    return function.kernel


def _kernels(softmax: bool) -> Any:
    """The module of kernels, which imports Triton."""
    return importlib.import_module(f"medseg.losses.kernels.{'softmax' if softmax else 'sigmoid'}")


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _give_up(error: Exception) -> None:
    global enabled
    enabled = False
    reason = (str(error).strip() or "no message").splitlines()[0]
    warnings.warn(f"the loss runs without its fused kernels, which failed: {type(error).__name__}: {reason}", stacklevel=2)
