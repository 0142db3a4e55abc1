"""What losses on the overlap of predicted and reference regions share.

Written as error over error plus hit, never as one minus a score: exactly 0 when there is no error, never negative. TP, FP, FN are the soft
counts of `Counts`; where a reference is empty, the sum's `empty` option decides (`term.region_mean`).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from medseg.losses.statistics import Counts
from medseg.losses.term import Term, ratio, region_mean
from medseg.losses.view import View


def dice_loss(counts: Counts, smooth: float) -> Tensor:
    """(FP + FN) / (2 TP + FP + FN + smooth) of each class."""
    error = counts.fp + counts.fn
    return ratio(error, 2 * counts.tp + error + smooth)


class RegionTerm(Term):
    """The mean over classes of a loss on the counts of each."""

    looks_at = ("include_background", "reduce_over", "empty")

    def sums(self, view: View) -> Sequence[Tensor]:
        """Further sums (B, C) over each sample's voxels that the loss needs; they reach it as `counts.more`."""
        return ()

    def region_loss(self, counts: Counts, counted: Tensor) -> Tensor:
        """The loss (G, C) of each group and class; `counted` (G, C) tells which classes take part."""
        raise NotImplementedError

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        return region_mean(view, self.region_loss, sums=self.sums(view))
