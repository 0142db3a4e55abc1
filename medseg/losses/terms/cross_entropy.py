"""Cross entropies: how surprising is each voxel's label; the steady partners of the region terms.

Means over the voxels that are not ignored, over the whole batch and all ranks, whatever `reduce_over` says: it concerns soft counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from medseg.losses.constants import Numbers
from medseg.losses.setting import Setting
from medseg.losses.term import Term, check_range, per_class, ratio
from medseg.losses.view import View
from medseg.losses.voxelwise import LOG_LOSS


class BinaryCrossEntropy(Term):
    r"""Punishes every voxel by how surprising its label is, each channel for itself; the steady partner of a region term.

    $$ L = \frac{\sum w\,[\,w_+\,y\,(-\log p) + (1 - y)\,(-\log(1 - p))\,]}{\sum w} $$
    over the voxels and channels of the batch: $p$ the sigmoid of the logit, $y \in [0, 1]$ the target (soft labels allowed), $w$ the
    weight map (1 without one), $w_+$ `pos_weight`.

    Shape:
        Logits and target (B, C, *spatial); value a scalar in [0, inf).

    Empty foreground:
        Nothing special: $-\log(1 - p)$ and its gradient $p / N$ on every voxel, $N$ the voxels and channels of the batch.

    Precision:
        From logits by $\mathrm{softplus}$: exact and with full gradient however saturated (a sigmoid followed by a logarithm is not).

    Args:
        pos_weight: Weight of the positives, one number or one a channel, >= 0; null is 1.

    Source:
        `pos_weight` as in torch's `BCEWithLogitsLoss`, whose mean this is. Needs sigmoid; for exclusive classes take `cross_entropy`.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "bce"}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # (-log 0.9 - log 0.4 - log 0.8 - log 0.9) / 4
        0.337539
    """

    activation = "sigmoid"
    sibling = "cross_entropy"
    functions = (LOG_LOSS,)

    def __init__(self, setting: Setting, *, pos_weight: float | Sequence[float] | None = None) -> None:
        super().__init__(setting)
        self.pos_weight = None if pos_weight is None else Numbers(per_class(pos_weight, setting.num_classes, "pos_weight"))

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        inside, outside = view.batch.inside[LOG_LOSS], view.batch.outside[LOG_LOSS]
        if self.pos_weight is not None:
            inside = inside * self.pos_weight.like(inside)
        return ratio((inside + outside).sum(), view.batch.counts.size.sum())


class BalancedBinaryCrossEntropy(Term):
    r"""Binary cross entropy that gives lesion and background of every image half a say each; for thin or tiny structures.

    $$ L = \frac{1}{|K|} \sum_{k \in K} \frac{\beta_k \sum w\,y\,(-\log p) + (1 - \beta_k) \sum w\,(1 - y)\,(-\log (1 - p))}{N_k},
       \qquad \beta_k = \min\Bigl(\max\Bigl(\frac{N_k - V_k}{N_k},\ m\Bigr),\ 1 - m\Bigr) $$
    over the images and channels $k$ that hold voxels, the sums over the voxels of $k$: $p$ the sigmoid, $y \in [0, 1]$ the target, $w$ the
    weight map, $N_k = \sum w$, $V_k = \sum w\,y$ and $m$ `minimum`. Always image by image, whatever `reduce_over` says.

    Shape:
        Logits and target (B, C, *spatial); value a scalar in [0, inf).

    Empty foreground:
        The paper's $\beta$ is 1 there: weight 0 for the background, so that false positives on an empty image would have no gradient at
        all. Clamped, the image counts as $m$ times its cross entropy, with gradient $m\,p / (N_k |K|)$ on every voxel; a full image
        likewise.

    Precision:
        As `bce`.

    Args:
        minimum: $m$ in [0, 0.5]: the least weight of either side. 0 is the paper's, 0.5 half of `bce`.

    Source:
        Xie & Tu, ICCV 2015, eq. 2: $\beta = |Y_-| / |Y|$ of each image. They sum over the voxels, here it is a mean; they do not clamp.
        Probabilities come out too high by the odds $\beta / (1 - \beta)$: look at the threshold. Needs sigmoid; for exclusive classes take
        `cross_entropy` with `class_weights`.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "balanced_bce"}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 0, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # (-0.75 log 0.9 - 0.25 (log 0.6 + log 0.8 + log 0.9)) / 4
        0.072213
    """

    activation = "sigmoid"
    sibling = "cross_entropy"
    functions = (LOG_LOSS,)

    def __init__(self, setting: Setting, *, minimum: float = 0.01) -> None:
        super().__init__(setting)
        self.minimum = check_range("minimum", minimum, 0, 0.5)

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        inside, outside, counts = view.samples.inside[LOG_LOSS], view.samples.outside[LOG_LOSS], view.samples.counts
        beta = ratio(counts.size - counts.volume, counts.size).clamp(self.minimum, 1 - self.minimum)
        means = ratio(beta * inside + (1 - beta) * outside, counts.size)
        return view.mean_over_ranks(means.sum(), (counts.size > 0).sum())


class CrossEntropy(Term):
    r"""Punishes every voxel by how surprising its class is; the steady partner of a region term.

    $$ L = \frac{\sum_x w_x \bigl[(1 - \epsilon)\,a_{t(x)}\,(-\log p_{t(x)}(x)) + \frac{\epsilon}{C} \sum_c a_c\,(-\log p_c(x))\bigr]}
                {\sum_x w_x\,a_{t(x)}}, \qquad p = \mathrm{softmax}(z + \tau \log \pi) $$
    over the voxels $x$ of the batch: $t$ the class, $z$ the logits, $a$ `class_weights`, $\epsilon$ `label_smoothing`, $\pi$
    `class_priors`, $\tau$ `adjustment`, $w$ the weight map (1 without one). Without the options, the plain mean of $-\log p_t$. A soft
    target $y$ mixes: $\sum_c y_c$ of what is said of class $t = c$.

    Shape:
        Logits (B, C, *spatial); ids (B, *spatial) or (B, 1, *spatial), or soft labels (B, C, *spatial) that sum to 1; value a scalar in
        [0, inf). With label smoothing (or soft labels) the least value is the entropy of the labels, not 0.

    Empty foreground:
        Nothing special: every voxel has a class. A voxel's gradient is of the order $1/N$, so small structures count for little, unless
        `class_weights` or `class_priors` say otherwise.

    Precision:
        $-\log p_t = \mathrm{logsumexp}(z) - z_t$, with full gradient however saturated. With label smoothing or priors on all voxels in
        float32 at once, at the price of their memory.

    Args:
        class_weights: One weight a class (background first), >= 0; null is 1 for all. Take them from the data set, not from a batch.
        label_smoothing: $\epsilon$ in [0, 1]: the share of the label that goes to all classes evenly; against overconfidence.
        class_priors: $\pi$, one positive number a class, of any common scale: how frequent it is in the training set. Logit adjustment:
            a rare class must win by a margin in training, so that the plain $z$, without the adjustment, predicts as if classes were
            equally frequent. The counterpart of `class_weights` that also moves a separable problem.
        adjustment: $\tau$ >= 0, how strongly; only with `class_priors`.

    Source:
        Normalised by the sum of weights as in torch; papers that divide by the number of voxels differ by a batch-dependent factor. Label
        smoothing as in torch's `cross_entropy`; Szegedy et al., CVPR 2016. `class_priors` is the logit adjusted softmax cross-entropy of
        Menon et al., ICLR 2021, with their $\tau$ and $\pi$. Needs softmax; for overlapping regions take `bce`.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "softmax", "terms": [{"name": "cross_entropy"}]}, num_classes=3)
        >>> p = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]).T.unsqueeze(0)  # one sample, 3 classes, 2 voxels
        >>> round(loss(p.log(), torch.tensor([[0, 1]])).item(), 6)  # (-log 0.5 - log 0.8) / 2
        0.458145
    """

    activation = "softmax"
    sibling = "bce"

    def __init__(
        self,
        setting: Setting,
        *,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        class_priors: Sequence[float] | None = None,
        adjustment: float = 1.0,
    ) -> None:
        super().__init__(setting)
        self.class_weights = None if class_weights is None else Numbers(per_class(class_weights, setting.num_classes, "class_weights"))
        self.label_smoothing = check_range("label_smoothing", label_smoothing, 0, 1)
        adjustment = check_range("adjustment", adjustment, 0)
        self.offsets: Numbers | None = None
        if class_priors is not None:
            priors = per_class(class_priors, setting.num_classes, "class_priors")
            if min(priors) == 0:
                raise ValueError(f"class_priors must be above 0, got {priors}")
            self.offsets = Numbers([adjustment * math.log(prior / sum(priors)) for prior in priors])
        elif adjustment != 1:
            raise ValueError("adjustment does nothing without class_priors")
        self.functions = () if self.label_smoothing or self.offsets else (LOG_LOSS,)

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        if not self.functions:
            return self._of_voxels(view)
        total, volume = view.batch.inside[LOG_LOSS], view.batch.counts.volume
        if self.class_weights is not None:
            weights = self.class_weights.like(total)
            total, volume = total * weights, volume * weights
        return ratio(total.sum(), volume.sum())

    def _of_voxels(self, view: View) -> Tensor:
        """With the options that sums by class cannot serve: they need all classes of a voxel, or other logits."""
        z = view.voxels.logits
        target = view.voxels.reference if view.soft else view.voxels.ids
        if self.offsets is not None:
            z = z + self.offsets.like(z).view(-1, *[1] * (z.ndim - 2))
        weights = None if self.class_weights is None else self.class_weights.like(z)
        losses = F.cross_entropy(z, target, weights, reduction="none", label_smoothing=self.label_smoothing).unsqueeze(1)
        if weights is None:
            return view.voxel_mean(losses)
        prices = (target.movedim(1, -1) * weights).sum(-1) if view.soft else weights[target]
        return view.mean_over_ranks(view.sample_sums(losses).sum(), view.sample_sums(prices.unsqueeze(1)).sum())
