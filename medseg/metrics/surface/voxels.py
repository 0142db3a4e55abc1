"""Surfaces made of border voxels: voxels of a mask that miss a face neighbour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.metrics.surface.elements import Elements
from medseg.metrics.surface.frame import Frame
from medseg.metrics.surface.measures import Surfaces
from medseg.metrics.surface.pair import surface_pairs

_CHUNK = 1 << 16  # voxels that are compared at once: what is kept of them stays in the cache


def surfaces(prediction: np.ndarray, reference: np.ndarray, membership: np.ndarray, spacing: Sequence[float]) -> list[Surfaces]:
    """The distances between the border voxels of both maps, for each class.

    The border of a mask X is X without its erosion by the cross of face neighbours; outside of the image there is background, so that
    voxels at its edge are border. Distances go from centre to centre.

    Shape:
        two uint8 maps of ids (*spatial) in 2-D or 3-D, membership bool (K, V), one spacing in mm per axis -> K `Surfaces`.
        Voxels whose reference is 255 are background in both maps.

    Raises:
        ValueError: For maps of different shapes or of another type than uint8, or a spacing that does not fit them.

    Source: the border of Metrics Reloaded, MONAI, medpy and panoptica.
    """
    return surface_pairs(prediction, reference, membership, spacing, border_voxels, beyond=0)


def border_voxels(labels: np.ndarray, frame: Frame) -> Elements:
    """The border voxels of a flat map of class index + 1."""
    found = []
    for start in range(frame.inside.start, frame.inside.stop, _CHUNK):
        stop = min(start + _CHUNK, frame.inside.stop)
        here = labels[start:stop]
        differs = np.zeros(stop - start, dtype=np.bool_)
        for step in frame.steps:
            differs |= here != labels[start - step : stop - step]
            differs |= here != labels[start + step : stop + step]
        differs &= here != 0
        found.append(np.flatnonzero(differs) + start)
    at = np.concatenate(found) if found else np.empty(0, dtype=np.intp)
    return Elements(at, labels[at] - np.uint8(1))
