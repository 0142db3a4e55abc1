"""The box around all foreground of two label maps, laid out in one flat array with zeros between rows, so that steps never wrap.

A step of (a, b, c) voxels is one number to add to a flat index. Zeros after each row serve the row's end and the next row's start alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

IGNORE = 255
"""Internal id of voxels that count as background in both maps."""


@dataclass(frozen=True)
class Frame:
    """Layout of a box of voxels with margins."""

    low: tuple[int, ...]
    """Where the box begins in the image."""
    extent: tuple[int, ...]
    """Voxels of the box along each axis; may reach over the image's end, where there is background."""
    margin: tuple[int, ...]
    """Empty voxels after each row, along each axis; along the first axis before the box as well. A step up to this long is safe."""

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Voxels of the box with its margins."""
        first = self.extent[0] + 2 * self.margin[0] + 1
        return first, *(n + m for n, m in zip(self.extent[1:], self.margin[1:], strict=True))

    @cached_property
    def size(self) -> int:
        """Length of the flat array."""
        return prod(self.shape)

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """What a step of one voxel along each axis adds to a flat index."""
        return tuple(prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))

    @cached_property
    def inside(self) -> slice:
        """The part of the flat array that holds the box, whole slices along the first axis."""
        start = self.margin[0] + 1
        return slice(start * self.steps[0], (start + self.extent[0]) * self.steps[0])

    def coordinates(self, indices: np.ndarray) -> np.ndarray:
        """Flat indices (n,) -> int64 (n, axes) voxel positions, up to a shift that is the same for all."""
        return np.stack(np.unravel_index(indices, self.shape), axis=1)

    def cut(self, ids: np.ndarray) -> np.ndarray:
        """The box out of the image, without what reaches over the image's end."""
        return ids[tuple(slice(low, low + n) for low, n in zip(self.low, self.extent, strict=True))]

    def place(self, values: np.ndarray) -> np.ndarray:
        """Lay what was cut out flat, with its margins: uint8 (size,)."""
        laid = np.zeros(self.shape, dtype=np.uint8)
        start = self.margin[0] + 1
        laid[(slice(start, start + values.shape[0]), *(slice(0, n) for n in values.shape[1:]))] = values
        return laid.ravel()


def foreground_box(*maps: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The smallest box that holds every voxel above 0 of all maps: its first voxel and its extent (0 where there is none)."""
    lines = [_projections(ids) for ids in maps]
    low, extent = [], []
    for along in zip(*lines, strict=True):
        filled = np.flatnonzero(np.logical_or.reduce([line > 0 for line in along]))
        low.append(int(filled[0]) if filled.size else 0)
        extent.append(int(filled[-1]) + 1 - low[-1] if filled.size else 0)
    return tuple(low), tuple(extent)


def exclusive_groups(membership: np.ndarray) -> list[list[int]]:
    """Classes (K, V) in as few groups as a first fit finds, so that those of a group share no id: one group unless regions overlap."""
    groups: list[list[int]] = []
    for index, ids in enumerate(membership):
        home = next((group for group in groups if not (membership[group] & ids).any()), None)
        if home is None:
            groups.append([index])
        else:
            home.append(index)
    return groups


def label_maps(
    prediction: np.ndarray, reference: np.ndarray, membership: np.ndarray, frame: Frame
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each group of classes that exclude one another both maps, flat: 0 for background, class index + 1 elsewhere."""
    cut_prediction, cut_reference = frame.cut(prediction), frame.cut(reference)
    ignored = cut_reference == IGNORE if cut_reference.max(initial=0) == IGNORE else None
    for group in exclusive_groups(membership):
        table = np.zeros(256, dtype=np.uint8)
        for index in group:
            table[: membership.shape[1]][membership[index]] = index + 1
        as_they_are = np.array_equal(table[: membership.shape[1]], np.arange(membership.shape[1]))
        if as_they_are and ignored is None:
            yield frame.place(cut_prediction), frame.place(cut_reference)
            continue
        predicted = table[cut_prediction]
        if ignored is not None:
            predicted[ignored] = 0
        yield frame.place(predicted), frame.place(table[cut_reference])


def _projections(ids: np.ndarray) -> list[np.ndarray]:
    """The largest id of each slice, along each axis: every pass leaves one axis less to look at."""
    lines = []
    while ids.ndim > 1:
        lines.append(ids.max(axis=tuple(range(1, ids.ndim))))
        ids = ids.max(axis=0)
    return [*lines, ids]
