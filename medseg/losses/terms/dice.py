"""Losses on the Dice score: twice the overlap beside the two regions' sizes.

`dice` is the default. `squared_dice` and `dice_plus_plus` hardly count timid false positives, for better calibrated probabilities;
`log_cosh_dice` flattens the last steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.losses.setting import Setting
from medseg.losses.statistics import Counts
from medseg.losses.term import check_range, ratio
from medseg.losses.terms.region import RegionTerm, dice_loss
from medseg.losses.view import View
from medseg.losses.voxelwise import SQUARED_MISS, MissPower


class Dice(RegionTerm):
    r"""One minus the soft Dice score: rewards overlap whatever a structure's size; the default for imbalanced classes.

    $$ L = \frac1C \sum_c \frac{FP_c + FN_c}{2\,TP_c + FP_c + FN_c + s}
         = 1 - \frac1C \sum_c \frac{2\,TP_c + s}{\sum p_c + \sum y_c + s} $$
    with $s$ `smooth`; the mean over the classes (without background, unless `include_background`) of the batch or of each sample.

    Shape:
        Any that the sum takes; value a scalar in [0, 1].

    Empty foreground:
        `empty: smooth`: $S/(S+s)$ with $S$ the sum of the predictions; gradient $s/(S+s)^2$, which for the default $s$ has vanished
        (1e-5 at $S = 1$).

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


class _ErrorDice(RegionTerm):
    """Dice of another error than FP + FN, the only one of its `sums`."""

    def __init__(self, setting: Setting, *, smooth: float = 1e-5) -> None:
        super().__init__(setting)
        self.smooth = check_range("smooth", smooth, 0)

    def region_loss(self, counts: Counts, counted: Tensor) -> Tensor:
        """The loss of each group and class."""
        (error,) = counts.more
        return ratio(error, 2 * counts.tp + error + self.smooth)


class SquaredDice(_ErrorDice):
    r"""The Dice of V-Net, with squared sizes: forgives timid false positives, for better calibrated probabilities.

    $$ L = \frac1C \sum_c \frac{E_c}{2\,TP_c + E_c + s}, \qquad E_c = \sum w\,(p - y)^2 $$
    with $w$ the weight map, $s$ `smooth`: $1 - (2\,TP + s)/(\sum w p^2 + \sum w y^2 + s)$. With soft labels too it is 0 just at $p = y$. A
    false positive's price $p^2$ vanishes with its slope as $p \to 0$; a voxel missed
    altogether pulls up to twice as hard as in `dice`.

    Shape:
        Any that the sum takes; value a scalar in [0, 1].

    Empty foreground:
        `empty: smooth`: $Q/(Q+s)$ with $Q = \sum w p^2$; gradient of a voxel $2 p s/(Q+s)^2$.

    Precision:
        $E$ is the sum of $(1-p)^2$ over the reference and of $p^2$ outside it, from the one pass; with soft labels from the voxels.

    Args:
        smooth: $s$ in voxels, >= 0; see `dice`.

    Source:
        Milletari et al., 3DV 2016; MONAI's `squared_pred`. `dice_plus_plus` with exponent 2.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "squared_dice", "params": {"smooth": 0}}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # E = 0.01 + 0.36 + 0.04 + 0.01 = 0.42: 0.42 / 3.02
        0.139073
    """

    functions = (SQUARED_MISS,)

    def sums(self, view: View) -> Sequence[Tensor]:
        """The squared error."""
        if view.soft:
            return (view.sample_sums((view.voxels.probabilities - view.voxels.reference) ** 2),)
        return (view.samples.inside[SQUARED_MISS] + view.samples.outside[SQUARED_MISS],)


class DicePlusPlus(_ErrorDice):
    r"""Dice with errors to a power: the higher, the less unsure voxels cost beside surely wrong ones; against overconfidence.

    $$ L = \frac1C \sum_c \frac{E_c}{2\,TP_c + E_c + s}, \qquad E_c = \sum w\,(y\,(1-p))^g + \sum w\,((1-y)\,p)^g $$
    with $g$ `exponent`, $w$ the weight map, $s$ `smooth`. 1 is `dice`, 2 is `squared_dice`.

    Shape:
        Any that the sum takes, with a hard target; value a scalar in [0, 1].

    Empty foreground:
        `empty: smooth`: $Q/(Q+s)$ with $Q = \sum w p^g$; gradient of a voxel $g\,p^{g-1} s/(Q+s)^2$.

    Precision:
        Both sums of $E$ come from the one pass. Exponents below 1 have no bounded slope at a solved voxel and are refused.

    Args:
        exponent: $g$ >= 1.
        smooth: $s$ in voxels, >= 0; see `dice`.

    Source:
        Yeung et al., J Digit Imaging 2023 ("DSC++", their $\gamma$ is `exponent`), 2 by default.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> params = {"exponent": 3, "smooth": 0}
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "dice_plus_plus", "params": params}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # E = 0.001 + 0.216 + 0.008 + 0.001 = 0.226: 0.226 / 2.826
        0.079972
    """

    soft_targets = False

    def __init__(self, setting: Setting, *, exponent: float = 2.0, smooth: float = 1e-5) -> None:
        super().__init__(setting, smooth=smooth)
        self.functions = (MissPower(check_range("exponent", exponent, 1), everywhere=True),)

    def sums(self, view: View) -> Sequence[Tensor]:
        """The errors to the power."""
        (function,) = self.functions
        return (view.samples.inside[function] + view.samples.outside[function],)


class LogCoshDice(Dice):
    r"""Log-cosh of the Dice loss: as steep where a class is missed, ever flatter as it is solved; when Dice ends in jitter.

    $$ L = \frac1C \sum_c \ln\cosh D_c, \qquad D_c = \frac{FP_c + FN_c}{2\,TP_c + FP_c + FN_c + s} $$
    with $s$ `smooth`. Its slope is $\tanh D$ times that of `dice`: 0.76 of it at the worst, none at the best, so the last points of Dice
    come slowly.

    Shape:
        Any that the sum takes; value a scalar in [0, ln cosh 1 = 0.4338].

    Empty foreground:
        `empty: smooth`: $\ln\cosh(S/(S+s))$ with $S$ the sum of the predictions; gradient $\tanh(S/(S+s))$ times that of `dice`.

    Precision:
        $\ln(1 + 2 \sinh^2(D/2))$, exact near 0 where the logarithm of cosh would be rounding noise.

    Args:
        smooth: $s$ in voxels, >= 0; see `dice`.

    Source:
        Jadon, CIBCB 2020; here of each class, before the mean.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "log_cosh_dice", "params": {"smooth": 0}}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # log cosh 0.277778
        0.038094
    """

    def region_loss(self, counts: Counts, counted: Tensor) -> Tensor:
        """The loss of each group and class."""
        return torch.log1p(2 * torch.sinh(dice_loss(counts, self.smooth) / 2) ** 2)
