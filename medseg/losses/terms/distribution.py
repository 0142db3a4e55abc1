"""Losses that compare the distribution of each voxel with its label: means over voxels, over the whole batch and all ranks.

They are means over the voxels that are not ignored, whatever `reduce_over` says: it concerns soft counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from medseg.losses.setting import Setting
from medseg.losses.term import Term, check_range, per_class, ratio
from medseg.losses.view import View
from medseg.losses.voxelwise import FocalLogLoss, LogLoss

LOG_LOSS = LogLoss()


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
        self.pos_weight = None if pos_weight is None else per_class(pos_weight, setting.num_classes, "pos_weight")

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        inside, outside = view.batch.inside[LOG_LOSS], view.batch.outside[LOG_LOSS]
        if self.pos_weight is not None:
            inside = inside * inside.new_tensor(self.pos_weight)
        return ratio((inside + outside).sum(), view.batch.counts.size.sum())


class CrossEntropy(Term):
    r"""Punishes every voxel by how surprising its class is; the steady partner of a region term.

    $$ L = \frac{\sum_x w_x\,a_{t(x)}\,(-\log p_{t(x)}(x))}{\sum_x w_x\,a_{t(x)}} $$
    over the voxels $x$ of the batch: $t$ the class, $p$ the softmax, $a$ `class_weights`, $w$ the weight map (1 without one).

    Shape:
        Logits (B, C, *spatial), ids (B, *spatial) or (B, 1, *spatial); value a scalar in [0, inf).

    Empty foreground:
        Nothing special: every voxel has a class. A voxel's gradient is of the order $1/N$, so small structures count for little.

    Precision:
        $-\log p_t = \mathrm{logsumexp}(z) - z_t$, with full gradient however saturated.

    Args:
        class_weights: One weight a class (background first), >= 0; null is 1 for all. Take them from the data set, not from a batch.

    Source:
        Normalised by the sum of weights as in torch; papers that divide by the number of voxels differ by a batch-dependent factor.
        Needs softmax; for overlapping regions take `bce`.

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
    functions = (LOG_LOSS,)

    def __init__(self, setting: Setting, *, class_weights: Sequence[float] | None = None) -> None:
        super().__init__(setting)
        self.class_weights = None if class_weights is None else per_class(class_weights, setting.num_classes, "class_weights")

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        total, volume = view.batch.inside[LOG_LOSS], view.batch.counts.volume
        if self.class_weights is not None:
            weights = total.new_tensor(self.class_weights)
            total, volume = total * weights, volume * weights
        return ratio(total.sum(), volume.sum())


class Focal(Term):
    r"""Cross entropy that hardly counts the voxels already right; for the many easy background voxels around small lesions.

    $$ L = \frac{\sum w\,\alpha_t\,(1 - p_t)^\gamma\,(-\log p_t)}{\sum w} $$
    with $p_t$ the probability of the label that holds: softmax, over voxels, $p_t$ of the voxel's class and $\alpha_t$ the weight of that
    class; sigmoid, over voxels and channels, $p_t = p$ and $\alpha_t = \alpha$ where $y = 1$, $p_t = 1 - p$ and $1 - \alpha$ where
    $y = 0$ (a soft target mixes the two). $w$ is the weight map. `gamma: 0` is cross entropy; softmax over two classes is the sigmoid of
    the logits' difference.

    Shape:
        As `cross_entropy` and `bce`; value a scalar in [0, inf).

    Empty foreground:
        Nothing special: the voxels' own gradients, small where the prediction is nearly right.

    Precision:
        From $\log p_t$, with $1 - p_t = -\mathrm{expm1}(\log p_t)$; finite for every `gamma` $\ge 0$, also below 1 at a perfect prediction.

    Args:
        gamma: How much easy voxels are discounted, >= 0.
        alpha: Sigmoid: weight of the positives in [0, 1], one number or one a channel. Softmax: one weight a class. Null is no weights.

    Source:
        Lin et al., ICCV 2017, eq. 5, $\gamma = 2$; their $\alpha = 0.25$ *lowers* the positives, so it is off by default. Divided by the
        number of voxels, not of positive anchors (RetinaNet) nor by the classes too (MONAI, kornia). Under softmax this is the softmax
        focal loss; MONAI's DiceFocalLoss and smp's multiclass mode apply sigmoids there, which a shift of all logits changes.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "focal", "params": {"gamma": 2.0}}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)
        0.085224
    """

    def __init__(self, setting: Setting, *, gamma: float = 2.0, alpha: float | Sequence[float] | None = None) -> None:
        super().__init__(setting)
        gamma = check_range("gamma", gamma, 0)
        self.functions = (LOG_LOSS if gamma == 0 else FocalLogLoss(gamma),)
        self.alpha: list[float] | None = None
        if alpha is not None:
            if setting.activation == "softmax" and isinstance(alpha, int | float):
                raise ValueError(f"alpha must be a list of one weight a class with softmax, got {alpha}")
            self.alpha = per_class(alpha, setting.num_classes, "alpha")
            if setting.activation == "sigmoid" and max(self.alpha) > 1:
                raise ValueError(f"alpha must lie in [0, 1] with sigmoid, got {alpha}")

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        (function,) = self.functions
        total = view.batch.inside[function]
        alpha = None if self.alpha is None else total.new_tensor(self.alpha)
        total = total if alpha is None else alpha * total
        if self.setting.activation == "softmax":
            return ratio(total.sum(), view.batch.counts.volume.sum())
        outside = view.batch.outside[function]
        total = total + (outside if alpha is None else (1 - alpha) * outside)
        return ratio(total.sum(), view.batch.counts.size.sum())
