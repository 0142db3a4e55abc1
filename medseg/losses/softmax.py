r"""The pass over the voxels for exclusive classes: sums by class of a softmax, without the softmax or a one-hot tensor.

With $p$ the probabilities, $t$ a voxel's class and $n = -\log p_t$, any loss on these sums has the gradient
$$ \partial L/\partial z_j = w\,\bigl(p_j (a_j - \sum_c p_c a_c - u) + u\,[j = t]\bigr), $$
$$ a_c = \partial L/\partial FP_c, \quad
   u = p_t\,(\partial L/\partial TP_t - \partial L/\partial FN_t - \partial L/\partial FP_t) - \sum_f f'(n)\,\partial L/\partial S_{f,t} $$
and, for functions summed over the wrong classes too, $a_c$ of $c \ne t$ also has $\sum_f g'(p_c)\,\partial L/\partial S^{out}_{f,c}$ with
$g(p) = f(-\log(1-p))$.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medseg.losses.blocks import block_size, blocks, counting_dtype, working_dtype
from medseg.losses.once import differentiable_once
from medseg.losses.voxelwise import VoxelFunction, WrongFunction, everywhere


class SoftmaxSums(torch.autograd.Function):
    """Logits (B, C, N) and class ids (B, N) -> sums (B, 3 + functions + those `everywhere`, C) and counts (B, 2, C).

    Sums are TP, FP, FN, for each voxel function its total over the voxels of each class, and for each that is wanted `everywhere` its
    total over the voxels of the other classes. Counts are the (weighted) voxels of each class and of the sample. For the backward only
    logits, ids and two numbers a voxel are kept, the largest logit and the log-sum-exp above it.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, ids: Tensor, weight_map: Tensor | None, functions: tuple[VoxelFunction, ...], ignore_index: int | None
    ) -> tuple[Tensor, Tensor]:
        """Sums and counts of each sample."""
        batch, classes, voxels = logits.shape
        dtype = working_dtype(logits)
        norm = logits.new_empty(2, batch, voxels, dtype=dtype)
        outer = everywhere(functions)
        sums = logits.new_zeros(batch, 3 + len(functions) + len(outer), classes, dtype=counting_dtype(logits))
        volume = logits.new_zeros(batch, classes, dtype=sums.dtype)
        room = min(voxels, max(256, block_size(logits) // classes))
        buffer = logits.new_empty(classes * room, dtype=dtype)
        steps = torch.arange(room, device=logits.device)
        with torch.autocast(logits.device.type, enabled=False):
            for i, span in _pieces(logits):
                t, w = _labels(ids[i, span], None if weight_map is None else weight_map[i, span], ignore_index, dtype)
                z = logits[i, :, span]
                e = buffer[: z.numel()].view(z.shape)
                if z.dtype != dtype:
                    z = e.copy_(z)
                top = z.amax(0)
                torch.sub(z, top, out=e)
                flat, own = e.view(-1), _own(t, steps)
                nll = flat.index_select(0, own).neg_()
                total = e.exp_().sum(0)
                log_total = total.log()
                norm[0, i, span], norm[1, i, span] = top, log_total
                nll += log_total
                flat.index_fill_(0, own, 0.0)  # the true class aside, so that FP is a sum of what is wrong, not a difference
                wrong = e.mul_(total.reciprocal_())
                sums[i, 1] += _weighted(wrong, w).sum(1)  # `mv` loses two digits on large plain backgrounds
                for row, f in enumerate(outer, start=3 + len(functions)):
                    sums[i, row] += _weighted(f.wrong(wrong), w).sum(1)
                miss = -torch.expm1(-nll)
                rows = [torch.exp(-nll), miss, *(f.value(nll, miss) for f in functions)]
                for row, values in zip((0, 2, *range(3, 3 + len(functions))), rows, strict=True):
                    sums[i, row].scatter_add_(0, t, _weighted(values, w).to(sums.dtype))
                volume[i].scatter_add_(0, t, torch.ones_like(t, dtype=sums.dtype) if w is None else w.to(sums.dtype))
        ctx.save_for_backward(logits, ids, weight_map, norm)
        ctx.functions, ctx.ignore_index = functions, ignore_index
        counts = torch.stack([volume, volume.sum(1, keepdim=True).expand_as(volume)], 1)
        ctx.mark_non_differentiable(counts)
        return sums, counts

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad_sums: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the logits, from that of the sums."""
        logits, ids, weight_map, norm = ctx.saved_tensors
        grad = torch.empty_like(logits)
        slopes = grad_sums.to(norm.dtype)
        outer = everywhere(ctx.functions)
        room = min(logits.shape[2], max(256, block_size(logits) // logits.shape[1]))
        buffers = logits.new_empty(2, logits.shape[1] * room, dtype=norm.dtype)
        steps = torch.arange(room, device=logits.device)
        with torch.autocast(logits.device.type, enabled=False):
            for i, span in _pieces(logits):
                t, w = _labels(ids[i, span], None if weight_map is None else weight_map[i, span], ctx.ignore_index, norm.dtype)
                z = logits[i, :, span]
                p, change = (buffer[: z.numel()].view(z.shape) for buffer in buffers)
                own = _own(t, steps)
                torch.sub(z, norm[0, i, span], out=p).sub_(norm[1, i, span])  # apart: their sum loses the digits that an offset takes
                nll = p.view(-1).index_select(0, own).neg_()
                p.exp_()
                tp, fp, fn = slopes[i, :3]
                u = torch.exp(-nll)
                miss = 1 - u
                u *= (tp - fn - fp).index_select(0, t)
                inside = slopes[i, 3 : 3 + len(ctx.functions)]
                for f, slope in zip(ctx.functions, inside, strict=True):
                    steep = slope.index_select(0, t)
                    u -= steep if f.linear else steep.mul_(f.slope(nll, miss))
                if outer:
                    steep = _wrong_slopes(p, own, outer, slopes[i, 3 + len(ctx.functions) :]).add_(fp.unsqueeze(1))
                    torch.sub(steep, u.add((p * steep).sum(0)), out=change)
                else:
                    torch.sub(fp.unsqueeze(1), torch.addmv(u, p.t(), fp), out=change)
                change *= p
                change.view(-1).index_add_(0, own, u)
                if w is not None:
                    change *= w
                grad[i, :, span] = change
        return grad, None, None, None, None


def _wrong_slopes(p: Tensor, own: Tensor, functions: list[WrongFunction], slopes: Tensor) -> Tensor:
    """dL/dp of the wrong classes' probabilities (C, N) through the sums outside the classes; 0 for the true class."""
    total = torch.zeros_like(p)
    for f, slope in zip(functions, slopes, strict=True):
        total.addcmul_(f.wrong_slope(p), slope.unsqueeze(1))
    total.view(-1).index_fill_(0, own, 0.0)
    return total


def _pieces(logits: Tensor) -> list[tuple[int, slice]]:
    return [(i, span) for samples, span in blocks(logits) for i in range(samples.start, samples.stop)]


def _labels(ids: Tensor, weight_map: Tensor | None, ignore_index: int | None, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Class ids as indices, and the voxels' weights: None where all are 1, 0 where ignored (their id then is 0)."""
    t = ids.long()
    w = None if weight_map is None else weight_map.to(dtype)
    if ignore_index is not None:
        keep = t != ignore_index
        t = t * keep
        w = keep.to(dtype) if w is None else w * keep
    return t, w


def _own(t: Tensor, steps: Tensor) -> Tensor:
    """Where the true class of each voxel lies in a block (C, N), flat: faster than to gather and scatter along the classes."""
    return torch.add(steps[: len(t)], t, alpha=len(t))


def _weighted(values: Tensor, w: Tensor | None) -> Tensor:
    return values if w is None else values * w
