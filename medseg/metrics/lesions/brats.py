"""Lesion-wise Dice and HD95 as the BraTS challenges of 2023 counted them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medseg.metrics.lesions.brats_hd95 import lesion_hd95
from medseg.metrics.lesions.components import Part, components, join
from medseg.metrics.lesions.reach import within_reach
from medseg.metrics.lesions.table import Lesions

BratsRules = Literal["gli", "met"]

PENALTY = 374.0
"""HD95 in mm of a missed or a false lesion: about the diagonal of the challenge's images."""

_DILATIONS = {"gli": 3, "met": 1}  # "gli" also serves SSA and PED, whose settings are the same
_MINIMUM = {"gli": 50.0, "met": 2.0}  # mm^3; a lesion must be larger


def brats(lesions: Lesions, rules: BratsRules = "gli") -> tuple[float, float]:
    r"""BraTS-2023 lesion-wise Dice in [0, 1] and HD95 in mm.

    $$\text{Dice} = \frac{\sum_i \text{Dice}_i}{n + FP}, \quad \text{HD95} = \frac{\sum_i \text{HD95}_i + 374\,FP}{n + FP}$$

    A lesion is what a dilation of the reference joins (18 neighbours; thrice for `gli`, once for `met`). It is compared with all predicted
    components that touch the lesion so dilated, taken whole, so that one component may serve several lesions. The n lesions of more than 50
    (`gli`) or 2 mm^3 (`met`; mm^2 in 2-D) are scored; a missed one has Dice 0 and HD95 374 mm. FP are the components that touch no lesion,
    of any size. Components have 26 neighbours (8 in 2-D) whatever the connectivity of `lesions`, whose smallest size is not used either.
    HD95 is the larger of the directed percentiles over surface elements weighted by their area (DeepMind's surface-distance).

    Source: `get_LesionWiseResults` of rachitsaluja/BraTS-2023-Metrics; Moawad et al., arXiv 2306.00838, for `met`.

    Returns:
        Both NaN when there is nothing to score: no lesion that is large enough, and no false one (the challenge's script: 1 and 0).

    Raises:
        ValueError: For unknown rules.
    """
    scored = LesionWise.of(lesions, rules)
    return scored.mean_dice, scored.mean_hd95


@dataclass(frozen=True)
class LesionWise:
    """The lesions that count, and what touches them.

    Args:
        table: The joined lesions of the reference, and the components of the prediction.
        lesions: int64 (n,), numbers of the lesions that are large enough.
        touching: int64 (k, 2), lesion and component that touches it when dilated; of all lesions.
    """

    table: Lesions
    lesions: np.ndarray
    touching: np.ndarray

    @classmethod
    def of(cls, source: Lesions, rules: BratsRules) -> LesionWise:
        """Join and match the lesions of two maps."""
        if rules not in _DILATIONS:
            raise ValueError(f"the rules must be {' or '.join(_DILATIONS)}, got {rules!r}")
        steps = _DILATIONS[rules]
        ref, pred = _join_dilated((source.ref, *components(source.ref)), steps), _cornerwise(source)
        table = Lesions.of_parts(ref, pred, source.spacing)
        sharing = table.pairs[:, :2]
        touching = np.concatenate([sharing, within_reach(ref, pred, steps, 2 * steps, sharing)])
        return cls(
            table=table,
            lesions=np.flatnonzero(table.ref_voxels * table.voxel_size > _MINIMUM[rules]),
            touching=np.unique(touching, axis=0),
        )

    @property
    def fp(self) -> int:
        """Number of components that touch no lesion, not even one that is too small to count."""
        return len(self.table.pred_voxels) - len(np.unique(self.touching[:, 1]))

    @property
    def found(self) -> np.ndarray:
        """Which of the lesions a component touches: bool (n,)."""
        return np.isin(self.lesions, self.touching[:, 0])

    @property
    def dice(self) -> np.ndarray:
        """float64 (n,): Dice of each lesion with the components that touch it."""
        table, count = self.table, len(self.table.ref_voxels)
        shared = np.bincount(table.pairs[:, 0], weights=table.pairs[:, 2], minlength=count)
        partners = np.bincount(self.touching[:, 0], weights=table.pred_voxels[self.touching[:, 1]], minlength=count)
        return (2 * shared / (table.ref_voxels + partners))[self.lesions]

    @property
    def hd95(self) -> np.ndarray:
        """float64 (n,): HD95 of each lesion with the components that touch it in mm, 374 where none does."""
        return lesion_hd95(self.table, self.lesions, self.touching, PENALTY)

    @property
    def mean_dice(self) -> float:
        """Sum of the lesions' Dice over the number of lesions and false components; NaN when there is nothing to score."""
        return float(self.dice.sum()) / self._number if self._number else math.nan

    @property
    def mean_hd95(self) -> float:
        """Mean in mm of the lesions' HD95 and 374 for each false component; NaN when there is nothing to score."""
        return float(self.hd95.sum() + PENALTY * self.fp) / self._number if self._number else math.nan

    @property
    def _number(self) -> int:
        return len(self.lesions) + self.fp


def _cornerwise(source: Lesions) -> Part:
    """The predicted components by 26 neighbours."""
    if source.connectivity == "corners":
        return source.pred, source.pred_component, len(source.pred_voxels)
    return source.pred, *components(source.pred)


def _join_dilated(part: Part, steps: int) -> Part:
    """Join components whose dilations touch with 26 neighbours: a step between them, and `steps` from either side."""
    runs, component, count = part
    if count < 2:
        return part
    itself = np.repeat(np.arange(count)[:, None], 2, axis=1)
    first, second = within_reach(part, part, 2 * steps + 1, 4 * steps + 3, itself).T
    groups, number = join(count, [(first, second)])
    return runs, groups[component], number
