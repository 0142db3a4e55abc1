"""The surface elements of a mask in a grid of cells, with their areas summed over ever larger blocks of cells.

All voxels around a cell touch one another, so they are of one component (26 neighbours): the elements of several components together are
the elements of each, and a component that serves many lesions is looked at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from medseg.metrics.lesions.runs import Runs, coordinates, paint
from medseg.metrics.surface.patches import patch_sizes

LEVELS = 4
"""Times that blocks double their edge: the largest have 16 cells along each axis."""

_SLAB = 16  # layers of cells whose areas are there at once


@dataclass(frozen=True)
class Cells:
    """The cells around the voxels of some runs.

    Args:
        low: Where the grid of cells begins: int64 (axes,). A cell has the index of its last voxel.
        areas: Area or length of the element for each pattern of voxels around a cell: float64 (16,) or (256,).
        patterns: uint8, the pattern of each cell.
        blocks: Sums of the areas over blocks of 2, 4, 8, 16 cells along each axis.
    """

    low: np.ndarray
    areas: np.ndarray
    patterns: np.ndarray
    blocks: list[np.ndarray]

    @classmethod
    def of(cls, runs: Runs, spacing: Sequence[float], *, blocks: bool = True) -> Cells:
        """The cells of a mask that is not empty; without `blocks` only their patterns."""
        low, extent = box(runs)
        mask = painted(runs, low, extent)
        padded, axes = np.pad(mask, 1), mask.ndim
        patterns = np.zeros(tuple(size + 1 for size in mask.shape), dtype=np.uint8)
        for bit, corner in enumerate(product((0, 1), repeat=axes)):
            patterns |= padded[tuple(slice(c, c + size) for c, size in zip(corner, patterns.shape, strict=True))] << np.uint8(bit)
        areas = patch_sizes(spacing)
        sums = [_first_sums(areas, patterns)] if blocks else []
        while blocks and len(sums) < LEVELS:
            sums.append(_halved(sums[-1]))
        return cls(low, areas, patterns, sums)

    def weights(self, level: int, index: np.ndarray) -> np.ndarray:
        """The areas in some blocks int64 (n, axes) of a level; level 0: in some cells."""
        found = (self.blocks[level - 1] if level else self.patterns)[tuple(index.T)]
        return found if level else self.areas[found]

    def within(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Where the elements are from one cell to before another: int64 (n, axes)."""
        start = np.clip(low - self.low, 0, self.patterns.shape)
        stop = np.clip(high - self.low, start, self.patterns.shape)
        part = self.patterns[tuple(slice(a, b) for a, b in zip(start.tolist(), stop.tolist(), strict=True))]
        return np.argwhere((part > 0) & (part < len(self.areas) - 1)) + (start + self.low)

    @property
    def high(self) -> np.ndarray:
        """One behind the last cell."""
        return self.low + self.patterns.shape

    def elements(self) -> tuple[np.ndarray, np.ndarray]:
        """All elements: where they are, int64 (n, axes), and their areas."""
        places = self.within(self.low, self.high)
        return places, self.weights(0, places - self.low)


def box(runs: Runs) -> tuple[np.ndarray, np.ndarray]:
    """First voxel of the box around all runs and its extent: int64 (axes,) each."""
    first = coordinates(runs.start, runs.shape)
    low, high = first.min(axis=0), first.max(axis=0) + 1
    high[-1] = (first[:, -1] + runs.lengths).max()
    return low, high - low


def painted(runs: Runs, low: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """The mask in a box: uint8 (*extent)."""
    start = np.ravel_multi_index(tuple((coordinates(runs.start, runs.shape) - low).T), tuple(extent))
    return paint(start, start + runs.lengths, int(extent.prod())).reshape(extent)


def _first_sums(areas: np.ndarray, patterns: np.ndarray) -> np.ndarray:
    slabs = [_halved(areas[patterns[start : start + _SLAB]]) for start in range(0, len(patterns), _SLAB)]
    return np.concatenate(slabs)


def _halved(values: np.ndarray) -> np.ndarray:
    """Sums over two neighbours along each axis; the last may stay alone."""
    for axis in range(values.ndim):
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], 2), axis=axis)
    return values
