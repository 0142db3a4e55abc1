"""Where the classes and lesions of a case lie: what samplers need to know without opening an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from medseg.data.labels import LabelSchema
from medseg.data.normalisation import Intensities
from medseg.data.store.tables import ArrayTables, Tables

VOXELS_PER_CLASS = 10_000
"""Voxels kept of each class: a liver has millions, and some of them centre patches just as well."""

VOXELS_PER_LESION = 1_000

FOREGROUND_VOXELS = 10_000
"""Foreground voxels whose intensities are kept, as many of each case, so that one long scan does not outweigh the others."""

_AT_ONCE = 2**20  # voxels looked at together


@dataclass(frozen=True)
class Lesions:
    """The lesions of one case, L of them, ordered by class: connected components of one class, corners included (26 or 8 neighbours).

    Two classes that touch are two lesions; a voxel of overlapping classes belongs to a lesion of each. Ignored voxels belong to none.

    Args:
        classes: (L,) the class of each, its number in `labels.classes`.
        voxels: (L,) its voxels.
        volume: (L,) its volume in mm^3, area in mm^2 in 2-D.
        boxes: (L, 2, axes) its first voxel along each axis, and one past its last.
        centroids: (L, axes) mean of its voxels' coordinates.
    """

    classes: np.ndarray
    voxels: np.ndarray
    volume: np.ndarray
    boxes: np.ndarray
    centroids: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)


class CaseIndex:
    """The classes and lesions of one case, with a choice of their voxels that is the same each time it is made.

    Args:
        shape: Of the prepared image, without channels.
        spacing: Voxel size in mm, one number an axis.
        counts: (K,) voxels of each class, in the order of `labels.classes`; zeros where there is no label.
        intensities: Of the raw image.
        tables: Where the lesions and the chosen voxels are read from.
        native_lesions: (K,) lesions of each class in the grid of the files, before resampling: with `lesions`, what it has lost; see
            `medseg.data.store.lost.lost_lesions`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        spacing: Sequence[float],
        counts: np.ndarray,
        intensities: Intensities,
        tables: Tables,
        native_lesions: Sequence[int],
    ) -> None:
        self.shape = tuple(int(size) for size in shape)
        self.spacing = tuple(float(size) for size in spacing)
        self.counts = np.asarray(counts, dtype=np.int64)
        self.intensities = intensities
        self.tables = tables
        self.native_lesions = tuple(int(count) for count in native_lesions)

    @cached_property
    def lesions(self) -> Lesions:
        """The lesions; read at the first need."""
        read = self.tables.read
        classes, voxels = read("lesion_classes"), read("lesion_sizes")
        volume = voxels * float(np.prod(self.spacing))
        return Lesions(classes, voxels, volume, read("lesion_boxes"), read("lesion_centroids"))

    def draw_class(self, rng: np.random.Generator, k: int) -> tuple[int, ...]:
        """Draws a voxel of class `k`, each of at most `VOXELS_PER_CLASS` chosen ones equally likely.

        Raises:
            ValueError: The case shows no voxel of this class.
        """
        return self._draw(rng, "class_voxels", self._class_starts, k)

    def draw_lesion(self, rng: np.random.Generator, lesion: int) -> tuple[int, ...]:
        """Draws a voxel of a lesion, each of at most `VOXELS_PER_LESION` chosen ones equally likely."""
        return self._draw(rng, "lesion_voxels", self._lesion_starts, lesion)

    def foreground(self) -> np.ndarray:
        """Raw intensities (C, n) of at most `FOREGROUND_VOXELS` voxels of any class."""
        return self.tables.read("foreground")

    @cached_property
    def _class_starts(self) -> np.ndarray:
        return self.tables.read("class_starts")

    @cached_property
    def _lesion_starts(self) -> np.ndarray:
        return self.tables.read("lesion_starts")

    def _draw(self, rng: np.random.Generator, table: str, starts: np.ndarray, group: int) -> tuple[int, ...]:
        low, high = int(starts[group]), int(starts[group + 1])
        if low == high:
            raise ValueError(f"the case shows no voxel of class {group}")
        row = int(rng.integers(low, high))
        flat = int(self.tables.read(table, row, row + 1)[0])
        return tuple(int(i) for i in np.unravel_index(flat, self.shape))


