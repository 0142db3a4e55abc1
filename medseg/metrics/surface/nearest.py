"""From each element of one surface to the nearest element of the same class of another: exact, for all classes at once.

Most elements have their nearest one a voxel or two away. So all look around together, at the nearest places first: the first place that
holds their class is at the exact distance, and who has found one drops out. Who is left when looking costs more than it finds asks a tree.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree

from medseg.metrics.layers import Layers
from medseg.metrics.surface.elements import Elements
from medseg.metrics.surface.frame import Frame

LOOKS = 600
"""Places that are looked at for about the price of one question to a tree; farther ones are never looked at."""

_ROUND = 32  # places between two decisions whether to look on
_SOON = 8  # places after which many elements decide for the first time
_CALL = 1500  # elements that look at a place in the time that it takes to ask them to
_FEW = 16  # elements that compare themselves with all targets before a tree is built
_MANY = 1 << 16  # elements from which on it may be cheaper to answer for every place of the frame
_QUESTION = 1500  # additions in the time of a question to a tree
_CLASSES = 16  # that share a map of targets: bits of a place
_BITS = (1 << np.arange(256) % _CLASSES).astype(np.uint16)


def distances(queries: Elements, targets: Elements, frame: Frame, spacing: tuple[float, ...]) -> np.ndarray:
    """The distance in mm from each query to the nearest target of its class: float64 (n,); infinite where the class has no target."""
    found = np.full(queries.at.size, np.inf)
    for first in range(0, int(queries.owner.max(initial=0)) + 1, _CLASSES):
        offered = targets[_within(targets.owner, first)]
        present = np.bincount(offered.owner, minlength=256) > 0
        asking = np.flatnonzero(_within(queries.owner, first) & present[queries.owner])
        asking = _look_around(found, queries, asking, _map_of(offered, frame), frame, spacing)
        for owner in np.flatnonzero(np.bincount(queries.owner[asking])):
            chosen = asking[queries.owner[asking] == owner]
            found[chosen] = _ask(queries.at[chosen], offered.at[offered.owner == owner], frame, spacing)
    return found


@lru_cache(maxsize=32)
def places(spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The nearest places to look at, nearest first: steps int64 (n, axes) in voxels and their lengths float64 (n,) in mm."""
    axes = len(spacing)
    volume = float(np.prod(spacing))
    radius = (LOOKS * volume / (np.pi if axes == 2 else 4.19)) ** (1 / axes)
    reach = [max(1, int(radius / step)) for step in spacing]
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, axes)
    lengths = np.sqrt(((steps * spacing) ** 2).sum(axis=1))
    # beyond the shortest step out of the box of steps, places are missing between the ones at hand
    complete = min((n + 1) * step for n, step in zip(reach, spacing, strict=True))
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] < complete][:LOOKS]
    return steps[order], lengths[order]


def margin(spacing: tuple[float, ...]) -> tuple[int, ...]:
    """How far along each axis is looked, in voxels."""
    steps, _ = places(spacing)
    return tuple(int(n) for n in np.maximum(np.abs(steps).max(axis=0), 1))


def _within(owners: np.ndarray, first: int) -> np.ndarray:
    return (owners >= first) & (owners < first + _CLASSES)


def _map_of(targets: Elements, frame: Frame) -> np.ndarray:
    """Which classes have a target at each place: uint16 (frame.size,), a bit each."""
    held = np.zeros(frame.size, dtype=np.uint16)
    np.bitwise_or.at(held, targets.at, _BITS[targets.owner])
    return held


def _look_around(
    found: np.ndarray, queries: Elements, asking: np.ndarray, held: np.ndarray, frame: Frame, spacing: tuple[float, ...]
) -> np.ndarray:
    """Write the distances of those who find a target nearby, and return the others."""
    at, bit = queries.at[asking], _BITS[queries.owner[asking]]
    steps, lengths = places(spacing)
    hits = 0
    for look, (move, length) in enumerate(zip(steps @ np.array(frame.steps), lengths, strict=True), start=1):
        hit = (held[at + move] & bit) != 0
        new = int(np.count_nonzero(hit))
        if new:
            found[asking[hit]] = length
            asking, at, bit = asking[~hit], at[~hit], bit[~hit]
            hits += new
        if look % _ROUND == 0 or (look == _SOON and asking.size > _MANY):
            if hits * LOOKS <= (asking.size + _CALL) * min(look, _ROUND):
                break
            hits *= look == _SOON
    return asking


def _ask(queries: np.ndarray, targets: np.ndarray, frame: Frame, spacing: tuple[float, ...]) -> np.ndarray:
    """Distances in mm to the nearest of some targets, however far: float64 (n,)."""
    if len(queries) > _MANY:
        start, extent = frame.inside.start, (frame.extent[0], *frame.shape[1:])
        sites = np.stack(np.unravel_index(targets - start, extent), axis=1)
        layers = Layers.of(sites, extent, spacing, in_order=True)
        if layers.cost < _QUESTION * len(queries):
            order = np.argsort(queries, kind="stable")
            found = np.empty(len(queries))
            found[order] = np.sqrt(layers.everywhere(queries[order] - start))
            return found
    return _ask_tree(queries, targets, frame, spacing)


def _ask_tree(queries: np.ndarray, targets: np.ndarray, frame: Frame, spacing: tuple[float, ...]) -> np.ndarray:
    """Distances in mm to the nearest of some targets, however far: float64 (n,)."""
    asked, offered = frame.coordinates(queries), frame.coordinates(targets)
    if len(asked) <= _FEW:
        scaled = offered * np.array(spacing)
        nearest = np.array([((scaled - point) ** 2).sum(axis=1).argmin() for point in asked * np.array(spacing)])
    else:
        # large leaves and no boxes around them: half the time of the tree's own settings for surfaces far from one another
        tree = cKDTree(offered * np.array(spacing), leafsize=64, balanced_tree=False, compact_nodes=False)
        _, nearest = tree.query(asked * np.array(spacing))
    # from whole steps as in `places`: how a distance was found must not decide whether it is within a tolerance
    return np.sqrt((((asked - offered[nearest]) * spacing) ** 2).sum(axis=1))
