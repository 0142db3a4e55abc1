"""Losses of each lesion by itself: a lesion of ten voxels counts as much as one of ten thousand.

A lesion is a connected component of the reference (8-connected in 2-D, 26-connected in 3-D) of one sample and foreground channel (with
softmax all channels but the first, whatever `include_background`, each against the rest; with sigmoid all). The terms differ in the region
that a lesion is judged in: `blob` all but the other lesions, `component` what is nearer to it than to any other. Images without lesions are
invisible to them, so add them to a term that sees the whole image. All lesions are served by one scatter into sums a region; components are
maps of the target, made by the data pipeline's workers (see `maps.py`).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from medseg.losses.blocks import counting_dtype
from medseg.losses.setting import Setting
from medseg.losses.term import Term, check_range, ratio
from medseg.losses.view import View
from medseg.losses.voxels import Voxels

Inner = Literal["dice", "dice_ce"]


class InstanceTerm(Term):
    """The mean over the lesions' regions of a loss on the sums of each."""

    soft_targets = False
    looks_at = ("reduce_over",)

    def __init__(self, setting: Setting, *, inner: Inner = "dice", smooth: float = 1e-5) -> None:
        super().__init__(setting)
        if inner not in ("dice", "dice_ce"):
            raise ValueError(f"inner must be dice or dice_ce, got {inner!r}")
        self.inner = inner
        self.smooth = check_range("smooth", smooth, 0)

    def numbered(self, view: View) -> tuple[Tensor, int]:
        """A number of each voxel (B, F, *spatial), int64, and how many numbers there are."""
        raise NotImplementedError

    def split(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Of sums by number (B, F, numbers): those inside each lesion (B, F, lesions), and over the rest of each lesion's region."""
        raise NotImplementedError

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        voxels, weight = view.voxels, view.voxels.foreground_weight
        numbers, count = self.numbered(view)
        index = _apart(numbers, count)

        def sums(values: Tensor) -> tuple[Tensor, Tensor]:
            values = values if weight is None else values * weight
            return self.split(_sums(values, index, count))

        p = voxels.probabilities[:, self.setting.foreground]
        hit, false = sums(p)
        missed, right = sums(1 - p)
        loss = ratio(false + missed, 2 * hit + false + missed + self.smooth)
        if self.inner == "dice_ce":
            size = (hit + missed + false + right).detach()  # p and 1 - p of every voxel
            inside, outside = sums(one_vs_rest_log_loss(voxels))
            loss = loss + ratio(inside + outside, size)
        present = (hit + missed).detach() > 0  # a coarse level may have lost a lesion
        loss = torch.where(present, loss, 0.0)
        if self.setting.reduce_over == "batch":
            return view.mean_over_ranks(loss.sum(), present.sum())
        number = present.sum(2)
        return view.mean_over_ranks((loss.sum(2) / number.clamp_min(1)).sum(), (number > 0).sum())


class Blob(InstanceTerm):
    r"""Every lesion has a Dice of its own, in the image without the other lesions; for many lesions of unequal size.

    $$ L = \frac1K \sum_{k=1}^{K} \ell(p,\,y_k;\ \Omega \setminus \textstyle\bigcup_{j \neq k} B_j), \qquad
       \ell_{dice} = \frac{FP + FN_k}{2\,TP_k + FP + FN_k + s} $$
    over the lesions $B_k$ of the batch, $y_k$ the indicator of lesion $k$, sums in the region that stands behind the semicolon, $s$
    `smooth`: $TP_k$, $FN_k$ those of lesion $k$, $FP$ all false positives of the sample and channel, once for each lesion.
    `inner: dice_ce` adds the mean over the region's voxels of $-\log p$ inside the lesion and $-\log(1 - p)$ outside. `reduce_over: batch`:
    all lesions count equally; `sample`: the mean over a sample's and channel's lesions, then over those that have any.

    Shape:
        Any that the sum takes, hard labels only; value a scalar in [0, 1] with `inner: dice`, in [0, inf) with `dice_ce`.

    Empty foreground:
        A sample and channel without lesions is not in the mean; without any lesion value and gradient are 0. Needs a global term beside it.

    Precision:
        Products in float32, sums by lesion in float64. One number, the largest count of lesions, is read from the device in a step.

    Args:
        inner: Loss of a region: `dice`, or `dice_ce` for the sum of Dice and one-vs-rest cross entropy.
        smooth: $s$ in voxels, >= 0. Lesions are small: keep it far below one voxel.

    Source:
        Kofler et al., IPMI 2023, eq. 2; their global term is a term of its own here, weights 2 and 1. The authors' code loops over lesions
        and sets the *logits* of other lesions to 0, that is p to 1/2, which costs 0.49 on a perfect prediction.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "blob", "params": {"smooth": 0}}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1, 0.8]]]), torch.tensor([[[1, 1, 0, 0, 1]]])
        >>> round(loss(p.logit(), y).item(), 6)  # FP .3; (.3 + .7) / (2.6 + .3 + .7) and (.3 + .2) / (1.6 + .3 + .2)
        0.257937
    """

    maps = ("components",)

    def numbered(self, view: View) -> tuple[Tensor, int]:
        """Its lesion's number, 0 outside."""
        components = view.voxels.map("components").long()
        return components, int(components.amax()) + 1

    def split(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Inside each lesion, and outside all."""
        return sums[..., 1:], sums[..., :1].expand_as(sums[..., 1:])


class Component(InstanceTerm):
    r"""Every lesion has a Dice of its own, in the part of the image nearest to it; false alarms cost only their neighbours.

    $$ L = \frac1K \sum_{k=1}^{K} \ell(p,\,y;\ V_k), \qquad
       \ell_{dice} = \frac{FP_k + FN_k}{2\,TP_k + FP_k + FN_k + s} $$
    over the lesions of the batch, with $V_k$ the voxels nearer to lesion $k$ than to any other of its sample and channel (by `spacing`, in
    mm; in voxels without), sums in $V_k$, $s$ `smooth`. `inner: dice_ce` adds the mean over the voxels of $V_k$ of $-\log p$ inside the
    lesion and $-\log(1 - p)$ outside. `reduce_over: batch`: all lesions count equally; `sample`: the mean over a sample's and channel's
    lesions, then over those that have any.

    Shape:
        Any that the sum takes, hard labels only; value a scalar in [0, 1] with `inner: dice`, in [0, inf) with `dice_ce`.

    Empty foreground:
        As `blob`.

    Precision:
        As `blob`. A voxel as near to two lesions belongs to one of them.

    Args:
        inner: Loss of a region: `dice`, or `dice_ce`, the paper's, for the sum of Dice and one-vs-rest cross entropy.
        smooth: $s$ in voxels, >= 0; see `blob`.

    Source:
        CC-DiceCE: Bouteille et al., 2025 (arXiv 2511.17146), on the regions of CC-Metrics, Jaus et al., AAAI 2025; classes one against the
        rest. The papers add a global Dice and cross entropy: terms of their own here.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "component", "params": {"smooth": 0}}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1, 0.8]]]), torch.tensor([[[1, 1, 0, 0, 1]]])
        >>> round(loss(p.logit(), y).item(), 6)  # (.2 + .7) / (2.6 + .2 + .7) and (.1 + .2) / (1.6 + .1 + .2)
        0.207519
    """

    maps = ("cells",)

    def numbered(self, view: View) -> tuple[Tensor, int]:
        """Twice the number of the nearest lesion, one more inside it; below 2 without lesions."""
        cells = view.voxels.map("cells").long()
        return 2 * cells + view.voxels.masks, 2 * int(cells.amax()) + 2

    def split(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Inside each lesion, and over the rest of its cell."""
        return sums[..., 3::2], sums[..., 2::2]


