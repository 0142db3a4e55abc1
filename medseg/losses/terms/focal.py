"""Cross entropies with another slope: less for the voxels already right (`focal`), or more for all (`poly`).

Means over the voxels that are not ignored, over the whole batch and all ranks, whatever `reduce_over` says.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from medseg.losses.constants import Numbers
from medseg.losses.setting import Setting
from medseg.losses.term import Term, check_range, per_class, ratio
from medseg.losses.view import View
from medseg.losses.voxelwise import LOG_LOSS, FocalLogLoss, MissPower


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
        self.alpha: Numbers | None = None
        if alpha is not None:
            if setting.activation == "softmax" and isinstance(alpha, int | float):
                raise ValueError(f"alpha must be a list of one weight a class with softmax, got {alpha}")
            weights = per_class(alpha, setting.num_classes, "alpha")
            if setting.activation == "sigmoid" and max(weights) > 1:
                raise ValueError(f"alpha must lie in [0, 1] with sigmoid, got {alpha}")
            self.alpha = Numbers(weights)

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        (function,) = self.functions
        total = view.batch.inside[function]
        alpha = None if self.alpha is None else self.alpha.like(total)
        total = total if alpha is None else alpha * total
        if self.setting.activation == "softmax":
            return ratio(total.sum(), view.batch.counts.volume.sum())
        outside = view.batch.outside[function]
        total = total + (outside if alpha is None else (1 - alpha) * outside)
        return ratio(total.sum(), view.batch.counts.size.sum())


class Poly(Term):
    r"""Cross entropy (or focal loss) plus the probability that missed the label; one number to tilt them by, cheap to tune.

    $$ L = \frac{\sum w\,\bigl[(1 - p_t)^\gamma\,(-\log p_t) + \epsilon\,(1 - p_t)^{\gamma + 1}\bigr]}{\sum w} $$
    with $p_t$ the probability of the label that holds, over voxels (softmax) or voxels and channels (sigmoid; a soft target mixes both
    labels), $\epsilon$ `epsilon` and $w$ the weight map. $-\log p_t = \sum_j (1 - p_t)^j / j$: $\epsilon$ changes the first coefficient,
    the one that rules the gradient near a right prediction.

    Shape:
        As `cross_entropy` and `bce`; value a scalar in [0, inf).

    Empty foreground:
        Nothing special: the voxels' own gradients; with $\gamma = 0$, $(1 + \epsilon\,(1 - p))\,p / N$ for a sigmoid.

    Precision:
        As `focal`; $1 - p_t = -\mathrm{expm1}(\log p_t)$. With $\epsilon = -1$ only half the square of a small error is left, and below
        errors of 1e-7, in float32, nothing.

    Args:
        epsilon: $\epsilon$ >= -1; below that the loss would be negative. 0 is cross entropy (`gamma: 0`) or `focal`.
        gamma: $\gamma$ >= 0, that of `focal`.

    Source:
        Leng et al., ICLR 2022: Poly-1 with $\gamma = 0$, Poly-1 focal with $\gamma = 2$; our `epsilon` is their
        $\epsilon_1$: 2 for ImageNet, -1 for detection, each found by a search. There is no established value for medical images.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "poly"}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # 0.337539 of bce, plus (0.1 + 0.6 + 0.2 + 0.1) / 4
        0.587539
    """

    def __init__(self, setting: Setting, *, epsilon: float = 1.0, gamma: float = 0.0) -> None:
        super().__init__(setting)
        self.epsilon = check_range("epsilon", epsilon, -1)
        gamma = check_range("gamma", gamma, 0)
        self.functions = (LOG_LOSS if gamma == 0 else FocalLogLoss(gamma), MissPower(gamma + 1))

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        log, miss = self.functions
        inside, outside, counts = view.batch.inside, view.batch.outside, view.batch.counts
        total = inside[log] + self.epsilon * inside[miss]
        number = counts.volume
        if self.setting.activation == "sigmoid":
            total, number = total + outside[log] + self.epsilon * outside[miss], counts.size
        return ratio(total.sum().clamp_min(0), number.sum())  # a negative epsilon can leave the rounding errors of two equal sums
