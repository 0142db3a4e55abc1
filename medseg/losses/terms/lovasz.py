r"""Losses that optimise the Jaccard index of the hard segmentation, through the Lovász extension of the Jaccard set function.

Voxels are sorted by error, and each counts by how much the Jaccard loss rises when it becomes wrong after all worse ones. Other region
losses are ratios of soft counts; this one is exact on hard predictions and convex in the errors between. It costs a sort of all voxels
for each class, and needs a voxelwise loss beside it, or a network that already segments: alone it starts slowly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from medseg.losses.blocks import block_size, counting_dtype
from medseg.losses.once import differentiable_once
from medseg.losses.term import Term, ratio
from medseg.losses.view import View


class _Lovasz(Term):
    """The mean over classes and groups of the extension, minding empty references."""

    soft_targets = False
    looks_at = ("include_background", "reduce_over", "empty")
    margin: bool
    """Whether errors are the hinge of a margin, of logits; otherwise they are distances, of probabilities."""

    def _scores(self, view: View) -> Tensor:
        """What the errors are taken of, (B, K, *spatial)."""
        raise NotImplementedError

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        setting = self.setting
        over_samples = setting.reduce_over == "sample"
        loss, volume = self._extension(view, over_samples)
        absent = volume == 0
        if setting.empty == "batch" and over_samples:
            loss = torch.where(absent, self._extension(view, False)[0], loss)
        elif setting.empty == "volume":
            counts = view.samples.counts.foreground() if setting.drops_background else view.samples.counts
            fp, size = (part if over_samples else part.sum(0, keepdim=True) for part in (counts.fp, counts.size))
            loss = torch.where(absent, ratio(fp, size), loss)
        taken = ~absent if setting.empty == "skip" else _seen(view, over_samples).expand_as(absent)
        return view.mean_over_ranks(torch.where(taken, loss, 0.0).sum(), taken.sum())

    def _extension(self, view: View, over_samples: bool) -> tuple[Tensor, Tensor]:
        """Loss and reference volume (G, K) of each group, G samples or this rank's batch as one."""
        scores, voxels = self._scores(view), view.voxels
        classes = scores.shape[1]
        weight = voxels.valid if view.weight_map is None else voxels.weight
        if voxels.softmax:
            target = view.target.unsqueeze(1)
            labels = torch.arange(voxels.logits.shape[1], device=scores.device)[-classes:]
        else:
            target, labels = view.target, torch.ones(classes, dtype=torch.int64, device=scores.device)

        def grouped(volume: Tensor) -> Tensor:
            flat = volume.flatten(2)
            return flat if over_samples else flat.transpose(0, 1).flatten(1).unsqueeze(0)

        return _Extension.apply(grouped(scores), grouped(target), None if weight is None else grouped(weight), labels, self.margin)


def _seen(view: View, over_samples: bool) -> Tensor:
    """Whether any voxel of each group is left, (G, 1 or K)."""
    weight = view.voxels.weight
    if weight is None:
        return torch.ones(1, 1, dtype=torch.bool, device=view.logits.device)
    left = (weight > 0).flatten(2).any(-1)
    return left if over_samples else left.any(0, keepdim=True)


class LovaszHinge(_Lovasz):
    r"""The Jaccard loss of hard masks, made convex by a hinge, each channel for itself; to finish a network for IoU.

    $$ L = \frac1C \sum_c \sum_i e_i\,[J(i) - J(i-1)], \qquad e = \max(0, 1 - (2y - 1)\,z), \qquad
       J(i) = 1 - \frac{V - A_i}{V + B_i} $$
    over the voxels of a channel by falling error $e_i$: $A_i$ and $B_i$ the sums of $w\,y$ and $w\,(1 - y)$ of the first $i$, $V$ the sum
    of $w\,y$ of all, $J$ the Jaccard loss when just those are wrong; $z$ the logit, $w$ the weight map; the mean over the channels of the
    batch or of each sample.

    Shape:
        Any that the sum takes, with hard labels; value a scalar in [0, inf).

    Empty foreground:
        `empty: smooth`: the largest error, so that only the single worst voxel has a gradient (1). `skip` leaves the channel out; `volume`
        takes the fraction of voxels that the sigmoid predicts; `batch` what the channel has in the whole batch.

    Precision:
        Errors in float32, cumulative sums in int64 (float64 with a weight map), so exact for volumes of any size; equal errors stay in the
        order of memory, so that runs repeat. The gradient is in closed form and keeps one number a voxel. In distributed training "the
        batch" is here each rank's own share of it, which it sorts alone, and the ranks' values are averaged: with `reduce_over: batch` and
        `empty: batch` the loss depends on how the batch is spread.

    Args:
        None.

    Source:
        Berman, Rannen Triki, Blaschko, CVPR 2018, the jumps by their algorithm 1. The authors' code takes `reduce_over: sample`, smp sorts
        all channels of the batch as one. For exclusive classes take `lovasz_softmax`.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "lovasz_hinge"}]}, num_classes=1)
        >>> z, y = torch.tensor([[[2.0, -1.0, 0.5, -3.0]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(z, y).item(), 6)  # errors 0 2 1.5 0; J = 1/2, 2/3: 2 / 2 + 1.5 / 6
        1.25
    """

    activation = "sigmoid"
    sibling = "lovasz_softmax"
    margin = True

    def _scores(self, view: View) -> Tensor:
        """The logits: without a background there is nothing to leave out."""
        return view.voxels.logits


