"""Losses on the overlap of predicted and reference regions, from soft counts of each class.

Written as error over error plus hit, never as one minus a score: exactly 0 when there is no error, never negative. TP, FP, FN are the soft
counts of `Counts`; where a reference is empty, the sum's `empty` option decides (`term.region_mean`).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from medseg.losses.powers import power
from medseg.losses.setting import Setting
from medseg.losses.statistics import Counts
from medseg.losses.term import Term, check_range, ratio, region_mean
from medseg.losses.view import View


def dice_loss(counts: Counts, smooth: float) -> Tensor:
    """(FP + FN) / (2 TP + FP + FN + smooth) of each class."""
    error = counts.fp + counts.fn
    return ratio(error, 2 * counts.tp + error + smooth)


class RegionTerm(Term):
    """The mean over classes of a loss on the counts of each."""

    def region_loss(self, counts: Counts, counted: Tensor) -> Tensor:
        """The loss (G, C) of each group and class; `counted` (G, C) tells which classes take part."""
        raise NotImplementedError

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        return region_mean(view, self.region_loss)


class Dice(RegionTerm):
    r"""One minus the soft Dice score: rewards overlap whatever a structure's size; the default for imbalanced classes.

    $$ L = \frac1C \sum_c \frac{FP_c + FN_c}{2\,TP_c + FP_c + FN_c + s}
         = 1 - \frac1C \sum_c \frac{2\,TP_c + s}{\sum p_c + \sum y_c + s} $$
    with $s$ `smooth`; the mean over the classes (without background, unless `include_background`) of the batch or of each sample.

    Shape:
        Any that the sum takes; value a scalar in [0, 1].

    Empty foreground:
        `empty: smooth`: $S/(S+s)$ with $S$ the sum of the predictions; gradient $s/(S+s)^2$, which for the default $s$ has vanished
        (1e-5 at $S = 1$). See `region_mean` for the other options.

    Precision:
        Counts are sums of non-negative products in float32 blocks and float64 totals, for any dtype of the logits.

    Args:
        smooth: $s$ in voxels, >= 0. Not a numerical epsilon but a prior on lesion size: regions of fewer voxels hardly count.

    Source:
        Drozdzal et al., DLMIA 2016 (linear denominator); `smooth` as in nnU-Net and MONAI (1e-5). Milletari's squared form is another loss.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "dice", "params": {"smooth": 0}}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # TP 1.3, FP 0.3, FN 0.7: 1 / 3.6
        0.277778
    """

    def __init__(self, setting: Setting, *, smooth: float = 1e-5) -> None:
        super().__init__(setting)
        self.smooth = check_range("smooth", smooth, 0)

    def region_loss(self, counts: Counts, counted: Tensor) -> Tensor:
        """The loss of each group and class."""
        return dice_loss(counts, self.smooth)


class Tversky(RegionTerm):
    r"""Dice with a price of its own for what is missed and what is invented; for lesions that must not be missed.

    $$ L = \frac1C \sum_c \frac{E_c}{TP_c + E_c + s}, \qquad E_c = w_{FN}\,FN_c + w_{FP}\,FP_c $$
    with $s$ `smooth`. Weights .5/.5 give Dice (with $2s$), 1/1 Jaccard; weights that sum to 1 give the $F_\beta$ loss.

    Shape:
        Any that the sum takes; value a scalar in [0, 1].

    Empty foreground:
        `empty: smooth`: with $S$ the sum of the predictions, $w_{FP} S / (w_{FP} S + s)$, gradient $w_{FP}\,s/(w_{FP} S + s)^2$.

    Precision:
        As `dice`.

    Args:
        fn_weight: $w_{FN}$, price of a missed voxel, >= 0.
        fp_weight: $w_{FP}$, price of an invented voxel, >= 0.
        smooth: $s$ in voxels, >= 0; see `dice`.

    Source:
        Salehi, Erdogmus, Gholipour, MLMI 2017, eq. 3: their $\alpha$ is `fp_weight` (0.3), $\beta$ is `fn_weight` (0.7); so in MONAI, smp,
        kornia. Abraham & Khan call the FN weight $\alpha$. For the background class the two swap roles: leave it out, as is the default.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "tversky", "params": {"smooth": 0}}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # E = 0.7 * 0.7 + 0.3 * 0.3 = 0.58: 0.58 / 1.88
        0.308511
    """

    def __init__(self, setting: Setting, *, fn_weight: float = 0.7, fp_weight: float = 0.3, smooth: float = 1e-5) -> None:
        super().__init__(setting)
        self.fn_weight = check_range("fn_weight", fn_weight, 0)
        self.fp_weight = check_range("fp_weight", fp_weight, 0)
        if self.fn_weight + self.fp_weight == 0:
            raise ValueError("fn_weight and fp_weight must not both be 0")
        self.smooth = check_range("smooth", smooth, 0)

    def region_loss(self, counts: Counts, counted: Tensor) -> Tensor:
        """The loss of each group and class."""
        error = self.fn_weight * counts.fn + self.fp_weight * counts.fp
        return ratio(error, counts.tp + error + self.smooth)


class FocalTversky(Tversky):
    r"""Tversky to a power, class by class; the published choice for small lesions in ultrasound and dermoscopy.

    $$ L = \frac1C \sum_c \left(\frac{E_c}{TP_c + E_c + s}\right)^{g} $$
    with $g$ `exponent` and $E_c$ as in `tversky`. An exponent below 1 *amplifies* the nearly solved classes (its slope grows towards 0)
    and one above 1 suppresses them: the paper's 0.75 does the former, whatever "focal" suggests.

    Shape:
        Any that the sum takes; value a scalar in [0, 1].

    Empty foreground:
        As `tversky`, to the power; the gradient at $S$ predicted voxels is $g\,x^{g-1}$ times that of `tversky`, of value $x$.

    Precision:
        Below 1e-6 the power is replaced by a parabola of the same value and slope (`powers.power`), so that the slope at 0 is 40 and not
        infinite: value and gradient are finite at a perfect prediction and on an empty image, where a plain power gives NaN.

    Args:
        fn_weight: Price of a missed voxel, >= 0.
        fp_weight: Price of an invented voxel, >= 0.
        exponent: $g$ > 0; null is 0.75.
        paper_gamma: The paper's $\gamma = 1/g$, in place of `exponent`.
        smooth: $s$ in voxels, >= 0; see `dice`.

    Source:
        Abraham & Khan, ISBI 2019, eq. 4 with $\gamma = 4/3$: `exponent` $= 1/\gamma = 0.75$; `fn_weight` 0.7, `fp_weight` 0.3, `smooth` 1
        from the authors' code, where the exponent itself is called gamma. smp applies the power after the mean over classes.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "focal_tversky", "params": {"smooth": 0}}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # 0.308511 ** 0.75
        0.413955
    """

    def __init__(
        self,
        setting: Setting,
        *,
        fn_weight: float = 0.7,
        fp_weight: float = 0.3,
        exponent: float | None = None,
        paper_gamma: float | None = None,
        smooth: float = 1.0,
    ) -> None:
        super().__init__(setting, fn_weight=fn_weight, fp_weight=fp_weight, smooth=smooth)
        if exponent is not None and paper_gamma is not None:
            raise ValueError("exponent and paper_gamma are the same thing (exponent = 1 / paper_gamma); give one")
        if paper_gamma is not None:
            exponent = 1 / check_range("paper_gamma", paper_gamma, 0, above=True)
        self.exponent = check_range("exponent", 0.75 if exponent is None else exponent, 0, above=True)

    def region_loss(self, counts: Counts, counted: Tensor) -> Tensor:
        """The loss of each group and class."""
        return power(super().region_loss(counts, counted), self.exponent, join=1e-6)


class GeneralizedDice(RegionTerm):
    r"""One Dice ratio over all classes, each weighted against its volume; for classes of very different sizes.

    $$ L = \frac{\sum_c g_c\,(FP_c + FN_c)}{\sum_c g_c\,(2\,TP_c + FP_c + FN_c) + s}, \qquad
       g_c = \frac{V_c^{-k}}{\sum_{present} V^{-k}} $$
    with $V_c$ the reference volume, $s$ `smooth`, $k$ = 2 (`square`), 1 (`simple`) or 0 (`uniform`). A class without reference gets the
    largest weight of those present; when none is present all weights are 1. With a single class the weight cancels: Dice.

    Shape:
        Any that the sum takes; value a scalar in [0, 1].

    Empty foreground:
        `empty: smooth`: an absent class stays in the ratio with the largest weight present, so its false positives cost as much as those of
        the smallest structure; when all are absent $S/(S+s)$. `skip` and `volume` take absent classes out of the ratio; `volume` adds the
        fraction of voxels predicted for them, each class counting as one of C.

    Precision:
        Weights are normalised before smoothing, so that `smooth` means voxels whatever the volumes. Weights of 1e5 and more for absent
        classes, as in public code, make the gradient of the present ones vanish.

    Args:
        weighting: How strongly volume discounts a class: `square`, `simple`, `uniform`.
        smooth: $s$ in voxels of the classes that dominate the weights, >= 0.

    Source:
        Sudre et al., DLMIA 2017, eq. 3 (`square`), whose sum includes the background (`include_background: true`); weights of absent
        classes as in NiftyNet and MONAI. Even so a small structure has far more gradient than a large one.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "softmax", "include_background": True,
        ...                    "terms": [{"name": "generalized_dice", "params": {"smooth": 0}}]}, num_classes=2)
        >>> p, y = torch.tensor([0.9, 0.4, 0.2, 0.1]), torch.tensor([[1, 1, 0, 0]])
        >>> round(loss(torch.stack([1 - p, p]).log().unsqueeze(0), y).item(), 6)  # both volumes 2: (1 + 1) / (3.6 + 4.4)
        0.25
    """

    def __init__(self, setting: Setting, *, weighting: Literal["square", "simple", "uniform"] = "square", smooth: float = 1e-5) -> None:
        super().__init__(setting)
        powers = {"square": 2, "simple": 1, "uniform": 0}
        if weighting not in powers:
            raise ValueError(f"weighting must be one of {', '.join(powers)}, got {weighting!r}")
        self.power = powers[weighting]
        self.smooth = check_range("smooth", smooth, 0)

    def region_loss(self, counts: Counts, counted: Tensor) -> Tensor:
        """The joint ratio of each group, repeated for its classes."""
        present = counts.volume > 0
        weights = torch.where(present, counts.volume.clamp_min(1e-30) ** -self.power, 0.0)
        weights = torch.where(present, weights, weights.amax(1, keepdim=True))
        weights = ratio(weights, (weights * present).sum(1, keepdim=True))
        weights = torch.where(present.any(1, keepdim=True), weights, 1.0) * counted
        error = (weights * (counts.fp + counts.fn)).sum(1, keepdim=True)
        hit = (weights * counts.tp).sum(1, keepdim=True)
        return ratio(error, 2 * hit + error + self.smooth).expand_as(counts.tp)