def build_index(
    label: np.ndarray | None,
    schema: LabelSchema,
    spacing: Sequence[float],
    image: np.ndarray,
    intensities: Intensities,
    native: np.ndarray | None = None,
) -> CaseIndex:
    """Finds the classes and lesions of a case. Without a label, or with an empty one, there are none.

    Shape:
        label: uint8 internal ids (*spatial), or None
        image: (C, *spatial) raw intensities
        native: the label before resampling, uint8 (*its spatial), axes in any order; None where it was not resampled
    """
    shape = image.shape[1:]
    if label is None:
        label = np.zeros(shape, dtype=np.uint8)
    per_id = np.sum([np.bincount(slab.reshape(-1), minlength=256) for _, slab in _slabs(label)], axis=0)[: len(schema.values)]
    counts = schema.membership.astype(np.int64) @ per_id
    found = _Found(len(shape))
    per_class = [0] * len(schema.classes)
    for k, start, inside in _classes(label, schema):
        per_class[k] = found.add_class(k, inside, start, label.shape)
    if native is not None:
        per_class = [0] * len(schema.classes)
        for k, _, inside in _classes(native, schema):
            per_class[k] = _components(inside)[1]
    tables = found.tables() | {"foreground": _foreground(label, schema, image)}
    return CaseIndex(shape, spacing, counts, intensities, ArrayTables(tables), per_class)


class _Found:
    """Classes and lesions as they are found, group after group."""

    def __init__(self, axes: int) -> None:
        self.class_voxels: list[np.ndarray] = []
        self.lesion_voxels: list[np.ndarray] = []
        self.classes: list[int] = []
        self.sizes: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
        self.boxes: list[np.ndarray] = [np.empty((0, 2, axes), dtype=np.int32)]
        self.centroids: list[np.ndarray] = [np.empty((0, axes))]

    def add_class(self, k: int, inside: np.ndarray, start: Sequence[int], shape: tuple[int, ...]) -> int:
        """Adds class `k`, the voxels of `inside`, a box of a volume (*shape) that begins at `start`; gives the number of its lesions."""
        if inside.size == 0:
            self.class_voxels.append(np.empty(0, dtype=np.int64))
            return 0
        components, count = _components(inside)
        sizes, centroids = _measured(components, count, start)
        found = ndimage.find_objects(components)
        sides = [[[side.start for side in box], [side.stop for side in box]] for box in found]
        self.classes += [k] * count
        self.sizes.append(sizes)
        self.boxes.append((np.array(sides) + start).astype(np.int32))
        self.centroids.append(centroids)
        self.class_voxels.append(_chosen(inside, VOXELS_PER_CLASS, (k,), start, shape))
        for number, box in enumerate(found):
            first = [low + side.start for low, side in zip(start, box, strict=True)]
            mask = components[box] == number + 1
            self.lesion_voxels.append(_chosen(mask, VOXELS_PER_LESION, (k, number), first, shape))
        return count

    def tables(self) -> dict[str, np.ndarray]:
        """All that was found, as arrays by name."""
        return {
            "class_starts": _starts(self.class_voxels),
            "class_voxels": _joined(self.class_voxels),
            "lesion_starts": _starts(self.lesion_voxels),
            "lesion_voxels": _joined(self.lesion_voxels),
            "lesion_classes": np.array(self.classes, dtype=np.int64),
            "lesion_sizes": np.concatenate(self.sizes),
            "lesion_boxes": np.concatenate(self.boxes),
            "lesion_centroids": np.concatenate(self.centroids),
        }


