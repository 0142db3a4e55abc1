"""Where training patches are centred: on a lesion, on a class, or anywhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from medseg.data.labels import IGNORE, LabelSchema

MAX_VOXELS_PER_GROUP = 10_000  # a liver has millions of voxels; some of them centre patches just as well


def foreground_flags(count: int, fraction: float, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    r"""Says which of an epoch's `count` patches are centred on foreground.

    Patch $n$ is one where $\lfloor (n+1) f \rfloor > \lfloor n f \rfloor$, so that the epoch holds exactly $\lfloor N f \rfloor$ of
    them and every batch $\lfloor B f \rfloor$ or $\lceil B f \rceil$, also where the batch size is 1. The order is shuffled within each
    batch only: that keeps both counts and spreads the foreground over the ranks that share a batch.

    Returns:
        Booleans of shape (count,).
    """
    # Rounding first: 0.29 * 100 is 28.999999999999996 in floating point.
    thresholds = np.floor(np.round(np.arange(count + 1) * fraction, 9))
    flags = np.diff(thresholds) > 0
    for start in range(0, count, batch_size):
        rng.shuffle(flags[start : start + batch_size])
    return flags


def foreground_of(label: np.ndarray, schema: LabelSchema) -> np.ndarray:
    """Says which voxels of a map of internal ids belong to any class; ignored ones do not."""
    table = np.zeros(IGNORE + 1, dtype=np.bool_)
    table[: len(schema.values)] = schema.membership.any(axis=0)
    return table[label]


@dataclass(frozen=True)
class VoxelGroups:
    """The voxels of one case that patches may be centred on, in groups that are equally likely (lesions, or classes)."""

    shape: tuple[int, ...]
    voxels: np.ndarray
    """Flat indices, group after group."""
    starts: np.ndarray
    """Offset of each group in `voxels`, and the end: (groups + 1,)."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def draw(self, rng: np.random.Generator) -> tuple[int, ...]:
        """Draws a group, then one of its voxels, each equally likely; returns the voxel's coordinates."""
        group = rng.integers(len(self))
        flat = self.voxels[rng.integers(self.starts[group], self.starts[group + 1])]
        return tuple(int(i) for i in np.unravel_index(flat, self.shape))

    @staticmethod
    def of(shape: tuple[int, ...], groups: Iterable[np.ndarray]) -> VoxelGroups:
        """Packs the flat indices of each group; empty groups are left out, large ones thinned to `MAX_VOXELS_PER_GROUP`."""
        kept = [_thinned(group) for group in groups if len(group)]
        starts = np.cumsum([0, *(len(group) for group in kept)])
        voxels = np.concatenate(kept) if kept else np.empty(0)
        return VoxelGroups(shape, voxels.astype(np.int64), starts)


class CentreSampler(ABC):
    """Draws patch centres from a set of labelled cases.

    A foreground centre comes from a case that has foreground, each such case equally likely, then from one of the case's groups, each
    equally likely, then from one of the group's voxels. Any other centre is a voxel of any case, both uniformly drawn. Ignored voxels
    (255) are no foreground.
    """

    def __init__(self) -> None:
        self._cases: list[VoxelGroups] = []
        self._positive: list[int] = []

    @abstractmethod
    def groups(self, label: np.ndarray, schema: LabelSchema) -> VoxelGroups:
        """Finds the groups of a label map of internal ids."""

    def add(self, label: np.ndarray, schema: LabelSchema) -> None:
        """Indexes the next case."""
        found = self.groups(label, schema)
        if len(found):
            self._positive.append(len(self._cases))
        self._cases.append(found)

    @property
    def has_foreground(self) -> bool:
        """Whether any case has a voxel of foreground."""
        return bool(self._positive)

    def draw(self, rng: np.random.Generator, foreground: bool) -> tuple[int, tuple[int, ...]]:
        """Draws the index of a case and the coordinates of a voxel in it.

        Raises:
            ValueError: No case has any foreground and `foreground` is asked for.
        """
        if not foreground:
            case = int(rng.integers(len(self._cases)))
            return case, tuple(int(rng.integers(size)) for size in self._cases[case].shape)
        if not self._positive:
            raise ValueError("no case has any foreground to centre a patch on")
        case = self._positive[rng.integers(len(self._positive))]
        return case, self._cases[case].draw(rng)


