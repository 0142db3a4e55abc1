"""Lesions of other training cases pasted into patches, so that small and rare ones are met more often and in more places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from scipy import ndimage

from medseg.config.schema import CopyPasteConfig
from medseg.data.labels import IGNORE, LabelSchema
from medseg.errors import DataError

RIM = 2
"""Voxels around a lesion over which it is blended, and whose intensities are matched."""
OPACITY = (0.6, 0.25)
"""How much of the lesion's own surroundings is mixed in, one and two voxels outside of it."""
PLACES = 256
"""Random places looked at for each lesion; fewer for a large one, so that about `VOXELS_LOOKED_AT` voxels are compared, but 4."""
VOXELS_LOOKED_AT = 50_000
LARGEST_SHARE = 0.5
"""Largest extent of a lesion as a share of the box, on every axis: larger ones hardly find a place."""
SPACING_RATIO = 1.25
"""Largest ratio of voxel sizes, on every axis, between a lesion's case and the patch: lesions keep their voxels."""
LOWEST_SHARE = 0.02
"""Largest share of voxels of the lowest intensity, as of air and of the black around a picture, in the box around a pasted lesion: single
dark voxels of tissue are no hindrance."""
CONTRAST = 1.0
"""Least difference of a lesion's mean from its rim's in some channel, in standard deviations of the rim: fainter ones cannot be seen."""
TRIES = 4
"""Lesions drawn until one can be seen."""


class _Cases(Protocol):
    """What is used of the stored cases."""

    def __len__(self) -> int: ...

    def index(self, i: int, /) -> Any: ...

    def read(self, i: int, /, start: tuple[int, ...], size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]: ...