def _classes(label: np.ndarray, schema: LabelSchema) -> Iterator[tuple[int, list[int], np.ndarray]]:
    """Each class, with the box around it and the first voxel of that; an empty box where the label shows none of it.

    Only boxes are looked at: a data set of a hundred organs would pass over the whole volume for each.
    """
    found = ndimage.find_objects(label, max_label=len(schema.values) - 1)
    for k, members in enumerate(schema.membership):
        boxes = [box for box, member in zip(found, members[1:], strict=True) if member and box is not None]
        start = [min((box[axis].start for box in boxes), default=0) for axis in range(label.ndim)]
        stop = [max((box[axis].stop for box in boxes), default=0) for axis in range(label.ndim)]
        table = np.zeros(256, dtype=np.bool_)
        table[: len(members)] = members
        yield k, start, table[label[tuple(map(slice, start, stop))]]


def _components(inside: np.ndarray) -> tuple[np.ndarray, int]:
    """The number of each voxel's component, 0 outside, and how many there are."""
    if inside.size == 0:
        return np.zeros(inside.shape, dtype=np.int32), 0
    components, count = ndimage.label(inside, structure=np.ones((3,) * inside.ndim))
    return components, int(count)


def _foreground(label: np.ndarray, schema: LabelSchema, image: np.ndarray) -> np.ndarray:
    table = np.zeros(256, dtype=np.bool_)
    table[: len(schema.values)] = schema.membership.any(axis=0)
    flat = _chosen(table[label], FOREGROUND_VOXELS, (), (0,) * label.ndim, label.shape)
    return np.ascontiguousarray(image.reshape(len(image), -1)[:, flat])


def _measured(components: np.ndarray, count: int, start: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and mean coordinates of each component, (L,) and (L, axes), in a box whose first voxel is `start`."""
    sizes = np.zeros(count, dtype=np.int64)
    sums = np.zeros((count, components.ndim))
    for first, slab in _slabs(components):
        where = np.nonzero(slab)
        number = slab[where] - 1
        sizes += np.bincount(number, minlength=count)
        for axis, low in enumerate([start[0] + first, *start[1:]]):
            sums[:, axis] += np.bincount(number, weights=where[axis] + low, minlength=count)
    return sizes, sums / sizes[:, None]


def _chosen(mask: np.ndarray, most: int, seed: tuple[int, ...], start: Sequence[int], shape: tuple[int, ...]) -> np.ndarray:
    """A random choice of at most `most` voxels of a mask, the same one each time, as flat indices into the volume (*shape) around it.

    Args:
        mask: A box of the volume.
        most: Largest number.
        seed: Of the choice.
        start: First voxel of the box.
        shape: Of the volume.
    """
    count, before, parts = int(np.count_nonzero(mask)), 0, [np.empty(0, dtype=np.int64)]
    # Not every k-th one: where k divides the width of the image, all of them would lie in one column.
    ranks = None if count <= most else np.sort(np.random.default_rng([most, *seed]).choice(count, most, replace=False))
    for first, slab in _slabs(mask):
        flat = np.flatnonzero(slab)
        kept = flat if ranks is None else flat[ranks[(ranks >= before) & (ranks < before + len(flat))] - before]
        before += len(flat)
        voxels = np.unravel_index(kept, slab.shape)
        corner = [start[0] + first, *start[1:]]
        parts.append(np.ravel_multi_index([place + low for place, low in zip(voxels, corner, strict=True)], shape))
    return np.concatenate(parts)


def _slabs(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Pieces along the first axis with the place of each: the coordinates of all voxels of an organ would take many times its image."""
    step = max(1, _AT_ONCE * len(array) // max(1, array.size))
    for first in range(0, len(array), step):
        yield first, array[first : first + step]


def _starts(groups: list[np.ndarray]) -> np.ndarray:
    return np.cumsum([0, *(len(group) for group in groups)], dtype=np.int64)


def _joined(groups: list[np.ndarray]) -> np.ndarray:
    """All flat indices, in four bytes each where they fit."""
    joined = np.concatenate([np.empty(0, dtype=np.int64), *groups])
    return joined.astype(np.uint32) if joined.size == 0 or joined.max() < 2**32 else joined
