r"""The pass over the voxels for two-way questions with hard labels: each sigmoid channel, and softmax over two classes.

With $z$ the logit of "yes" (softmax: $z_1 - z_0$) and $v = (1 - 2y)\,z$ that of being wrong, everything follows from $E = e^v$:
$$ p_t = \frac{1}{1 + E}, \quad 1 - p_t = E\,p_t, \quad n = -\log p_t = \max(\log(1 + E), v), $$
each to a relative 1e-7 however saturated ($E$ is cut off where it would overflow, from where on $n = v$), only $n$ below 1 to an absolute
1e-7. One exponential and one logarithm a voxel, no `log1p` or `where`, which are several times slower on a CPU.

Any loss on the sums $S$ of the voxels of either label has the gradient
$$ \partial L/\partial z = (1 - 2y)\,w\,(1 - p_t)\,\Bigl( p_t\,(\partial L/\partial S_{1-p_t} - \partial L/\partial S_{p_t})
   + \sum_f f'(n)\,\partial L/\partial S_f \Bigr) $$
with the sums of the voxel's own label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from medseg.losses.blocks import BINARY_BLOCK, block_size, blocks, counting_dtype, working_dtype
from medseg.losses.once import differentiable_once
from medseg.losses.voxelwise import VoxelFunction, everywhere


class HardSigmoidSums(torch.autograd.Function):
    """Logits (B, C, N) and integer targets (B, C, N) -> sums (B, 3 + 2 functions, C) and counts (B, 2, C).

    Sums are TP, FP, FN and, for each voxel function, its total inside and outside the reference. Counts are the (weighted) voxels of the
    reference and of the channel. The weight map is (B, 1, N) or (B, C, N). For the backward only logits and target are kept.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, weight_map: Tensor | None, functions: tuple[VoxelFunction, ...], ignore_index: int | None
    ) -> tuple[Tensor, Tensor]:
        """Sums and counts of each sample."""
        ctx.save_for_backward(logits, target, weight_map)
        ctx.functions, ctx.ignore_index = functions, ignore_index
        yes, no = _label_sums(Questions(logits, None, target, weight_map, ignore_index), functions)
        (tp, volume, fn, *inside), (rest, fp, *outside) = yes, no
        voxelwise = [part for pair in zip(inside, outside, strict=True) for part in pair]
        sums, counts = torch.stack([tp, fp, fn, *voxelwise], 1), torch.stack([volume, volume + rest], 1)
        ctx.mark_non_differentiable(counts)
        return sums, counts

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad_sums: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the logits, from that of the sums."""
        logits, target, weight_map = ctx.saved_tensors
        tp, fp, fn, *voxelwise = grad_sums.to(working_dtype(logits)).unbind(1)
        yes, no = [fn - tp, *voxelwise[::2]], [fp, *voxelwise[1::2]]
        grad = torch.empty_like(logits)
        _label_gradients(grad, Questions(logits, None, target, weight_map, ctx.ignore_index), ctx.functions, yes, no)
        return grad, None, None, None, None


class PairSums(torch.autograd.Function):
    """Logits (B, 2, N) and class ids (B, N) -> sums and counts as `SoftmaxSums`: either class is the other's complement."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, ids: Tensor, weight_map: Tensor | None, functions: tuple[VoxelFunction, ...], ignore_index: int | None
    ) -> tuple[Tensor, Tensor]:
        """Sums and counts of each sample."""
        ctx.save_for_backward(logits, ids, weight_map)
        ctx.functions, ctx.ignore_index = functions, ignore_index
        second, first = _label_sums(_of_pair(logits, ids, weight_map, ignore_index), functions, right_no=True)
        hit, volume, miss, *inside = (torch.cat(classes, 1) for classes in zip(first, second, strict=True))  # each (B, 2)
        outside = [inside[functions.index(f)].flip(1) for f in everywhere(functions)]
        sums, counts = torch.stack([hit, miss.flip(1), miss, *inside, *outside], 1), torch.stack([volume, volume + volume.flip(1)], 1)
        ctx.mark_non_differentiable(counts)
        return sums, counts

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad_sums: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the logits, from that of the sums."""
        logits, ids, weight_map = ctx.saved_tensors
        functions = ctx.functions
        hit, wrong, miss, *rows = grad_sums.to(working_dtype(logits)).unbind(1)
        inside, outside = rows[: len(functions)], rows[len(functions) :]
        for f, slope in zip(everywhere(functions), outside, strict=True):
            inside[functions.index(f)] = inside[functions.index(f)] + slope.flip(1)
        slopes = [miss + wrong.flip(1) - hit, *inside]
        grad = torch.empty_like(logits)
        questions = _of_pair(logits, ids, weight_map, ctx.ignore_index)
        _label_gradients(grad[:, 1:], questions, functions, yes=[s[:, 1:] for s in slopes], no=[s[:, :1] for s in slopes])
        torch.neg(grad[:, 1], out=grad[:, 0])
        return grad, None, None, None, None


def _of_pair(logits: Tensor, ids: Tensor, weight_map: Tensor | None, ignore_index: int | None) -> Questions:
    weights = None if weight_map is None else weight_map.unsqueeze(1)
    return Questions(logits[:, 1:], logits[:, :1], ids.unsqueeze(1), weights, ignore_index)


def _label_sums(questions: Questions, functions: Sequence[VoxelFunction], *, right_no: bool = False) -> tuple[list[Tensor], list[Tensor]]:
    """Sums over the voxels labelled yes and over those labelled no: of p_t, of 1, of 1 - p_t and of each function, each (B, C).

    Without `right_no` those labelled no have no sum of p_t, the true negatives.
    """
    z = questions.logits
    sums = [z.new_zeros(rows + len(functions), *z.shape[:2], dtype=counting_dtype(z)) for rows in (3, 3 if right_no else 2)]
    with torch.autocast(z.device.type, enabled=False):
        for samples, span in questions.blocks():
            block = questions.block(samples, span)
            hit, miss, inverse = block.probabilities()
            n = block.log_loss(inverse) if functions else inverse
            parts = [block.split(value) for value in (None, miss, *(f.value(n, miss) for f in functions))]
            yes, no = ([part[label] for part in parts] for label in (0, 1))
            if right_no:
                right = block.split(hit)
                yes, no = [right[0], *yes], [right[1], *no]
            else:
                yes = [block.of_yes(hit).sum(-1), *yes]
            for total, rows in zip(sums, (yes, no), strict=True):
                total[:, samples].add_(torch.stack(rows))
    return list(sums[0]), list(sums[1])


def _label_gradients(grad: Tensor, questions: Questions, functions: Sequence[VoxelFunction], yes: list[Tensor], no: list[Tensor]) -> None:
    """Write the gradient (B, C, N), from the slopes (B, C) of the sums of 1 - p_t (less that of p_t) and of each function."""
    bases = [slope.unsqueeze(-1) for slope in no]
    rises = [(-ours - theirs).unsqueeze(-1) for ours, theirs in zip(yes, no, strict=True)]  # where y = 1, with the factor 1 - 2y in it
    with torch.autocast(grad.device.type, enabled=False):
        for samples, span in questions.blocks():
            block = questions.block(samples, span)
            hit, miss, inverse = block.probabilities()
            n = inverse if all(f.linear for f in functions) else block.log_loss(inverse)
            g = torch.mul(block.y, rises[0][samples], out=block.spare).add_(bases[0][samples]).mul_(hit)
            for f, rise, base in zip(functions, rises[1:], bases[1:], strict=True):
                table = torch.mul(block.y, rise[samples], out=hit).add_(base[samples])
                g = g.add_(table) if f.linear else g.addcmul_(table, f.slope(n, miss))
            if block.w is not None:
                g *= block.w
            if grad.dtype == g.dtype:
                torch.mul(g, miss, out=grad[samples, :, span])
            else:  # rounded once
                grad[samples, :, span] = g.mul_(miss)


class Questions:
    """Logits (B, C, N), less those of `other`, with hard labels and weights; cut into blocks that share buffers which stay in cache."""

    def __init__(self, logits: Tensor, other: Tensor | None, labels: Tensor, weights: Tensor | None, ignore_index: int | None) -> None:
        self.logits, self.other, self.given, self.weights, self.ignore_index = logits, other, labels, weights, ignore_index
        self.size = block_size(logits, BINARY_BLOCK)
        room = min(logits.numel(), self.size + logits.shape[1] * 256)
        self.buffers = torch.empty(6, room, dtype=working_dtype(logits), device=logits.device)
        self.loaded: dict[torch.Size, Block] = {}

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Samples and voxels of each block."""
        return blocks(self.logits, self.size)

    def block(self, samples: slice, span: slice) -> Block:
        """One block, loaded; it takes the memory of the one before."""
        piece, labels = self.logits[samples, :, span], self.given[samples, :, span]
        if piece.shape not in self.loaded:
            self.loaded[piece.shape] = Block(*(buffer[: piece.numel()].view(piece.shape) for buffer in self.buffers))
        block = self.loaded[piece.shape]
        block.w = None if self.weights is None else self.weights[samples, :, span].to(block.y.dtype)
        if self.ignore_index is not None:
            keep = labels != self.ignore_index
            labels = labels * keep
            block.w = keep.to(block.y.dtype) if block.w is None else block.w * keep
        block.y.copy_(labels)
        if labels.device.type != "cpu":  # where values are not checked before
            block.y.masked_fill_((block.y < 0) | (block.y > 1), torch.nan)
        if self.other is not None:
            piece = block.hit.copy_(piece).sub_(self.other[samples, :, span])
        elif piece.dtype != block.y.dtype:
            piece = block.hit.copy_(piece)
        torch.addcmul(piece, block.y, piece, value=-2, out=block.v)
        return block


