"""A focal loss and a focal Tversky loss under one set of knobs."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from medseg.losses.powers import power
from medseg.losses.setting import Setting
from medseg.losses.statistics import Counts, Statistics
from medseg.losses.term import Term, check_range, ratio, region_mean
from medseg.losses.terms.tversky import tversky_loss
from medseg.losses.view import View
from medseg.losses.voxelwise import LOG_LOSS, FocalLogLoss, VoxelFunction


class UnifiedFocal(Term):
    r"""Focal loss plus focal Tversky with shared knobs, focused on the rare foreground; for strong imbalance and few knobs.

    $$ L = \lambda\,\frac{1}{\sum w} \sum w\,\delta_t\,(1 - p_t)^{\gamma_t}\,(-\log p_t)
         + (1 - \lambda)\,\frac1C \sum_c \left(\frac{E_c}{TP_c + E_c + s}\right)^{g_c},
       \qquad E_c = \delta\,FN_c + (1 - \delta)\,FP_c $$
    with $p_t$ the probability of the label that holds, $w$ the weight map, $\lambda$ `focal_share`, $\delta$ `fn_weight`, $\gamma$ `gamma`,
    $s$ `smooth`; $\delta_t = \delta$ where the label is a foreground class and $1 - \delta$ where it is background. `symmetric`:
    $\gamma_t = \gamma$ and $g_c = 1 - \gamma$ everywhere. `asymmetric`: $\gamma_t = 0$ on the foreground, whose voxels are never
    discounted, and $g_c = 1$ for the background, whose ratio is never amplified.

    The mean runs over all classes and the background, whatever `include_background` says. With sigmoid each channel is a problem of two
    classes, itself and its complement, and the voxelwise part a mean over voxels and channels.

    Shape:
        Any that the sum takes; value a scalar in [0, inf).

    Empty foreground:
        The voxelwise part goes on as ever. In the other part `empty` acts on each class as for region terms, on a background (a full
        image) as on others: `smooth`, $(1-\delta) S/((1-\delta) S + s)$ to the power, with $S$ the sum of the class' predictions; `skip`
        leaves that class out of the mean; `volume`, $S/N$; `batch`, the counts of the batch. The background's own ratio still acts.

    Precision:
        As `focal` and `focal_tversky` (a parabola below 1e-6 in place of the power): finite where the authors' code is not. The
        complement's $TN$ is $\sum w (1-y) - FP$ in float64: a difference, harmless since $FP$ stands beside it in the ratio.

    Args:
        variant: `asymmetric` or `symmetric`.
        focal_share: $\lambda$ in [0, 1].
        fn_weight: $\delta$ in [0, 1]; above 0.5 misses cost more than inventions. Of the background too, whose misses are inventions.
        gamma: $\gamma$ in [0, 1).
        smooth: $s$ in voxels, >= 0; see `dice`.

    Source:
        Yeung et al., CMIG 2022, as in the authors' code: $\lambda = 0.5$, $\delta = 0.6$, $\gamma = 0.5$. Versions exchange $\gamma$ with
        $1 - \gamma$, or $\lambda$ with $1 - \lambda$, which the defaults of 0.5 hide. MONAI's takes probabilities (its docstring says
        logits) and $\delta = 0.7$. With `focal_share` 0 it is the paper's focal Tversky part alone, with 1 its focal part.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "unified_focal", "params": {"smooth": 0}}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # focal 0.166584; Tversky of the background 0.46 / 2.16, of the lesion sqrt(0.54 / 1.84)
        0.271954
    """

    looks_at = ("reduce_over", "empty")
    join = 1e-6

    def __init__(
        self,
        setting: Setting,
        *,
        variant: Literal["asymmetric", "symmetric"] = "asymmetric",
        focal_share: float = 0.5,
        fn_weight: float = 0.6,
        gamma: float = 0.5,
        smooth: float = 1e-6,
    ) -> None:
        super().__init__(setting)
        if variant not in ("asymmetric", "symmetric"):
            raise ValueError(f"variant must be asymmetric or symmetric, got {variant!r}")
        if not 0 <= gamma < 1:
            raise ValueError(f"gamma must be at least 0 and below 1, got {gamma}")
        self.asymmetric = variant == "asymmetric"
        self.focal_share = check_range("focal_share", focal_share, 0, 1)
        self.fn_weight = check_range("fn_weight", fn_weight, 0, 1)
        self.exponent = 1.0 - gamma
        self.smooth = check_range("smooth", smooth, 0)
        self._focal: VoxelFunction = LOG_LOSS if gamma == 0 else FocalLogLoss(float(gamma))
        self._foreground: VoxelFunction = LOG_LOSS if self.asymmetric else self._focal
        self.functions = (self._focal, self._foreground)

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        region = region_mean(view, self._region_loss, classes=self._with_backgrounds)
        return self.focal_share * self._focal_loss(view.batch) + (1 - self.focal_share) * region

    def _focal_loss(self, batch: Statistics) -> Tensor:
        foreground = batch.inside[self._foreground]
        if self.setting.activation == "softmax":
            foreground, background = foreground[:, 1:], batch.inside[self._focal][:, :1]
            size = batch.counts.volume
        else:
            background, size = batch.outside[self._focal], batch.counts.size
        return ratio(self.fn_weight * foreground.sum() + (1 - self.fn_weight) * background.sum(), size.sum())

    def _with_backgrounds(self, counts: Counts) -> Counts:
        """All classes, each background before its foreground."""
        if self.setting.activation == "softmax":
            return counts
        pairs = zip(counts.complement().parts(), counts.parts(), strict=True)
        return Counts.of(torch.cat(pair, 1) for pair in pairs)

    def _region_loss(self, counts: Counts, _: Tensor) -> Tensor:
        loss = tversky_loss(counts, self.fn_weight, 1 - self.fn_weight, self.smooth)
        if not self.asymmetric:
            return power(loss, self.exponent, self.join)
        backgrounds = 1 if self.setting.activation == "softmax" else self.setting.num_classes
        return torch.cat([loss[:, :backgrounds], power(loss[:, backgrounds:], self.exponent, self.join)], 1)
