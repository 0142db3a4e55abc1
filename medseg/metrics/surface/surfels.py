"""Surfaces made of pieces of contour or surface between voxel centres, each with its length or area."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product

import numpy as np

from medseg.metrics.surface.elements import Elements, join
from medseg.metrics.surface.frame import Frame
from medseg.metrics.surface.measures import Surfaces
from medseg.metrics.surface.pair import surface_pairs
from medseg.metrics.surface.patches import patch_sizes

_CHUNK = 1 << 16  # cells that are compared at once: what is kept of them stays in the cache


def surfels(prediction: np.ndarray, reference: np.ndarray, membership: np.ndarray, spacing: Sequence[float]) -> list[Surfaces]:
    """The distances between the surfels of both maps with their lengths in mm (2-D) or areas in mm^2 (3-D), for each class.

    There is a surfel in each cell between 2x2 or 2x2x2 voxel centres that are not all inside or all outside of the mask, weighted by the
    surface of marching squares or cubes in it. Distances go from the middle of one cell to that of the other.

    Shape:
        as `surfaces`.

    Raises:
        ValueError: As `surfaces`.

    Source: Nikolov et al., JMIR 23(7), 2021; the numbers of DeepMind's surface-distance.
    """
    backwards = reference.flags.f_contiguous
    sizes = patch_sizes(spacing[::-1] if backwards else spacing)
    return surface_pairs(prediction, reference, membership, spacing, partial(surface_cells, sizes=sizes), beyond=1)


def surface_cells(labels: np.ndarray, frame: Frame, sizes: np.ndarray) -> Elements:
    """The cells that the surfaces of a flat map of class index + 1 run through; a cell has the index of its last voxel."""
    backs = [int(np.dot(corner, frame.steps)) for corner in product((1, 0), repeat=len(frame.steps))]
    found = []
    for start in range(frame.inside.start, frame.inside.stop, _CHUNK):
        stop = min(start + _CHUNK, frame.inside.stop)
        here = labels[start:stop]
        differs = np.zeros(stop - start, dtype=np.bool_)
        for back in backs[:-1]:
            differs |= here != labels[start - back : stop - back]
        found.append(np.flatnonzero(differs) + start)
    cells = np.concatenate(found) if found else np.empty(0, dtype=np.intp)
    corners = [labels[cells - back] for back in backs]
    parts = []
    for this, label in enumerate(corners):
        seen = label == 0
        code = np.zeros(len(cells), dtype=np.uint8)
        for other, neighbour in enumerate(corners):
            same = neighbour == label
            if other < this:
                seen |= same
            code |= same.astype(np.uint8) << np.uint8(other)
        new = ~seen
        parts.append(Elements(cells[new], label[new] - np.uint8(1), sizes[code[new]]))
    return join(parts)
