"""Distances between the surfaces of prediction and reference: every class of a case in one walk, and the measures made of them.

`surfaces` finds border voxels, `surfels` pieces of the contour or surface between voxels with their lengths or areas; both return one
`Surfaces` per class, from which `hd`, `hd95`, `assd`, `masd` and `nsd` are read.
"""

from __future__ import annotations

from medseg.metrics.surface.measures import Hd95Definition, Surfaces, assd, hd, hd95, masd, nsd
from medseg.metrics.surface.surfels import surfels
from medseg.metrics.surface.voxels import surfaces

__all__ = ["Hd95Definition", "Surfaces", "assd", "hd", "hd95", "masd", "nsd", "surfaces", "surfels"]
