"""HD95 of a small lesion and huge components, without measuring all of their surface.

Of the distances from the huge surface only the one at the 95th percentile is asked for. Blocks of cells are surely nearer than it, surely
farther, or may hold it by what the distance of a place in them says, and only the last are divided and looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy.spatial import cKDTree

from medseg.metrics.layers import Layers
from medseg.metrics.lesions.cells import LEVELS, Cells
from medseg.metrics.surface import Surfaces, hd95

_SHARE = 0.95
_SLACK = 1e-6  # of the area: rounding of its sums must not move the percentile out of its bounds
_ROUNDING = 1e-6  # mm, of distances
_REACH = 4.0  # voxels around the lesion in which the huge surface is first looked for


def distant_hd95(lesion: Cells, others: Sequence[Cells], spacing: tuple[float, ...]) -> float:
    """HD95 in mm between the surface elements of a lesion and of all others together, as `surface.hd95` of all distances."""
    places, areas = lesion.elements()
    from_others, other_areas = _around_percentile(places, others, spacing)
    return hd95(Surfaces(from_others, _nearest(places, others, spacing), other_areas, areas))


def _around_percentile(places: np.ndarray, others: Sequence[Cells], spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the places, and areas, of the others' elements around the percentile; what is nearer or farther is one element."""
    low = np.min([places.min(axis=0), *(cells.low for cells in others)], axis=0)
    high = np.max([places.max(axis=0) + 1, *(cells.high for cells in others)], axis=0)
    layers = Layers.of(places - low, (high - low).tolist(), spacing)
    nearer = farther = 0.0
    open_blocks = [np.argwhere(cells.blocks[-1] > 0) for cells in others]
    for level in range(LEVELS, -1, -1):
        edge, half = 1 << level, (1 << level) // 2
        radius = half * float(np.linalg.norm(spacing))
        areas = [cells.weights(level, index) for cells, index in zip(others, open_blocks, strict=True)]
        middles = [
            np.minimum(index * edge + half, np.array(cells.patterns.shape) - 1) + (cells.low - low)
            for cells, index in zip(others, open_blocks, strict=True)
        ]
        weight, distance = np.concatenate(areas), np.sqrt(layers.at(np.concatenate(middles)))
        if not level:
            break
        order = np.argsort(distance)
        covered = nearer + np.cumsum(weight[order])
        least, most = ((_SHARE + slack) * (covered[-1] + farther) for slack in (-_SLACK, _SLACK))
        first, last = (min(int(np.searchsorted(covered, share)), len(order) - 1) for share in (least, most))
        below, above = distance[order[first]] - 2 * radius - _ROUNDING, distance[order[last]] + 2 * radius + _ROUNDING
        nearer += float(weight[distance < below].sum())
        farther += float(weight[distance > above].sum())
        kept = np.split((distance >= below) & (distance <= above), np.cumsum([len(index) for index in open_blocks])[:-1])
        open_blocks = [_divided(cells, level, index[held]) for cells, index, held in zip(others, open_blocks, kept, strict=True)]
    return np.concatenate([[0.0], distance, [np.inf]]), np.concatenate([[nearer], weight, [farther]])


def _divided(cells: Cells, level: int, index: np.ndarray) -> np.ndarray:
    """The halves of some blocks of a level along each axis, or their cells, that hold any surface."""
    halves = (2 * index[:, None] + np.array(list(product((0, 1), repeat=index.shape[1])))).reshape(-1, index.shape[1])
    shape = (cells.blocks[level - 2] if level > 1 else cells.patterns).shape
    halves = halves[(halves < shape).all(axis=1)]
    return halves[cells.weights(level - 1, halves) > 0]


def _nearest(places: np.ndarray, others: Sequence[Cells], spacing: tuple[float, ...]) -> np.ndarray:
    """Distance in mm from each place to the nearest element of the others, which is looked for in ever larger boxes."""
    low, high = places.min(axis=0), places.max(axis=0) + 1
    steps = np.array(spacing)
    diameter = float(np.linalg.norm((high - low) * steps))
    reach = _REACH * float(steps.prod()) ** (1 / len(steps))
    while True:
        margin = (reach // steps).astype(np.int64)
        offered = np.concatenate([cells.within(low - margin, high + margin) for cells in others])
        if not len(offered):
            reach *= 2
            continue
        # what is found is never too near: a box with that reach holds whatever is nearer
        enough = float(np.sqrt((((offered - places[0]) * steps) ** 2).sum(axis=1).min())) + diameter
        if enough - diameter <= reach:
            _, nearest = cKDTree(offered * steps).query(places * steps)
            found = np.sqrt((((places - offered[nearest]) * steps) ** 2).sum(axis=1))
            enough = float(found.max())
            if enough <= reach:
                return found
        reach = enough * (1 + _SLACK)
