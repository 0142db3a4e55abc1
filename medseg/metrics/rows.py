"""The tidy tables: one row per case, class and metric, and one per lesion, candidate and calibration bin.

Every mean, plot, test and ranking is a function of these.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One metric of one class in one case, with what is needed to judge it."""

    case_id: str
    group: str
    """The patient, the unit that is resampled; the case id where none is known."""
    class_name: str
    metric: str
    """A key of `METRICS`; with its tolerance where it has one: `nsd_2mm`."""
    value: float
    """NaN where both masks are empty and the rule is to exclude."""
    penalised: bool
    """Whether the value is the penalty of a structure that is empty in just one of the masks, or the case has no usable prediction."""
    ref_empty: bool
    pred_empty: bool
    ref_voxels: int
    pred_voxels: int
    ref_ml: float
    """Volume in mL; NaN in 2-D."""
    pred_ml: float
    ref_lesions: int
    """Connected components."""
    pred_lesions: int
    spacing: tuple[float, ...]
    """Voxel size in mm."""

    @property
    def both_empty(self) -> bool:
        """Whether the prediction rightly lacks the class; one that is missing or unusable does not."""
        return self.ref_empty and self.pred_empty and not self.penalised


@dataclass(frozen=True)
class LesionRow:
    """One connected component of one class in one case."""

    case_id: str
    group: str
    class_name: str
    side: str
    """`reference` or `prediction`."""
    lesion: int
    """Its number within the case, class and side, from 0, in the order of its first voxel."""
    voxels: int
    size: float
    """mm^3; mm^2 in 2-D."""
    scored: bool
    """False for a reference lesion below the smallest size that counts, and for a prediction that touches only such ones."""
    matched: bool
    """By the matching rule: a reference lesion is then detected, a predicted one not false."""
    dice: float
    """Of the lesion with all components of the other map that share a voxel with it, taken whole; 0 where there is none."""


@dataclass(frozen=True)
class CandidateRow:
    """One candidate of a detection curve: a component of the probability map above a low threshold."""

    case_id: str
    group: str
    class_name: str
    score: float
    """The highest probability in it."""
    voxels: int
    size: float
    """mm^3; mm^2 in 2-D."""
    hits: tuple[int, ...]
    """Numbers of the reference lesions (`LesionRow.lesion`) that it overlaps."""


@dataclass(frozen=True)
class CalibrationRow:
    """One bin of probabilities of one class in one case, counted near the target."""

    case_id: str
    group: str
    class_name: str
    low: float
    """Lower end of the bin, left out of it but for 0."""
    high: float
    """Upper end, part of it."""
    voxels: int
    probability: float
    """Sum of the probabilities."""
    positives: int
    """Voxels of the bin that belong to the class."""
