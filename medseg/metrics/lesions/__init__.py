"""Lesions: the connected components of a class, and every score of how they were found, from one sparse table per class and case."""

from __future__ import annotations

from medseg.metrics.lesions.brats import BratsRules, LesionWise, brats
from medseg.metrics.lesions.cc_dice import cc_dice, cell_dice
from medseg.metrics.lesions.components import Connectivity
from medseg.metrics.lesions.matching import LesionCounts, counts, matched
from medseg.metrics.lesions.scores import count_difference, f1, f1_wmh, lesion_dice, panoptic, precision, recall, volumes
from medseg.metrics.lesions.table import Lesions, lesions_by_class

__all__ = [
    "BratsRules",
    "Connectivity",
    "LesionCounts",
    "LesionWise",
    "Lesions",
    "brats",
    "cc_dice",
    "cell_dice",
    "count_difference",
    "counts",
    "f1",
    "f1_wmh",
    "lesion_dice",
    "lesions_by_class",
    "matched",
    "panoptic",
    "precision",
    "recall",
    "volumes",
]
