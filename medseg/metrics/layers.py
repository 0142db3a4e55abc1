"""Squared distances from every place of a grid to the nearest of a set of sites, exact, with ties by a number of the site.

A squared distance is a sum over the axes, so a minimum over sites can be taken one axis after the other: along lines that hold sites, then
over the lines of a layer, then over the layers. Only lines and layers that hold sites are looked at: lesions take few of either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_SLAB = 1 << 15  # places of a layer that are looked at together: what is kept of them stays in the cache
_LINES = 1 << 18  # places of lines that are filled at once


@dataclass(frozen=True)
class Layers:
    """Sites in a grid of three axes, by layers along the first of `order`, lines along the last.

    Args:
        extent: Places of the grid along each axis as ordered here.
        order: The axes of the caller: layer, line, place in the line.
        scale: What a step of 1 along each axis adds to the squared distance.
        layer: Where the layers with sites are, ascending: int64 (m,).
        ends: Lines of all layers up to and with each: int64 (m,).
        line: Where each line is in its layer: int64 (r,).
        along: Within each line the least of squared distance and rank: (r, places in a line), int32, int64 or float64.
    """

    extent: tuple[int, ...]
    order: tuple[int, ...]
    scale: tuple[float, ...]
    layer: np.ndarray
    ends: np.ndarray
    line: np.ndarray
    along: np.ndarray

    @classmethod
    def of(
        cls,
        sites: np.ndarray,
        extent: Sequence[int],
        spacing: Sequence[float],
        ranks: np.ndarray | None = None,
        *,
        in_order: bool = False,
    ) -> Layers:
        """Read the sites.

        Args:
            sites: int64 (n, axes), n >= 1, within the grid, each once.
            extent: Of the grid, 2 or 3 axes.
            spacing: Length of a step along each axis. Of no effect with ranks.
            ranks: int64 (n,), 0 <= rank < number. Then results are the squared distance in steps times that number, plus the rank.
            in_order: Keep the axes as they are, for `everywhere`; else layers are as few as may be.
        """
        sites, extent = _three(sites), (*extent, 1)[:3]
        number = 1 if ranks is None else int(ranks.max()) + 1
        scale = (float(number),) * 3 if ranks is not None else (*(float(step) ** 2 for step in spacing), 1.0)[:3]
        order = _order(sites, extent) if not in_order else (0, 1, 2) if extent[2] > 1 else (2, 0, 1)
        sites, extent, scale = sites[:, order], tuple(extent[axis] for axis in order), tuple(scale[axis] for axis in order)
        keys, row = np.unique(sites[:, 0] * extent[1] + sites[:, 1], return_inverse=True)
        layer, first = np.unique(keys // extent[1], return_index=True)
        dtype = np.float64 if ranks is None else np.int32 if number * (1 + sum(n * n for n in extent)) < 1 << 31 else np.int64
        along = np.empty((len(keys), extent[2]), dtype=dtype)
        order_of_sites = np.argsort(row, kind="stable")
        bounds = np.searchsorted(row[order_of_sites], np.arange(len(keys) + 1))
        step = max(1, _LINES // extent[2])
        for start in range(0, len(keys), step):
            chosen = order_of_sites[bounds[start] : bounds[min(start + step, len(keys))]]
            part = along[start : start + step]
            _fill(part, row[chosen] - start, sites[chosen, 2], scale[2], None if ranks is None else ranks[chosen])
        return cls(extent, order, scale, layer, np.append(first[1:], len(keys)), keys % extent[1], along)

    @property
    def cost(self) -> int:
        """Additions that `planes` takes, at most."""
        return (len(self.line) + len(self.layer) * self.extent[0]) * self.extent[1] * self.extent[2]

    def everywhere(self, flat: np.ndarray) -> np.ndarray:
        """As `at`, for many places and sites all over the grid, `in_order`; places by their index in the flat grid, ascending."""
        result = np.empty(len(flat), dtype=self.along.dtype)
        for (at, lines), least in self.planes():
            begin = (at * self.extent[1] + lines.start) * self.extent[2]
            low, high = np.searchsorted(flat, [begin, begin + least.size])
            result[low:high] = least.ravel()[flat[low:high] - begin]
        return result

    def planes(self) -> Iterator[tuple[tuple[int, slice], np.ndarray]]:
        """Every part of the grid, transposed by `order` (`transposed`), and the least squared distance in each of its places (2-D)."""
        rows = max(1, _SLAB // self.extent[2])
        for start in range(0, self.extent[1], rows):
            near = self._slab(start, min(start + rows, self.extent[1]))
            spare = np.empty_like(near[0])
            for at in range(self.extent[0]):
                yield (at, slice(start, start + near.shape[1])), self._merged(near, at, spare)

    def at(self, points: np.ndarray) -> np.ndarray:
        """The least squared distance of some places int64 (n, axes) of the grid: (n,). Made for sites in few layers."""
        first, second, third = _three(points)[:, self.order].T
        place = second * self.extent[2] + third
        best = np.full(len(points), np.inf)
        for layer, near in zip(self.layer.tolist(), self._table, strict=True):
            np.minimum(best, (first - layer) ** 2 * self.scale[0] + near[place], out=best)
        return best

    def transposed(self, grid: np.ndarray) -> np.ndarray:
        """A grid of the caller as `planes` reads it."""
        return grid.reshape((*grid.shape, 1)[:3]).transpose(self.order)

    @cached_property
    def _table(self) -> np.ndarray:
        """For each layer the least within it, of every place: (m, places)."""
        return self._slab(0, self.extent[1]).reshape(len(self.layer), -1)

    def _slab(self, start: int, stop: int) -> np.ndarray:
        """For each layer the least within it, of the places in some lines: (m, lines, places)."""
        dtype = self.along.dtype
        result = np.empty((len(self.layer), stop - start, self.extent[2]), dtype=dtype)
        lines, spare = np.arange(start, stop)[:, None], np.empty(result.shape[1:], dtype=dtype)
        low = 0
        for near, high in zip(result, self.ends.tolist(), strict=True):
            for row in range(low, high):
                away = ((lines - self.line[row]) ** 2 * self.scale[1]).astype(dtype)
                np.add(self.along[row], away, out=near if row == low else spare)
                if row > low:
                    np.minimum(near, spare, out=near)
            low = high
        return result

    def _merged(self, near: np.ndarray, at: int, spare: np.ndarray) -> np.ndarray:
        """The least over all layers, nearest layers first: those that are farther than everything found are not looked at."""
        away = ((self.layer - at) ** 2 * self.scale[0]).astype(near.dtype)
        order = np.argsort(away, kind="stable")
        best = near[order[0]] + away[order[0]]
        for looked, layer in enumerate(order[1:].tolist()):
            if looked % 8 == 0 and away[layer] > best.max():
                break
            np.add(near[layer], away[layer], out=spare)
            np.minimum(best, spare, out=best)
        return best


def _three(places: np.ndarray) -> np.ndarray:
    return places if places.shape[1] == 3 else np.column_stack([places, np.zeros(len(places), dtype=places.dtype)])


def _order(sites: np.ndarray, extent: Sequence[int]) -> tuple[int, ...]:
    """The axis with the fewest layers that hold sites first, the others as they come: the last one lies closest in memory."""
    layers = [len(np.unique(sites[:, axis])) for axis in range(3)]
    first = min(range(3), key=lambda axis: (layers[axis], -extent[axis]))
    return (first, *(axis for axis in range(3) if axis != first))


def _fill(along: np.ndarray, row: np.ndarray, place: np.ndarray, scale: float, ranks: np.ndarray | None) -> None:
    """Write the least of squared distance and rank along lines that each hold a site."""
    places = np.arange(along.shape[1])
    far = 2 * along.shape[1]
    before, behind = np.full(along.shape, -far), np.full(along.shape, far)
    before[row, place] = behind[row, place] = place
    before = np.maximum.accumulate(before, axis=1)
    behind = np.minimum.accumulate(behind[:, ::-1], axis=1)[:, ::-1]
    to_before, to_behind = (places - before) ** 2 * scale, (behind - places) ** 2 * scale
    if ranks is not None:
        held = np.zeros(along.shape, dtype=np.int64)
        held[row, place] = ranks
        to_before += np.take_along_axis(held, np.maximum(before, 0), axis=1)
        to_behind += np.take_along_axis(held, np.minimum(behind, along.shape[1] - 1), axis=1)
    along[:] = np.minimum(to_before, to_behind)
