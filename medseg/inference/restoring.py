"""From slabs in the prepared grid to slabs in the grid of the files, without ever holding a whole map."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from nibabel import orientations
from torch import Tensor

from medseg.data.geometry import Geometry, aligned_positions, from_canonical, linear_neighbours, read_between
from medseg.data.preparation import canonical_grid
from medseg.inference.sliding_window import at_once, or_on_cpu

_NOTHING = torch.empty(0)

Slab = tuple[slice, Tensor]
"""A range of rows along one axis, and (C', *spatial) with just these rows."""


def slab_axis(shape: Sequence[int]) -> int:
    """The axis that slabs lie along: the longest, whose rows are the smallest; the first of several."""
    return max(range(len(shape)), key=lambda axis: shape[axis])


def slab_slices(shape: Sequence[int]) -> list[slice]:
    """The slabs of a grid along its `slab_axis`, ascending."""
    size = shape[slab_axis(shape)]
    rows = at_once(math.prod(shape) // max(size, 1))
    return [slice(first, min(first + rows, size)) for first in range(0, size, rows)]


class SlabRestorer:
    """What `Preparer.restore` does to whole maps, slab by slab.

    Args:
        prepared: Grid of the maps.
        original: Grid of the files.

    Raises:
        ValueError: When the axes of the prepared grid are turned against those of the canonical one, as no preparation does.
    """

    def __init__(self, prepared: Geometry, original: Geometry) -> None:
        self._prepared, self.original = prepared, original
        canonical = canonical_grid(original)
        positions = aligned_positions(prepared, canonical)
        if positions is None:
            raise ValueError("the prepared grid is turned against that of the files")
        self.resamples = canonical.mismatch(prepared, tolerance=0.0) is not None
        if not self.resamples:
            positions = [np.arange(size) for size in canonical.shape]
        self._neighbours = [linear_neighbours(wanted, size) for wanted, size in zip(positions, prepared.shape, strict=True)]
        self._flipped, self.axis = False, slab_axis(original.shape)
        if original.spatial_dims == 3:
            target, direction = orientations.io_orientation(original.affine)[self.axis]
            self.axis, self._flipped = int(target), direction < 0

    def __call__(self, parts: Iterable[Slab]) -> Iterator[Slab]:
        """Turns slabs of the prepared grid, ascending along `axis`, into the `slab_slices` of the original grid along its `slab_axis`.

        These come in descending order where that axis of the files points against the canonical one. No tensor shares memory with those
        that came in.
        """
        size = self.original.shape[slab_axis(self.original.shape)]
        slabs = slab_slices(self.original.shape)
        wanted = [slice(size - slab.stop, size - slab.start) for slab in reversed(slabs)] if self._flipped else slabs
        low, weight = self._neighbours[self.axis]
        above = 1 if weight is None else 2
        length = self._prepared.shape[self.axis]
        ranges = [(int(low[rows.start]), min(int(low[rows.stop - 1]) + above, length)) for rows in wanted]
        for number, part in enumerate(_gathered(parts, ranges, self.axis + 1)):
            rows, (first, _) = wanted[number], ranges[number]
            restored = or_on_cpu(partial(self._restore, rows=rows, first=first), part)
            del part  # not while the next one comes
            yield (slice(size - rows.stop, size - rows.start) if self._flipped else rows), restored
            del restored

    def _restore(self, part: Tensor, rows: slice, first: int) -> Tensor:
        """Reads the canonical rows out of prepared rows, of which the first has the number `first`."""
        for axis, (low, weight) in enumerate(self._neighbours):
            if axis == self.axis:
                low, weight = low[rows] - first, None if weight is None else weight[rows]
            part = read_between(part, axis + 1, low, weight)
        return from_canonical(part, self.original)


def _gathered(parts: Iterable[Slab], ranges: Sequence[tuple[int, int]], axis: int) -> Iterator[Tensor]:
    """Copies slabs into the ranges of rows [first, last) that are wanted, ascending; a range may share rows with the one before."""
    source = iter(parts)
    part, begin, end = _NOTHING, 0, 0  # the slab that came last, and its rows
    kept, stop = _NOTHING, 0  # rows of the range before that are wanted again, and where it ended
    for number, (first, last) in enumerate(ranges):
        pieces = [kept] if stop > first else []
        kept, stop = _NOTHING, max(first, stop)
        while stop < last:
            while end <= stop:
                part = _NOTHING  # its memory may be wanted for the next one
                part = next(source)[1]
                begin, end = end, end + part.shape[axis]
            until = min(last, end)
            pieces.append(part.narrow(axis, stop - begin, until - stop).clone())
            stop = until
        rows = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=axis)
        following = ranges[number + 1][0] if number + 1 < len(ranges) else stop
        if following < stop:
            kept = rows.narrow(axis, following - first, stop - following).clone()
        del pieces
        yield rows
        del rows