def _apart(numbers: Tensor, count: int) -> Tensor:
    """Numbers (B, F, *spatial) below `count` made different for each sample and channel, flat."""
    channels = numbers.shape[0] * numbers.shape[1]
    first = torch.arange(channels, device=numbers.device).mul_(count).unsqueeze(1)
    return (numbers.reshape(channels, -1) + first).flatten()


def _sums(values: Tensor, index: Tensor, count: int) -> Tensor:
    """Sums (B, F, count) of values (B, F, *spatial) by their number."""
    sums = torch.zeros(values.shape[0] * values.shape[1] * count, dtype=counting_dtype(values), device=values.device)
    return sums.index_add(0, index, values.flatten().to(sums.dtype)).view(*values.shape[:2], count)


def one_vs_rest_log_loss(voxels: Voxels) -> Tensor:
    """-log p where a foreground channel's reference holds, -log(1 - p) elsewhere, (B, F, *spatial)."""
    foreground = voxels.setting.foreground
    if not voxels.softmax:
        return voxels.log_loss[:, foreground]
    log_p = voxels.logits.log_softmax(1)
    log_q = log_p.flip(1) if log_p.shape[1] == 2 else _log_complement(log_p, voxels.probabilities)
    return -torch.where(voxels.reference > 0.5, log_p, log_q)[:, foreground]


def _log_complement(log_p: Tensor, p: Tensor) -> Tensor:
    """log(1 - p) of a softmax (B, C, *spatial)."""
    # 1 - p is exact enough up to here. The complement of the one probability that may lie beyond is the sum of the others.
    certain = p.detach() > 0.75
    others = log_p.masked_fill(certain, -torch.inf).logsumexp(1, keepdim=True)
    return torch.where(certain, others, torch.log1p(-p.masked_fill(certain, 0.0)))
