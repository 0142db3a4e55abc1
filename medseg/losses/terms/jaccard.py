"""Losses on the Jaccard index (intersection over union), and the forms of Jaccard and Dice that soft labels need.

At labels between 0 and 1 the usual soft counts are not best at $p = y$: they drive predictions to 0 or 1. `jaccard_metric` and
`dice_semimetric` measure with $|p - y|$ instead, are 0 just at $p = y$, and equal `jaccard` and `dice` on hard labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.losses.setting import Setting
from medseg.losses.statistics import Counts
from medseg.losses.term import check_range, ratio
from medseg.losses.terms.region import RegionTerm
from medseg.losses.view import View


class Jaccard(RegionTerm):
    r"""One minus the soft intersection over union: Dice that punishes a bad overlap harder; when IoU is what counts.

    $$ L = \frac1C \sum_c \frac{FP_c + FN_c}{TP_c + FP_c + FN_c + s} $$
    with $s$ `smooth`. It is $2d/(1+d)$ of the Dice loss $d$ (without smoothing), so has the same optimum, with up to twice its slope near
    it and half at the worst.

    Shape:
        Any that the sum takes; value a scalar in [0, 1].

    Empty foreground:
        `empty: smooth`: as `dice`, $S/(S+s)$ with $S$ the sum of the predictions; gradient $s/(S+s)^2$.

    Precision:
        As `dice`.

    Args:
        smooth: $s$ in voxels, >= 0; see `dice`.

    Source:
        Rahman & Wang, ISVC 2016. `tversky` with both weights 1.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "jaccard", "params": {"smooth": 0}}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # TP 1.3, FP 0.3, FN 0.7: 1 / 2.3
        0.434783
    """

    def __init__(self, setting: Setting, *, smooth: float = 1e-5) -> None:
        super().__init__(setting)
        self.smooth = check_range("smooth", smooth, 0)

    def region_loss(self, counts: Counts, counted: Tensor) -> Tensor:
        """The loss of each group and class."""
        error = counts.fp + counts.fn
        return ratio(error, counts.tp + error + self.smooth)


class JaccardMetric(RegionTerm):
    r"""Jaccard that is best at $p = y$ also for soft labels; for several raters, smoothed labels and distillation.

    $$ L = \frac1C \sum_c \frac{D_c}{M_c + D_c + s}, \qquad M_c = \sum w \min(p, y), \quad D_c = \sum w\,|p - y| $$
    with $w$ the weight map, $s$ `smooth`. On hard labels it is `jaccard`.

    Shape:
        Any that the sum takes; value a scalar in [0, 1].

    Empty foreground:
        `empty: smooth`: as `jaccard`. A reference is empty when all its soft labels are 0.

    Precision:
        Both sums are of non-negative elements, so the loss does not vanish in rounding. $|p - y|$ has a kink at $p = y$, where its slope
        is taken as 0.

    Args:
        smooth: $s$ in voxels, >= 0; see `dice`.

    Source:
        Wang, Ning, Blaschko, NeurIPS 2023 ("JML"), whose $1 - (|p|_1 + |y|_1 - |p-y|_1)/(|p|_1 + |y|_1 + |p-y|_1)$ this is, without $s$;
        `smooth` 1e-3 as in their code, which finds the hit as a difference of norms.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "jaccard_metric", "params": {"smooth": 0}}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.5, 0.2]]]), torch.tensor([[[0.8, 0.1]]])
        >>> round(loss(p.logit(), y).item(), 6)  # D = 0.3 + 0.1, M = 0.5 + 0.1
        0.4
    """

    hit_weight = 1.0

    def __init__(self, setting: Setting, *, smooth: float = 1e-3) -> None:
        super().__init__(setting)
        self.smooth = check_range("smooth", smooth, 0)

    def sums(self, view: View) -> Sequence[Tensor]:
        """What prediction and soft label have in common, and how much they differ."""
        if not view.soft:
            return view.samples.counts.tp, view.samples.counts.fp + view.samples.counts.fn
        p, y = view.voxels.probabilities, view.voxels.reference
        return view.sample_sums(torch.minimum(p, y)), view.sample_sums((p - y).abs())

    def region_loss(self, counts: Counts, counted: Tensor) -> Tensor:
        """The loss of each group and class."""
        common, different = counts.more
        return ratio(different, self.hit_weight * common + different + self.smooth)


class DiceSemimetric(JaccardMetric):
    r"""Dice that is best at $p = y$ also for soft labels; for several raters, smoothed labels and distillation.

    $$ L = \frac1C \sum_c \frac{D_c}{2\,M_c + D_c + s}, \qquad M_c = \sum w \min(p, y), \quad D_c = \sum w\,|p - y| $$
    with $w$ the weight map, $s$ `smooth`. On hard labels it is `dice`.

    Shape:
        Any that the sum takes; value a scalar in [0, 1].

    Empty foreground:
        `empty: smooth`: as `dice`. A reference is empty when all its soft labels are 0.

    Precision:
        As `jaccard_metric`.

    Args:
        smooth: $s$ in voxels, >= 0; see `dice`.

    Source:
        Wang et al., MICCAI 2023 ("DML"), $1 - (|p|_1 + |y|_1 - |p-y|_1)/(|p|_1 + |y|_1)$ without $s$; `smooth` 1e-3 as in their code.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "dice_semimetric", "params": {"smooth": 0}}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.5, 0.2]]]), torch.tensor([[[0.8, 0.1]]])
        >>> round(loss(p.logit(), y).item(), 6)  # D = 0.3 + 0.1, M = 0.5 + 0.1: 0.4 / 1.6
        0.25
    """

    hit_weight = 2.0
