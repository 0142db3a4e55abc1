"""Masks as runs: stretches of voxels along the last axis, at flat positions in a padded grid.

Lesions are few among many voxels, and runs are a few times fewer than voxels. Components, overlaps, dilations and borders are all one
question, which runs of one map meet which runs of another after a shift, and a binary search answers it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_MARGIN = 8  # empty voxels after each line but the first axis's: shifts of up to 8 voxels never reach into the next line

Shift = tuple[int, int]
"""Distance between two lines as flat positions, and by how many voxels their runs may miss each other along the line."""


@dataclass(frozen=True)
class Runs:
    """The runs of one mask, in C order.

    Args:
        start: int64 (r,), the flat position of the first voxel in the padded grid.
        stop: int64 (r,), one behind the last.
        shape: Of the mask.
    """

    start: np.ndarray
    stop: np.ndarray
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.start)

    @property
    def lengths(self) -> np.ndarray:
        """int64 (r,): voxels of each run."""
        return self.stop - self.start

    def take(self, chosen: np.ndarray) -> Runs:
        """Some of the runs: by a boolean mask, or by ascending indices."""
        return Runs(self.start[chosen], self.stop[chosen], self.shape)

    def voxels(self) -> np.ndarray:
        """int64 (v,): the flat positions of all voxels, ascending."""
        lengths = self.lengths
        before = np.cumsum(lengths) - lengths
        return np.repeat(self.start - before, lengths) + np.arange(int(lengths.sum()))

    def painted(self) -> np.ndarray:
        """uint8, flat: the padded grid, 1 inside."""
        return paint(self.start, self.stop, math.prod(padded_shape(self.shape)))

    def mask(self) -> np.ndarray:
        """uint8 (*shape): the mask itself, 1 inside."""
        padded = self.painted().reshape(padded_shape(self.shape))
        return padded[tuple(slice(0, size) for size in self.shape)]


def paint(start: np.ndarray, stop: np.ndarray, size: int) -> np.ndarray:
    """uint8 (size,): 1 within stretches that do not overlap, 0 elsewhere."""
    steps = np.zeros(size + 1, dtype=np.int8)
    steps[start] += 1
    steps[stop] -= 1
    return np.cumsum(steps[:-1], dtype=np.int8, out=steps[:-1]).view(np.uint8)


def runs_of(labels: np.ndarray) -> tuple[Runs, np.ndarray]:
    """Find the runs of equal labels in one pass.

    Shape:
        uint8 or bool map (*spatial) -> runs of everything but 0, and the label of each run.
    """
    flat = np.ascontiguousarray(labels).reshape(-1).view(np.uint8)
    width = labels.shape[-1] if labels.ndim else 1
    changes = _changes(flat)
    values = flat[changes[:-1]]
    start, stop, values = changes[:-1][values > 0], changes[1:][values > 0], values[values > 0]
    lines = (stop - 1) // width - start // width
    if lines.any():  # a run goes on in the next line
        order = np.repeat(np.arange(len(start)), lines + 1)
        before = np.cumsum(lines + 1) - lines - 1
        nth = np.arange(len(order)) - before[order]
        line = start[order] // width + nth
        start, stop = np.maximum(start[order], line * width), np.minimum(stop[order], (line + 1) * width)
        values = values[order]
    offset = _padded(start // width * width, labels.shape) - start // width * width
    return Runs(start + offset, stop + offset, labels.shape), values


def joined(runs: Runs) -> Runs:
    """The same voxels with runs that follow each other without a gap made one (two labels of one class)."""
    if not len(runs):
        return runs
    opens = np.append(True, runs.start[1:] != runs.stop[:-1])
    return Runs(runs.start[opens], runs.stop[np.append(opens[1:], True)], runs.shape)


def coordinates(positions: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Voxel indices of flat positions.

    Shape:
        int64 (v,) -> int64 (v, number of axes).
    """
    result = np.empty((len(positions), len(shape)), dtype=np.int64)
    rest = positions
    for axis, stride in enumerate(strides(shape)):
        result[:, axis] = rest // stride
        rest = rest - result[:, axis] * stride
    return result


def strides(shape: Sequence[int]) -> list[int]:
    """How far neighbours along each axis are apart in the padded grid."""
    padded = padded_shape(shape)
    return [math.prod(padded[axis + 1 :]) for axis in range(len(shape))]


def padded_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Of the padded grid."""
    return *shape[:1], *(size + _MARGIN for size in shape[1:])


def meetings(first: Runs, second: Runs, shift: Shift) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs that overlap when `first` is moved by a shift and widened along its line.

    Returns:
        Indices into `first` and into `second`, ordered by `first`.
    """
    move, widening = shift
    low = np.searchsorted(second.stop, first.start + (move - widening), side="right")
    high = np.searchsorted(second.start, first.stop + (move + widening), side="left")
    counts = high - low
    np.maximum(counts, 0, out=counts)
    hit = np.flatnonzero(counts)
    counts, low = counts[hit], low[hit]
    before = np.cumsum(counts) - counts
    return np.repeat(hit, counts), np.repeat(low - before, counts) + np.arange(int(counts.sum()))


def shifts(shape: Sequence[int], chessboard: int, city_block: int, *, half: bool = False) -> Iterator[Shift]:
    """Shifts that together reach every voxel at most so far away, in voxels along one axis and in their sum over the axes.

    Args:
        shape: Of the mask.
        chessboard: Largest step along any axis; at most the margin of the padded grid.
        city_block: Largest sum of the steps.
        half: Only the line itself and lines behind it: enough to join voxels of one mask with each other.
    """
    lines = strides(shape)[:-1]
    for steps in itertools.product(range(-chessboard, chessboard + 1), repeat=len(lines)):
        left = city_block - sum(abs(step) for step in steps)
        if left >= 0 and (not half or steps >= (0,) * len(lines)):
            yield sum(step * stride for step, stride in zip(steps, lines, strict=True)), min(chessboard, left)


def _changes(flat: np.ndarray) -> np.ndarray:
    """Positions where the value differs from the one before it, with both ends: eight voxels are looked at in one word."""
    size = len(flat)
    differs = np.zeros((size + 8) // 8 * 8, dtype=np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=differs[1:size])
    words = np.flatnonzero(differs.view(np.uint64))
    word, byte = np.nonzero(differs.reshape(-1, 8)[words])
    return np.concatenate(([0], words[word] * 8 + byte, [size])) if size else np.zeros(1, dtype=np.int64)


def _padded(positions: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Flat positions of the mask's own grid -> of the padded grid."""
    result, rest, own = np.zeros_like(positions), positions, math.prod(shape)
    for size, stride in zip(shape, strides(shape), strict=True):
        own //= max(size, 1)
        index = rest // max(own, 1)
        result += index * stride
        rest = rest - index * own
    return result
