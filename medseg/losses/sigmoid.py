r"""The pass over the voxels for overlapping regions with soft labels: each channel is a problem of its own. Hard ones: `binary.py`.

With $p$ the probability and $y$ the target of an element, any loss on these sums has the gradient
$$ \partial L/\partial z = w\,\bigl(y\,(\partial L/\partial TP - \partial L/\partial FN) + (1-y)\,\partial L/\partial FP\bigr)\,p\,(1-p)
   - w\,y\,(1-p)\,f'(-\log p)\,\partial L/\partial S^{in}_f + w\,(1-y)\,p\,f'(-\log (1-p))\,\partial L/\partial S^{out}_f $$
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medseg.losses.blocks import blocks, counting_dtype, working_dtype
from medseg.losses.once import differentiable_once
from medseg.losses.voxelwise import VoxelFunction


class SigmoidSums(torch.autograd.Function):
    """Logits (B, C, N) and targets (B, C, N) in [0, 1] -> sums (B, 3 + 2 functions, C) and counts (B, 2, C).

    Sums are TP, FP, FN and, for each voxel function, its total inside and outside the reference. Counts are the (weighted) voxels of the
    reference and of the channel. The weight map is (B, 1, N) or (B, C, N). For the backward only logits and target are kept.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, weight_map: Tensor | None, functions: tuple[VoxelFunction, ...], ignore_index: int | None
    ) -> tuple[Tensor, Tensor]:
        """Sums and counts of each sample."""
        batch, channels, _ = logits.shape
        sums = logits.new_zeros(batch, 3 + 2 * len(functions), channels, dtype=counting_dtype(logits))
        counts = logits.new_zeros(batch, 2, channels, dtype=sums.dtype)
        with torch.autocast(logits.device.type, enabled=False):
            for samples, span in blocks(logits):
                z, y, w = _block(logits, target, weight_map, ignore_index, samples, span)
                p, q = torch.sigmoid(z), torch.sigmoid(-z)
                wy, wo = (y, 1 - y) if w is None else (y * w, (1 - y) * w)
                counts[samples, 0] += wy.sum(-1)
                counts[samples, 1] += z.shape[-1] if w is None else w.expand_as(z).sum(-1)
                for row, (value, chosen) in enumerate(((p, wy), (p, wo), (q, wy))):
                    sums[samples, row] += (value * chosen).sum(-1)
                if functions:
                    _add_voxelwise(sums[samples, 3:], z, wy, wo, functions)
        ctx.save_for_backward(logits, target, weight_map)
        ctx.functions, ctx.ignore_index = functions, ignore_index
        ctx.mark_non_differentiable(counts)
        return sums, counts

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad_sums: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the logits, from that of the sums."""
        logits, target, weight_map = ctx.saved_tensors
        grad = torch.empty_like(logits)
        slopes = grad_sums.to(working_dtype(logits)).unsqueeze(-1)
        with torch.autocast(logits.device.type, enabled=False):
            for samples, span in blocks(logits):
                z, y, w = _block(logits, target, weight_map, ctx.ignore_index, samples, span)
                p, q = torch.sigmoid(z), torch.sigmoid(-z)
                tp, fp, fn = slopes[samples, :3].unbind(1)
                g = torch.addcmul(fp, y, tp - fn - fp).mul_(p).mul_(q)
                n_in, n_out = (z, z) if all(f.linear for f in ctx.functions) else _log_losses(z)
                for k, f in enumerate(ctx.functions):
                    rise, fall = p * (1 - y) * slopes[samples, 4 + 2 * k], q * y * slopes[samples, 3 + 2 * k]
                    g += rise - fall if f.linear else rise * f.slope(n_out) - fall * f.slope(n_in)
                grad[samples, :, span] = g if w is None else g.mul_(w)
        return grad, None, None, None, None


def _block(
    logits: Tensor, target: Tensor, weight_map: Tensor | None, ignore_index: int | None, samples: slice, span: slice
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Logits, target and weights of a block, in the working precision; weights are None where all are 1 and 0 where ignored."""
    dtype = working_dtype(logits)
    z, y = logits[samples, :, span].to(dtype).contiguous(), target[samples, :, span]
    w = None if weight_map is None else weight_map[samples, :, span].to(dtype)
    if ignore_index is not None:
        keep = y != ignore_index
        y, w = y * keep, keep.to(dtype) if w is None else w * keep
    y = y.to(dtype)
    if y.device.type != "cpu":  # where values are not checked before
        y = y.masked_fill((y < 0) | (y > 1), torch.nan)
    return z, y, w


def _add_voxelwise(sums: Tensor, z: Tensor, wy: Tensor, wo: Tensor, functions: tuple[VoxelFunction, ...]) -> None:
    """Add each function's total inside and outside the reference, of weights wy and wo, to sums (b, 2 functions, C)."""
    inside, outside = _log_losses(z)
    for k, f in enumerate(functions):
        sums[:, 2 * k] += (f.value(inside) * wy).sum(-1)
        sums[:, 2 * k + 1] += (f.value(outside) * wo).sum(-1)


def _log_losses(z: Tensor) -> tuple[Tensor, Tensor]:
    """-log p and -log(1 - p)."""
    tail = torch.abs(z).neg_().exp_().log1p_()  # log(1 + exp(-|z|)), the part that both share
    return torch.relu(-z) + tail, torch.relu(z) + tail