class Block:
    """The quantities of the module's formula for some voxels, (b, C, k) each, and their weights (None: all 1)."""

    def __init__(self, y: Tensor, v: Tensor, miss: Tensor, hit: Tensor, inverse: Tensor, spare: Tensor) -> None:
        self.y, self.v, self.miss, self.hit, self.inverse, self.spare = y, v, miss, hit, inverse, spare
        self.w: Tensor | None = None

    def probabilities(self) -> tuple[Tensor, Tensor, Tensor]:
        """p_t, 1 - p_t and 1 / p_t."""
        limit = 87.0 if self.v.dtype == torch.float32 else 700.0  # the exponential is still finite
        torch.clamp_max(self.v, limit, out=self.miss).exp_()
        torch.add(self.miss, 1, out=self.inverse)
        torch.reciprocal(self.inverse, out=self.hit)
        self.miss *= self.hit
        return self.hit, self.miss, self.inverse

    def log_loss(self, inverse: Tensor) -> Tensor:
        """-log p_t, in the place of 1 / p_t."""
        return torch.maximum(inverse.log_(), self.v, out=inverse)

    def of_yes(self, value: Tensor) -> Tensor:
        """Value times weight where the label is yes, else 0; in a buffer that the next call overwrites."""
        value = torch.mul(value, self.y, out=self.spare)
        return value if self.w is None else value.mul_(self.w)

    def split(self, value: Tensor | None) -> tuple[Tensor, Tensor]:
        """Sums of a value (None: of 1), weighted, over the voxels labelled yes and over those labelled no."""
        if value is None:
            if self.w is None:
                yes = self.y.sum(-1)
                return yes, self.y.shape[-1] - yes
            value = self.w
        elif self.w is not None:
            value = value * self.w
        inside = torch.mul(value, self.y, out=self.spare)
        yes = inside.sum(-1)  # `dot` loses two digits
        return yes, torch.sub(value, inside, out=inside).sum(-1)  # voxel by voxel the value or exactly 0
