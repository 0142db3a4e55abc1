"""One overlap ratio over all classes together, in place of a mean of ratios."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from medseg.losses.setting import Setting
from medseg.losses.statistics import Counts
from medseg.losses.term import check_range, ratio
from medseg.losses.terms.region import RegionTerm


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