class CopyPaste:
    """Pastes lesions into boxes, in 2-D and 3-D, before they are augmented.

    Each lesion (connected component of one class) of the training cases is equally likely whatever its size or its case; left out are those
    within two voxels of the border of their image (they may be cut), larger than half of the box, of a case of another voxel size, or so
    faint that their mean lies within one standard deviation of the two voxels around them, in every channel: a pasted one would look like a
    wrong label. What is pasted is the lesion's own ids and intensities, mirrored at random.

    A lesion goes only where *all* voxels under it have the id that mostly surrounds it at home: a tumour of the liver into liver, a lesion
    of the white matter into background. So nothing is pasted over another lesion, a foreign organ or ignored voxels. The box of the lesion
    and of two voxels around it lies inside the image, and nearly no voxel of it has the lowest intensity, as air and the black around a
    picture have. Of the random places that are left it takes the one whose surroundings resemble those at home most in mean and spread,
    which keeps lesions out of air and off bone; then its intensities are shifted by what difference remains and blended over two voxels.
    Boxes in which no place is left stay as they are.

    Args:
        cases: The training cases, `medseg.data.store.StoredCases` or what looks like it.
        labels: Their classes.
        options: How often, how many, of which classes.
        mirror: Axes along which lesions are flipped; None: all.

    Raises:
        DataError: A class of the options is unknown.
    """

    def __init__(self, cases: _Cases, labels: LabelSchema, options: CopyPasteConfig, mirror: Sequence[int] | None = None) -> None:
        self.cases, self.labels, self.options, self.mirror = cases, labels, options, mirror
        names = labels.classes if options.classes is None else options.classes
        unknown = [name for name in names if name not in labels.classes]
        if unknown:
            raise DataError(f"data.copy_paste.classes: no class named {', '.join(unknown)}; the classes are {', '.join(labels.classes)}")
        self._wanted = [labels.classes.index(name) for name in names]
        # (K, 256): whether an id belongs to a class.
        self._member = np.zeros((labels.num_classes, IGNORE + 1), dtype=np.bool_)
        self._member[:, : len(labels.values)] = labels.membership

    def __call__(
        self, image: np.ndarray, label: np.ndarray, spacing: Sequence[float], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give the box with lesions pasted in, or as it is; the arrays given are not changed.

        Args:
            image: (C, *box) float32, normalised.
            label: (*box) uint8 ids.
            spacing: Voxel size of the box.
            rng: Everything random comes from it.
        """
        if rng.random() >= self.options.probability:
            return image, label
        fitting = self._table.fitting(label.shape, spacing)
        if not len(fitting):
            return image, label
        image, label = image.copy(), label.copy()
        ground = _Ground.of(image)
        for _ in range(rng.integers(1, self.options.lesions + 1)):
            lesion = self._visible(fitting, rng)
            if lesion is not None:
                _paste(image, label, ground, lesion, rng)
        return image, label

    @cached_property
    def _table(self) -> _Table:
        return _Table.of(self.cases, self._wanted)

    def _visible(self, rows: np.ndarray, rng: np.random.Generator) -> _CutOut | None:
        """Draw a lesion that can be seen; None where a few that are drawn cannot."""
        for _ in range(TRIES):
            lesion = self._cut_out(int(rng.choice(rows)), rng)
            if lesion is not None and lesion.contrast > CONTRAST:
                return lesion
        return None

    def _cut_out(self, row: int, rng: np.random.Generator) -> _CutOut | None:
        """Read a lesion with its rim and mirror it; None where it has no surroundings to compare with."""
        table = self._table
        start, stop = table.boxes[row]
        size = stop - start + 2 * RIM
        image, label = self.cases.read(int(table.cases[row]), _integers(start - RIM), _integers(size))
        for axis in range(label.ndim) if self.mirror is None else self.mirror:
            if rng.random() < 0.5:
                image, label = np.flip(image, 1 + axis), np.flip(label, axis)
        member = self._member[table.classes[row]][label]
        mask = _component(member, int(table.voxels[row]))
        shells = _shells(mask)
        around = label[(shells > 0) & ~member & (label != IGNORE)]
        if not around.size:
            return None
        home = int(np.bincount(around).argmax())
        opacity = np.where(mask, np.float32(1), 0)
        for distance, share in enumerate(OPACITY, start=1):
            opacity[(shells == distance) & (label == home)] = share
        inside = np.nonzero(opacity)
        rim = opacity[inside] < 1
        return _CutOut(
            np.stack(inside), np.stack([channel[inside] for channel in image]), opacity[inside], rim, label[inside], home, _integers(size)
        )


@dataclass(frozen=True)
class _CutOut:
    """A lesion and its rim as a list of n voxels.

    Args:
        places: (D, n) coordinates in the box that was read.
        values: (C, n) intensities.
        opacity: (n,) 1 in the lesion, less in its rim.
        rim: (n,) whether a voxel is rim.
        ids: (n,) ids.
        home: The id around it.
        size: Of the box.
    """

    places: np.ndarray
    values: np.ndarray
    opacity: np.ndarray
    rim: np.ndarray
    ids: np.ndarray
    home: int
    size: tuple[int, ...]

    @property
    def contrast(self) -> float:
        """Difference of the lesion's mean from its rim's in standard deviations of the rim, in the channel that shows it best."""
        rim = self.values[:, self.rim]
        difference = np.abs(self.values[:, ~self.rim].mean(axis=1) - rim.mean(axis=1))
        return float((difference / np.maximum(rim.std(axis=1), np.finfo(np.float32).tiny)).max())


@dataclass(frozen=True)
class _Ground:
    """Where in a box the image lies.

    Args:
        lowest: (*box) whether all channels have the lowest intensity of the box, as all padding has.
        start: First voxel of the image along each axis, or of what of it is brighter.
        stop: One past its last.
    """

    lowest: np.ndarray
    start: np.ndarray
    stop: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray) -> _Ground:
        """Look at a box (C, *box) before anything is pasted into it."""
        lowest = np.logical_and.reduce([channel <= channel.min() for channel in image])
        sides = []
        for axis in range(lowest.ndim):
            seen = np.flatnonzero(~lowest.all(axis=tuple(other for other in range(lowest.ndim) if other != axis)))
            sides.append((seen[0], seen[-1] + 1) if len(seen) else (0, 0))
        start, stop = np.array(sides).T
        return cls(lowest, start, stop)


@dataclass(frozen=True)
class _Table:
    """All lesions that may be pasted: case, class, number of voxels, box and voxel size of each."""

    cases: np.ndarray
    classes: np.ndarray
    voxels: np.ndarray
    boxes: np.ndarray
    spacing: np.ndarray

    @classmethod
    def of(cls, cases: _Cases, classes: Sequence[int]) -> _Table:
        """Collect the lesions of the classes from the indices of the cases."""
        parts: list[tuple[np.ndarray, ...]] = []
        for number in range(len(cases)):
            index = cases.index(number)
            lesions = index.lesions
            if not len(lesions.classes):
                continue
            boxes = np.asarray(lesions.boxes)
            whole = (boxes[:, 0] >= RIM).all(axis=1) & (boxes[:, 1] <= np.asarray(index.shape) - RIM).all(axis=1)
            kept = np.flatnonzero(np.isin(lesions.classes, classes) & whole)
            spacing = np.tile(np.asarray(index.spacing, dtype=np.float64), (len(kept), 1))
            parts.append((np.full(len(kept), number), lesions.classes[kept], lesions.voxels[kept], boxes[kept], spacing))
        if not parts:
            return cls(*(np.empty(0, dtype=np.int64) for _ in range(5)))
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def fitting(self, shape: tuple[int, ...], spacing: Sequence[float]) -> np.ndarray:
        """Rows of the lesions that suit a box of this shape and voxel size."""
        if not len(self.cases):
            return np.empty(0, dtype=np.int64)
        extents = self.boxes[:, 1] - self.boxes[:, 0]
        small = (extents <= LARGEST_SHARE * np.asarray(shape)).all(axis=1) & (extents + 2 * RIM <= shape).all(axis=1)
        ratio = self.spacing / np.asarray(spacing)
        return np.flatnonzero(small & (np.maximum(ratio, 1 / ratio) <= SPACING_RATIO).all(axis=1))


def _component(member: np.ndarray, voxels: int) -> np.ndarray:
    """The component of `voxels` voxels that fills its box: the margin around it shows parts of others at most."""
    parts, _ = ndimage.label(member, structure=np.ones((3,) * member.ndim))
    inner = parts[(slice(RIM, -RIM),) * parts.ndim]
    counts = np.bincount(inner.ravel())
    # The border of the box tells two components of one size apart: the lesion touches all of its sides.
    sides = [set(np.unique(np.take(inner, end, axis))) for axis in range(inner.ndim) for end in (0, -1)]
    touching = set.intersection(*sides) - {0}
    number = min(touching, key=lambda part: abs(int(counts[part]) - voxels))
    return np.asarray(parts == number)


def _shells(mask: np.ndarray) -> np.ndarray:
    """Distance from the lesion in steps of one voxel, 1 to `RIM`; 0 in the lesion and beyond."""
    cross = ndimage.generate_binary_structure(mask.ndim, 1)
    shells = np.zeros(mask.shape, dtype=np.uint8)
    grown = mask
    for distance in range(1, RIM + 1):
        wider = ndimage.binary_dilation(grown, cross)
        shells[wider & ~grown] = distance
        grown = wider
    return shells


def _paste(image: np.ndarray, label: np.ndarray, ground: _Ground, lesion: _CutOut, rng: np.random.Generator) -> None:
    """Paste a lesion at the best of some random places, in place; nothing where none is free of labels and of padding."""
    places = min(PLACES, max(4, VOXELS_LOOKED_AT // len(lesion.ids)))
    last = ground.stop - np.asarray(lesion.size, dtype=np.int64)
    if (last < ground.start).any():
        return
    corners = rng.integers(ground.start, last, (places, label.ndim), endpoint=True)
    offsets = np.ravel_multi_index(tuple(lesion.places), label.shape)
    firsts = np.ravel_multi_index(tuple(corners.T), label.shape)
    flat_image, flat_label = image.reshape(len(image), -1), label.reshape(-1)
    core, rim = offsets[~lesion.rim], offsets[lesion.rim]
    # One voxel of each place first: most places that are not free show it there.
    firsts = firsts[flat_label[firsts + core[len(core) // 2]] == lesion.home]
    firsts = firsts[np.all(flat_label[firsts[:, None] + core] == lesion.home, axis=1)]
    around, home = flat_image[:, firsts[:, None] + rim], lesion.values[:, lesion.rim]
    difference = around.mean(axis=2) - home.mean(axis=1)[:, None]
    # The spread, too: across the edge of an organ or of the field of view the mean may be that at home by chance.
    spread = around.std(axis=2) - home.std(axis=1)[:, None]
    order = (difference**2 + spread**2).sum(axis=0).argsort(kind="stable")
    best = next((number for number in order if _share(ground.lowest, firsts[number], lesion.size) <= LOWEST_SHARE), None)
    if best is None:
        return
    where = firsts[best] + offsets
    # The rim of another lesion, or of another organ, keeps its intensities.
    opacity = np.where(flat_label[where] == lesion.home, lesion.opacity, 0)
    values = lesion.values + difference[:, best, None]
    flat_image[:, where] += opacity * (values - flat_image[:, where])
    flat_label[where[~lesion.rim]] = lesion.ids[~lesion.rim]


def _share(mask: np.ndarray, first: int, size: tuple[int, ...]) -> float:
    """Share of the voxels of a box, whose first voxel has the flat index `first`, that a mask sets."""
    corner = np.unravel_index(first, mask.shape)
    return float(mask[tuple(slice(low, low + length) for low, length in zip(corner, size, strict=True))].mean())


def _integers(numbers: np.ndarray) -> tuple[int, ...]:
    return tuple(int(number) for number in numbers)
