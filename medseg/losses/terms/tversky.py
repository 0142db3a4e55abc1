"""Losses on overlap that price what is missed and what is invented differently."""

from __future__ import annotations

from torch import Tensor

from medseg.losses.powers import power
from medseg.losses.setting import Setting
from medseg.losses.statistics import Counts
from medseg.losses.term import check_range, ratio
from medseg.losses.terms.region import RegionTerm


def tversky_loss(counts: Counts, fn_weight: float, fp_weight: float, smooth: float) -> Tensor:
    """E / (TP + E + smooth) of each class, E = fn_weight FN + fp_weight FP."""
    error = fn_weight * counts.fn + fp_weight * counts.fp
    return ratio(error, counts.tp + error + smooth)


class Tversky(RegionTerm):
    r"""Dice with a price of its own for what is missed and what is invented; for lesions that must not be missed.

    $$ L = \frac1C \sum_c \frac{E_c}{TP_c + E_c + s}, \qquad E_c = w_{FN}\,FN_c + w_{FP}\,FP_c $$
    with $s$ `smooth`. Weights .5/.5 give Dice (with $2s$), 1/1 Jaccard; weights that sum to 1 give the $F_\beta$ loss (`f_beta`).

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
        return tversky_loss(counts, self.fn_weight, self.fp_weight, self.smooth)


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
        Below 1e-6 the power is replaced by a parabola of the same value and slope, so that the slope at 0 is 40 and not
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


class FBeta(Tversky):
    r"""One minus the soft F-beta score: Tversky whose one knob says how many times recall matters more than precision.

    $$ L = \frac1C \sum_c \frac{E_c}{TP_c + E_c + s}, \qquad E_c = \frac{\beta^2\,FN_c + FP_c}{1 + \beta^2} $$
    with $\beta$ `beta`, $s$ `smooth`: `tversky` with a `fn_weight` of $\beta^2/(1+\beta^2)$, 0.692 for the default, and the rest for
    `fp_weight`. 1 is Dice (with $2s$), above 1 misses cost more than inventions.

    Shape:
        Any that the sum takes; value a scalar in [0, 1].

    Empty foreground:
        As `tversky`: $S/(S + (1+\beta^2)\,s)$ with $S$ the sum of the predictions.

    Precision:
        As `dice`.

    Args:
        beta: $\beta$ > 0.
        smooth: $s$ in voxels, >= 0; see `dice`.

    Source:
        Hashemi et al., IEEE Access 2019 ("asymmetric similarity loss"), with $\beta = 1.5$.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "f_beta", "params": {"beta": 2, "smooth": 0}}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # E = (4 * 0.7 + 0.3) / 5 = 0.62: 0.62 / 1.92
        0.322917
    """

    def __init__(self, setting: Setting, *, beta: float = 1.5, smooth: float = 1e-5) -> None:
        share = 1 / (1 + check_range("beta", beta, 0, above=True) ** 2)
        super().__init__(setting, fn_weight=1 - share, fp_weight=share, smooth=smooth)