class LovaszSoftmax(_Lovasz):
    r"""The Jaccard loss of hard masks, extended to probabilities as tightly as convexity allows; to finish a network for IoU.

    $$ L = \frac1C \sum_c \sum_i e_i\,[J_c(i) - J_c(i-1)], \qquad e = |y_c - p_c| $$
    over the voxels by falling error of each class, with $J$ as in `lovasz_hinge`. On hard predictions it is one minus the IoU.

    Shape:
        Any that the sum takes, with hard labels; value a scalar in [0, 1].

    Empty foreground:
        As `lovasz_hinge`: with `empty: smooth` the largest probability that any voxel gives the absent class.

    Precision:
        As `lovasz_hinge`.

    Args:
        None.

    Source:
        Berman, Rannen Triki, Blaschko, CVPR 2018. Their code and smp average over all classes that are present, background too:
        `include_background: true`, `empty: skip`; smp returns no scalar when every voxel is ignored, and takes no half precision. For
        overlapping regions take `lovasz_hinge`.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "softmax", "terms": [{"name": "lovasz_softmax"}]}, num_classes=2)
        >>> p, y = torch.tensor([0.9, 0.4, 0.2, 0.1]), torch.tensor([[1, 1, 0, 0]])
        >>> round(loss(torch.stack([1 - p, p]).log().unsqueeze(0), y).item(), 6)  # errors .6 .2 .1 .1: .6/2 + .2/6 + .1/12 + .1/4
        0.366667
    """

    activation = "softmax"
    sibling = "lovasz_hinge"
    margin = False

    def _scores(self, view: View) -> Tensor:
        """The probabilities of the classes that take part."""
        p = view.voxels.probabilities
        return p[:, 1:] if self.setting.drops_background else p


class _Extension(torch.autograd.Function):
    """Value and reference volume (G, K) of scores (G, K, N); linear in the errors while their order holds, so its slopes are its jumps.

    Target (G, 1 or K, N) of integers, with `labels` (K) which of them stand for the classes; weight (G, 1 or K, N), boolean, floating or
    None.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, target: Tensor, weight: Tensor | None, labels: Tensor, margin: bool) -> tuple[Tensor, Tensor]:
        """The values, and the slopes beside them."""
        value, volume = (scores.new_empty(scores.shape[:2], dtype=counting_dtype(scores)) for _ in range(2))
        slopes = torch.empty_like(scores) if ctx.needs_input_grad[0] else None
        for rows in _rows(scores):
            y = _part(target, rows) == labels[rows[1]].unsqueeze(-1)
            w = None if weight is None else _part(weight, rows).expand_as(y)
            sign = y.to(scores.dtype).mul_(2).sub_(1)
            errors = (1 - sign * scores[rows]).clamp_min_(0) if margin else y.to(scores.dtype).addcmul_(sign, scores[rows], value=-1)
            if w is not None:
                errors.masked_fill_(w == 0, 0)
            errors, order = errors.sort(dim=-1, descending=True, stable=True)
            jumps, volume[rows] = _jumps(y.gather(-1, order), None if w is None else w.gather(-1, order), value.dtype)
            value[rows] = (errors * jumps).sum(-1)
            if slopes is not None:
                if margin:
                    jumps = torch.where(errors > 0, jumps, 0.0)
                slopes[rows] = torch.empty_like(sign).scatter_(-1, order, jumps.to(sign.dtype)).mul_(sign).neg_()
        ctx.save_for_backward(slopes)
        ctx.mark_non_differentiable(volume)
        return value, volume

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None, None, None]:
        """The gradient of the scores."""
        (slopes,) = ctx.saved_tensors
        return slopes * grad.to(slopes.dtype).unsqueeze(-1), None, None, None, None


def _jumps(y: Tensor, w: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """How much the Jaccard loss rises with each voxel, of labels and weights sorted by error (..., N), and the reference volume (...).

    A missed voxel adds w / U, an invented one w (V - A) / (U U'), with U = V + B after it and U' before: no differences of ratios.
    """
    exact = w is None or w.dtype == torch.bool  # counts, which are exact and repeatable in integers also on a GPU
    count_type = torch.int64 if exact else dtype
    missed, invented = ((part if w is None else part * w).to(count_type) for part in (y, ~y))
    missed_so_far, invented_so_far = missed.cumsum(-1), invented.cumsum(-1)
    volume = missed.sum(-1, keepdim=True)
    before = volume + (invented_so_far - invented)
    # Without any reference the first invented voxel spoils everything: a jump to 1.
    kept = torch.where(before > 0, (volume - missed_so_far).clamp_min_(0).to(dtype) / before, 1.0)
    union = (volume + invented_so_far).to(dtype)
    return (missed + invented * kept) / union.clamp_min_(torch.finfo(torch.float32).tiny), volume[..., 0]


def _rows(scores: Tensor) -> Iterator[tuple[slice, slice]]:
    """Groups and classes of each part of scores (G, K, N) that is sorted at once: whole rows, as many as fit a block."""
    number, classes, voxels = scores.shape
    rows = max(1, block_size(scores) // max(1, voxels))
    groups, step = max(1, rows // classes), min(rows, classes)
    for group in range(0, number, groups):
        for first in range(0, classes, step):
            yield slice(group, group + groups), slice(first, first + step)


def _part(volume: Tensor, rows: tuple[slice, slice]) -> Tensor:
    """Those rows of a tensor (G, 1 or K, N)."""
    groups, classes = rows
    return volume[groups] if volume.shape[1] == 1 else volume[groups, classes]
