"""Losses of the voxels that are still wrong, and of no others: the hardest share of them, or those on the wrong side of a margin.

Means over the voxels that are not ignored, over the whole batch, whatever `reduce_over` says. A voxel that is right enough has no gradient.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor

from medseg.losses.blocks import counting_dtype
from medseg.losses.setting import Setting
from medseg.losses.term import Term, check_range, ratio
from medseg.losses.view import View


class TopK(Term):
    r"""Cross entropy of the hardest voxels only; for few difficult voxels among very many easy ones, also next to Dice.

    $$ L = \frac1K \sum_{x \in H} (-\log p_t(x)), \qquad K = |H| = \max(1, \lceil \tfrac{k}{100} N \rceil) $$
    with $k$ `percent` and $H$ the $K$ hardest of the $N$ voxels of the batch (sigmoid: elements, each channel's for itself). Ignored voxels
    are none of the $N$. With a weight map, the hardest voxels until their weights reach $k$ percent of all weight, rounded up to whole
    smallest weights; the last voxel counts for what is still missing, so that a weight of 2 is as good as the voxel twice. Voxels that tie
    for the last places share them.

    Shape:
        As `cross_entropy` and `bce`; value a scalar in [0, inf). At each level of deep supervision the hardest of that level.

    Empty foreground:
        Nothing special: the most confident false positives.

    Precision:
        As `bce` and `cross_entropy`. Finite on any patch: the common $\lfloor kN/100 \rfloor$ takes no voxel at all of a tiny one, whose
        mean is NaN. Chosen by one partial sort, a full one with a weight map; all voxels' losses are in memory.

    Args:
        percent: $k$ in [1e-6, 100]; 100 is cross entropy.

    Distributed training:
        Every process chooses from its own part of the batch, and the mean over all chosen voxels is taken: with $n$ processes not quite
        the hardest of the whole batch.

    Source:
        Wu, Shen, van den Hengel, 2016 (arXiv 1605.06885), by share and not by their threshold on $p_t$; 10 percent as in nnU-Net, which
        also pools over the batch.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "topk", "params": {"percent": 50}}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # (-log 0.4 - log 0.8) / 2
        0.569717
    """

    def __init__(self, setting: Setting, *, percent: float = 10.0) -> None:
        super().__init__(setting)
        self.share = Fraction(check_range("percent", percent, 1e-6, 100) / 100).limit_denominator(10**8)  # K exact: 0.1 is no binary number

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        losses, weight = view.voxels.log_loss, view.voxels.weight
        counts = counting_dtype(losses)
        weight = None if weight is None else weight.expand_as(losses)
        bar, amount = self._bar(losses.detach().flatten(), weight, whole=view.weight_map is None)
        above, level = losses > bar, losses == bar
        if weight is not None:
            above, level = above * weight, level * weight
        places = ratio(amount - above.sum(dtype=counts), level.sum(dtype=counts))
        taken = above + level * places.to(losses.dtype)
        return view.mean_over_ranks((losses * taken).sum(dtype=counts), amount)

    def _bar(self, losses: Tensor, weight: Tensor | None, *, whole: bool) -> tuple[Tensor, Tensor]:
        """The least loss among the hardest, and their weight; `whole` tells that weights are 0 or 1."""
        most, counts = math.ceil(self.share * len(losses)), counting_dtype(losses)
        if weight is None:
            return losses.topk(most, sorted=False).values.amin(), losses.new_full((), most, dtype=counts)
        weight = weight.flatten()
        if whole:  # how many are valid is known on the device only: take as many as there could be, and look up
            number = (self.share.numerator * (weight > 0).sum() + self.share.denominator - 1) // self.share.denominator
            hardest = torch.where(weight > 0, losses, -1.0).topk(most).values
            return hardest.gather(0, (number - 1).clamp_min(0).unsqueeze(0))[0], number.to(counts)
        hardest, order = losses.sort(descending=True)
        reached = weight[order].cumsum(0, dtype=counts)
        unit = torch.where(weight > 0, weight, torch.inf).amin().to(counts)
        wanted = unit * torch.ceil(self.share.numerator * reached[-1] / (self.share.denominator * unit) - 1e-9)
        amount = torch.where(reached[-1] > 0, wanted, 0.0).minimum(reached[-1])
        last = (reached < amount).sum().clamp_max(len(losses) - 1)
        return hardest.gather(0, last.unsqueeze(0))[0], amount


class Hinge(Term):
    r"""Asks every voxel to be right by a margin and then leaves it alone; decisions without probabilities.

    $$ L = \frac{\sum w\,\max(0,\ m - u)}{\sum w}, \qquad u = (2 y - 1)\,z $$
    over the voxels and channels of the batch: $z$ the logit, $y \in \{0, 1\}$ the target, $m$ `margin`, $w$ the weight map.

    Shape:
        Logits and target (B, C, *spatial), the target hard; value a scalar in [0, inf).

    Empty foreground:
        Nothing special: the gradient is $1/N$ on every voxel with $z > -m$, and none below.

    Precision:
        On the logits as they are; the gradient is $\pm 1/N$ or 0 exactly.

    Args:
        margin: $m$ > 0, in units of the logit: 1 asks for a probability of 0.73.

    Source:
        The support vector machine's (Cortes & Vapnik, 1995), voxel by voxel. It does not calibrate probabilities, and no segmentation
        study prefers it to cross entropy; the hinge that is used in segmentation is `lovasz_hinge`, on a region. Needs sigmoid.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "hinge"}]}, num_classes=1)
        >>> loss(torch.tensor([[[3.0, -0.5, 0.5, -2.0]]]), torch.tensor([[[1, 1, 0, 0]]])).item()  # (0 + 1.5 + 1.5 + 0) / 4
        0.75
    """

    activation = "sigmoid"
    sibling = "cross_entropy"
    soft_targets = False

    def __init__(self, setting: Setting, *, margin: float = 1.0) -> None:
        super().__init__(setting)
        self.margin = check_range("margin", margin, 0, above=True)

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        z, y = view.voxels.logits, view.voxels.reference
        return view.voxel_mean((self.margin - (2 * y - 1) * z).relu())