class LesionSampler(CentreSampler):
    """Centres on lesions: the connected components of the foreground (26 neighbours in 3-D, 8 in 2-D).

    Each lesion of a case is equally likely whatever its size. Drawn by voxel, 99.7 % of the patches of a case with one lesion of 60 voxels
    across and ten of 4 would show the large one.
    """

    def groups(self, label: np.ndarray, schema: LabelSchema) -> VoxelGroups:
        """Finds the lesions, over all classes together."""
        components, count = ndimage.label(foreground_of(label, schema), structure=np.ones((3,) * label.ndim))
        flat = np.flatnonzero(components)
        return VoxelGroups.of(label.shape, _split(flat, components.ravel()[flat], np.arange(1, count + 1)))


class ClassSampler(CentreSampler):
    """Centres on classes: each class that a case shows is equally likely whatever its size."""

    def groups(self, label: np.ndarray, schema: LabelSchema) -> VoxelGroups:
        """Finds the voxels of each class; a voxel of overlapping classes counts for each of them."""
        flat = np.flatnonzero(foreground_of(label, schema))
        by_id = _split(flat, label.ravel()[flat], np.arange(len(schema.values)))
        return VoxelGroups.of(label.shape, (np.concatenate([by_id[i] for i in np.flatnonzero(row)]) for row in schema.membership))


def patch_start(centre: tuple[int, ...], patch: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the first voxel of the patch around `centre`, moved so that it lies inside the image.

    Where the image is smaller than the patch the start is negative: the image lies in the middle and `crop` pads both sides.
    """
    starts = []
    for c, p, s in zip(centre, patch, shape, strict=True):
        starts.append(min(max(c - p // 2, 0), s - p) if s >= p else -((p - s) // 2))
    return tuple(starts)


def crop(array: np.ndarray, start: tuple[int, ...], patch: tuple[int, ...], fill: np.ndarray | int) -> np.ndarray:
    """Copies a patch out of the last axes of `array`.

    Args:
        array: (*leading, *spatial).
        start: First voxel, one coordinate a spatial axis; may lie outside.
        patch: Size in voxels.
        fill: Value of voxels outside the array, broadcast against (*leading, *patch).
    """
    spatial = array.shape[-len(patch) :]
    inside = [(max(a, 0), min(a + p, s)) for a, p, s in zip(start, patch, spatial, strict=True)]
    source: tuple[Any, ...] = (..., *(slice(low, high) for low, high in inside))
    part = array[source]
    if part.shape[-len(patch) :] == tuple(patch):
        return part.copy()
    out = np.empty((*array.shape[: -len(patch)], *patch), dtype=array.dtype)
    out[...] = fill
    target: tuple[Any, ...] = (..., *(slice(low - a, high - a) for (low, high), a in zip(inside, start, strict=True)))
    out[target] = part
    return out


def _split(flat: np.ndarray, keys: np.ndarray, wanted: np.ndarray) -> list[np.ndarray]:
    """Splits the indices `flat` by their key into one array for each of the sorted keys in `wanted`."""
    order = np.argsort(keys, kind="stable")
    edges = np.searchsorted(keys[order], wanted[1:])
    return np.split(flat[order], edges) if len(wanted) else []


def _thinned(voxels: np.ndarray) -> np.ndarray:
    """Keeps a random `MAX_VOXELS_PER_GROUP` voxels, the same ones each time."""
    if len(voxels) <= MAX_VOXELS_PER_GROUP:
        return voxels
    # Not every k-th one: where k divides the width of the image, all of them would lie in one column.
    return np.random.default_rng(0).choice(voxels, MAX_VOXELS_PER_GROUP, replace=False)
