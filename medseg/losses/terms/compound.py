"""Losses that their papers define as one: a voxelwise and a region part that belong together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.losses.constants import Numbers
from medseg.losses.powers import power
from medseg.losses.setting import Setting
from medseg.losses.statistics import Counts, Statistics
from medseg.losses.term import Term, check_range, per_class, ratio, region_mean
from medseg.losses.terms.region import dice_loss
from medseg.losses.view import View
from medseg.losses.voxelwise import LOG_LOSS, PowerLogLoss


class Combo(Term):
    r"""A cross entropy that prices misses against inventions, plus Dice: trades recall for precision at the voxels.

    $$ L = \alpha\,\frac{\sum w\,[\,\beta\,y\,(-\log p) + (1-\beta)\,(1-y)\,(-\log (1-p))\,]}{\sum w}
         + (1-\alpha)\,\bigl(\mathrm{DiceLoss} - [\text{no shift}]\bigr) $$
    over voxels and channels, with $\alpha$ `ce_share`, $\beta$ `fn_weight`, $w$ the weight map and DiceLoss that of `dice`. With softmax
    the cross entropy is that of the voxel's own class, $\beta\,(-\log p_t)$ for a foreground class and $(1-\beta)\,(-\log p_0)$ for the
    background: for two classes the same thing, and for more it has no second price for a voxel that is already in a wrong class.

    Shape:
        Any that the sum takes; value a scalar in [0, inf), from $-(1-\alpha)$ without `shift`.

    Empty foreground:
        The cross entropy goes on as ever, with weight $1-\beta$; the Dice part follows `empty` (`smooth`: $S/(S+1)$, gradient $1/(S+1)^2$).

    Precision:
        As `bce` or `cross_entropy`, and `dice`. The widely copied versions have a wrong sign or bracket at the background term.

    Args:
        ce_share: $\alpha$ in [0, 1].
        fn_weight: $\beta$ in [0, 1]: 0.5 is neutral (half of the plain cross entropy), above punishes misses, below inventions.
        smooth: Of the Dice part, in voxels, >= 0.
        shift: Add $1-\alpha$ to the paper's value, which is negative at its best, so that a perfect prediction has loss 0.

    Source:
        Taghanaki et al., CMIG 2019, eq. 3 as its author corrected it (the printed one misses a sign); `smooth` 1 from their code. Their
        code's `ce_w` is `fn_weight`, `ce_d_w` is `ce_share`. Best on ultrasound with $\beta = 0.7$ [second-hand].

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "combo", "params": {"smooth": 0}}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # 0.5 * 0.5 * 0.337539 + 0.5 * 0.277778
        0.223274
    """

    functions = (LOG_LOSS,)
    looks_at = ("include_background", "reduce_over", "empty")

    def __init__(self, setting: Setting, *, ce_share: float = 0.5, fn_weight: float = 0.5, smooth: float = 1.0, shift: bool = True) -> None:
        super().__init__(setting)
        self.ce_share = check_range("ce_share", ce_share, 0, 1)
        self.fn_weight = check_range("fn_weight", fn_weight, 0, 1)
        self.smooth = check_range("smooth", smooth, 0)
        self.shift = shift

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        region = region_mean(view, lambda counts, _: dice_loss(counts, self.smooth))
        value = self.ce_share * self._cross_entropy(view.batch) + (1 - self.ce_share) * region
        return value if self.shift else value - (1 - self.ce_share)

    def _cross_entropy(self, batch: Statistics) -> Tensor:
        inside = batch.inside[LOG_LOSS]
        if self.setting.activation == "sigmoid":
            total = self.fn_weight * inside + (1 - self.fn_weight) * batch.outside[LOG_LOSS]
            return ratio(total.sum(), batch.counts.size.sum())
        total = self.fn_weight * inside[:, 1:].sum() + (1 - self.fn_weight) * inside[:, 0].sum()
        return ratio(total, batch.counts.volume.sum())


class ExponentialLogarithmic(Term):
    r"""Dice and cross entropy on a logarithmic scale to a small power: pulls hard at the smallest of many structures.

    $$ L = w_D\,\frac1C \sum_c (-\ln D_c)^{\gamma_D} + w_C\,\frac{\sum_x w_x\,a_{t(x)}\,(-\ln p_{t(x)}(x))^{\gamma_C}}{\sum_x w_x},
       \qquad D_c = \frac{2\,TP_c + \epsilon}{2\,TP_c + FP_c + FN_c + \epsilon} $$
    with $w_D$ `dice_weight`, $w_C$ `ce_weight`, the exponents $\gamma$ and $a_c = \sqrt{\sum_k V_k / V_c}$ from the batch's reference
    volumes unless `class_weights` are given. With sigmoid every channel is a problem of two labels, each weighted by its own volume.

    Shape:
        Any that the sum takes; value a scalar in [0, inf).

    Empty foreground:
        The cross entropy goes on as ever; the Dice part follows `empty` (`smooth`: $\ln(1 + S/\epsilon)^{\gamma_D}$).

    Precision:
        $-\ln D = \ln(1 + (FP + FN)/(2\,TP + \epsilon))$, exact near 0 and alive near infinity. Below 1e-3 both powers are a parabola of the
        same value and slope, with slope 214 at 0 for an exponent of 0.3: finite where plain powers give NaN.

    Args:
        dice_weight: $w_D$ >= 0.
        ce_weight: $w_C$ >= 0.
        dice_exponent: $\gamma_D$ > 0.
        ce_exponent: $\gamma_C$ > 0.
        epsilon: $\epsilon$ in voxels, >= 0; a prior on structure size as `smooth` of `dice` is.
        class_weights: $a$, one a class: softmax background first, sigmoid of each channel's positives (its negatives then weigh 1).

    Source:
        Wong et al., MICCAI 2018, eq. 1 to 3, with $w_D$ .8, $w_C$ .2, $\gamma$ .3, $\epsilon$ 1; frequencies are those of the training
        set, and the background is a class like others (`include_background: true`). SegLoss takes the power of the mean Dice and a plain
        cross entropy.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "softmax", "include_background": True,
        ...                    "terms": [{"name": "exp_log", "params": {"epsilon": 0}}]}, num_classes=2)
        >>> p, y = torch.tensor([0.9, 0.4, 0.2, 0.1]), torch.tensor([[1, 1, 0, 0]])
        >>> round(loss(torch.stack([1 - p, p]).log().unsqueeze(0), y).item(), 6)
        0.737944
    """

    looks_at = ("include_background", "reduce_over", "empty")
    join = 1e-3

    def __init__(
        self,
        setting: Setting,
        *,
        dice_weight: float = 0.8,
        ce_weight: float = 0.2,
        dice_exponent: float = 0.3,
        ce_exponent: float = 0.3,
        epsilon: float = 1.0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(setting)
        self.dice_weight = check_range("dice_weight", dice_weight, 0)
        self.ce_weight = check_range("ce_weight", ce_weight, 0)
        self.dice_exponent = check_range("dice_exponent", dice_exponent, 0, above=True)
        exponent = check_range("ce_exponent", ce_exponent, 0, above=True)
        self.epsilon = check_range("epsilon", epsilon, 0)
        self.class_weights = None if class_weights is None else Numbers(per_class(class_weights, setting.num_classes, "class_weights"))
        self.functions = (LOG_LOSS if exponent == 1 else PowerLogLoss(exponent, self.join),)

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        region = region_mean(view, self._log_dice)
        return self.dice_weight * region + self.ce_weight * self._cross_entropy(view.batch)

    def _log_dice(self, counts: Counts, _: Tensor) -> Tensor:
        log_loss = torch.log1p(ratio(counts.fp + counts.fn, 2 * counts.tp + self.epsilon))
        return power(log_loss, self.dice_exponent, self.join)

    def _cross_entropy(self, batch: Statistics) -> Tensor:
        (function,) = self.functions
        inside, volume, size = batch.inside[function], batch.counts.volume, batch.counts.size
        given = None if self.class_weights is None else self.class_weights.like(inside)
        total = inside * (ratio(size, volume).sqrt() if given is None else given)
        if self.setting.activation == "softmax":
            return ratio(total.sum(), volume.sum())
        outside = batch.outside[function]
        total = total + (outside * ratio(size, size - volume).sqrt() if given is None else outside)
        return ratio(total.sum(), size.sum())
