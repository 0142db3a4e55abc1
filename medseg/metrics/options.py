"""The rules by which a case is scored: every choice that two tools could make differently, by name, printed beside every number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

BothEmpty = Literal["exclude", "best"]
Penalty = Literal["diagonal", "inf", "nan"]
Connectivity = Literal["faces", "edges", "corners"]
BratsRules = Literal["gli", "met"]


@dataclass(frozen=True)
class MetricOptions:
    """Which metrics, and by which rules.

    Args:
        metrics: Keys of `METRICS`, in the order of the output; empty: the standard ones.
        tolerances: Of the normalised surface Dice, in mm (pixels for pictures without spacing): for all classes, or for each by name.
        both_empty: A class empty in prediction and reference is left out of the means *and counted* (`exclude`), or scores the best value.
        penalty: A distance where only one of the masks is empty: the diagonal of the image, infinity, NaN (left out), or a number in mm.
        beta: Weight of recall against precision in `f_beta`.
        connectivity: What makes voxels one lesion: shared faces (6 neighbours, 4 in 2-D), edges (18, 8) or corners (26, 8).
        lesion_iou: 0: a lesion is found when one voxel overlaps, many to many (ISLES'22). Above: pairs one to one, at least this IoU.
        minimum_lesion: Reference lesions below this many mm^3 (mm^2) are not scored, and a prediction that touches one is not false.
        brats: Settings of the BraTS-2023 lesion-wise scores: `gli` dilates thrice and scores from above 50 mm^3, `met` once, from above 2.
    """

    metrics: tuple[str, ...] = ()
    tolerances: tuple[float, ...] | Mapping[str, tuple[float, ...]] = (1.0, 2.0, 3.0)
    both_empty: BothEmpty = "exclude"
    penalty: Penalty | float = "diagonal"
    beta: float = 2.0
    connectivity: Connectivity = "corners"
    lesion_iou: float = 0.0
    minimum_lesion: float = 0.0
    brats: BratsRules = "gli"

    def tolerances_of(self, class_name: str) -> tuple[float, ...]:
        """The tolerances of a class in mm."""
        if isinstance(self.tolerances, Mapping):
            return tuple(self.tolerances.get(class_name, ()))
        return self.tolerances

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return asdict(self)
