"""Where training patches are centred: samplers, their mixture, the boxes around centres, and what the boxes show."""

from __future__ import annotations

from medseg.data.sampling.base import Sampler
from medseg.data.sampling.boxes import patch_start
from medseg.data.sampling.exposure import LesionSizes
from medseg.data.sampling.hard_case import HardCase
from medseg.data.sampling.mixture import Mixture, build_mixture
from medseg.data.sampling.samplers import CaseBalanced, ClassBalanced, Foreground, LesionBalanced, Random

__all__ = [
    "CaseBalanced",
    "ClassBalanced",
    "Foreground",
    "HardCase",
    "LesionBalanced",
    "LesionSizes",
    "Mixture",
    "Random",
    "Sampler",
    "build_mixture",
    "patch_start",
]
