"""Losses on the whole confusion matrix, true negatives included."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.losses.setting import Setting
from medseg.losses.statistics import Counts
from medseg.losses.term import check_range, ratio
from medseg.losses.terms.region import RegionTerm
from medseg.losses.view import View
from medseg.losses.voxelwise import SQUARED_MISS


class SensitivitySpecificity(RegionTerm):
    r"""Squared errors averaged over lesion and rest apart, then mixed: lesion size drops out; for tiny lesions in large images.

    $$ L = \frac1C \sum_c \left( r\,\frac{\sum w\,y\,(1-p)^2}{\sum w\,y}
         + (1-r)\,\frac{\sum w\,(1-y)\,p^2}{\sum w\,(1-y)} \right) $$
    with $r$ `sensitivity_weight`, $w$ the weight map; a mean over no voxels is 0.

    Shape:
        Any that the sum takes; value a scalar in [0, 1].

    Empty foreground:
        `empty: smooth`: $(1-r)$ times the mean of $p^2$; gradient $2 (1-r)\,p/N$ on each of the $N$ voxels, whatever is predicted.

    Precision:
        Sums of squares from the one pass. The slope vanishes with the probability, as that of any squared error: at saturated wrong
        voxels too.

    Args:
        sensitivity_weight: $r$ in [0, 1]. Small, since a lesion's few voxels already weigh as much as all the rest.

    Source:
        Brosch et al., MICCAI 2015, $r = 0.05$ (0.01 to 0.1 did alike). NiftyNet and SegLoss call the first part specificity; the
        latter smooths it by a voxel, which tiny lesions feel.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "sensitivity_specificity"}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # 0.05 * 0.37 / 2 + 0.95 * 0.05 / 2
        0.033
    """

    functions = (SQUARED_MISS,)

    def __init__(self, setting: Setting, *, sensitivity_weight: float = 0.05) -> None:
        super().__init__(setting)
        self.sensitivity_weight = check_range("sensitivity_weight", sensitivity_weight, 0, 1)

    def sums(self, view: View) -> Sequence[Tensor]:
        """The squared errors on the reference and outside it."""
        return view.samples.inside[SQUARED_MISS], view.samples.outside[SQUARED_MISS]

    def region_loss(self, counts: Counts, counted: Tensor) -> Tensor:
        """The loss of each group and class."""
        missed, invented = counts.more
        missed, invented = ratio(missed, counts.volume), ratio(invented, counts.negatives)
        return self.sensitivity_weight * missed + (1 - self.sensitivity_weight) * invented


class MatthewsCorrelation(RegionTerm):
    r"""One minus Matthews' correlation of prediction and reference: all four cells count alike; when true negatives matter too.

    $$ L = \frac1C \sum_c \left(1 - \frac{TP\,TN - FP\,FN}{\sqrt{(TP+FP)(TP+FN)(TN+FP)(TN+FN)}}\right) $$
    with the soft counts of class $c$, $TN = \sum w\,(1-p)(1-y)$. A class and its complement have the same value.

    Shape:
        Any that the sum takes; value a scalar in [0, 2]: 0 perfect, 1 no relation, 2 the opposite.

    Empty foreground:
        `empty: smooth`: 1 without any gradient, whatever is predicted, even nothing: there is nothing to correlate with; so too for a
        reference that fills the image, or a prediction that is exactly constant 0 or 1. Take `volume`, which pushes false positives down
        (or `skip` or `batch`) unless every batch has every class.

    Precision:
        $1 - MCC$ is written as a sum of non-negative products of the counts' fractions of the voxels, $(R^2 - A^2)/(R (R + A)) + B/R$ with
        $A = TP\,TN$, $B = FP\,FN$, $R$ the root and $R^2 - A^2$ expanded: exact near 0, and nothing overflows.

    Args:
        None.

    Source:
        Abhishek & Hamarneh, ISBI 2021. MONAI's and smp's give NaN in half precision.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "mcc"}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # TP 1.3, FP 0.3, FN 0.7, TN 1.7: 1 - 2 / sqrt(1.6 * 2 * 2 * 2.4)
        0.48969
    """

    def region_loss(self, counts: Counts, counted: Tensor) -> Tensor:
        """The loss of each group and class."""
        tp, fp, fn, tn = (ratio(count, counts.size) for count in (counts.tp, counts.fp, counts.fn, counts.tn))
        right, wrong = tp * tn, fp * fn
        one, other = tp * fn + fp * tn, tp * fp + fn * tn
        square = (right + wrong + one) * (right + wrong + other)  # (TP+FP)(TN+FN) (TP+FN)(TN+FP)
        defined = square > 0
        root = torch.where(defined, square, 1.0).sqrt()
        excess = wrong * (2 * right + wrong) + (right + wrong) * (one + other) + one * other  # square - right^2
        loss = excess / root / (root + right) + wrong / root
        return torch.where(defined, loss, (counts.size > 0).to(loss.dtype))
