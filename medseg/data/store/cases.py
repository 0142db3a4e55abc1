"""Prepared cases as training and scoring read them: boxes and whole images, normalised on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg.data.case import Case
from medseg.data.geometry import from_canonical
from medseg.data.labels import LabelSchema
from medseg.data.normalisation import Normaliser
from medseg.data.preparation import PreparedCase, canonical_grid, read_ids
from medseg.data.store.cache import SharedCache, SharedFlags
from medseg.data.store.index import CaseIndex
from medseg.data.store.locks import ReadMark
from medseg.data.store.manifest import StoredCase
from medseg.errors import DataError


class StoredCases:
    """Stored cases, in the order they were opened in; made by `PreparedStore.open`.

    The first process that reads a case which has a place in the cache unpacks it whole, and all processes forked after opening read it from
    there. Of the others the blocks that a box meets are unpacked each time. What is read is the same either way.

    Before the first box of a case is read, the process holds its files against their digests (1 s a GB, once for all forked processes), so
    that damage ends the run with its name instead of training on it.

    A pickled copy, as a worker that is spawned gets, has no cache: it reads boxes from the files.

    Args:
        stored: The cases.
        labels: What their ids mean.
        cache_bytes: Memory for unpacked cases.
        mark: Kept while the cases are in use.
    """

    def __init__(self, stored: Sequence[StoredCase], labels: LabelSchema, cache_bytes: float = 0.0, mark: ReadMark | None = None) -> None:
        self.labels = labels
        self._stored = tuple(stored)
        self._mark = mark
        self._normaliser: Normaliser | None = None
        self._cache = SharedCache([case.image_nbytes + case.label_nbytes for case in self._stored], cache_bytes)
        self._intact = SharedFlags(len(self._stored))
        self._views: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
        self._fills: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._stored)

    @property
    def cache_nbytes(self) -> int:
        """Bytes of memory that the cache takes once it is full."""
        return self._cache.nbytes

    def case(self, i: int) -> Case:
        """The i-th case."""
        return self._stored[i].case

    def index(self, i: int) -> CaseIndex:
        """Its classes and lesions."""
        return self._stored[i].index

    def use(self, normaliser: Normaliser | None) -> None:
        """Sets what `read` and `whole` apply; with None, the default, images are raw intensities in float32."""
        self._normaliser = normaliser
        self._fills.clear()

    def read(self, i: int, start: Sequence[int], size: Sequence[int], flips: Sequence[int] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Reads a box.

        Args:
            i: Number of the case.
            start: First voxel, one coordinate an axis; may lie outside the image.
            size: In voxels, at least 1 an axis.
            flips: Axes along which the box is read backwards.

        Returns:
            New arrays: the image, float32 (C, *size), and the label, uint8 ids (*size). Outside the image each channel has its lowest value
            and the label 0.

        Raises:
            DataError: The case has no label, or its stored files are damaged.
        """
        stored = self._stored[i]
        if not stored.labelled:
            raise DataError(f"case '{stored.case.id}' has no label and cannot be trained on; remove it from the split")
        spatial = stored.shape[1:]
        low = [max(a, 0) for a in start]
        high = [min(a + n, limit) for a, n, limit in zip(start, size, spatial, strict=True)]
        if any(b <= a for a, b in zip(low, high, strict=True)):
            return self._padding(i, size), np.zeros(tuple(size), dtype=np.uint8)
        image, label = self._part(i, (slice(None), *map(slice, low, high)), flips)
        if image.shape[1:] == tuple(size):
            return image, label
        inside = tuple(
            slice(first + n - b, first + n - a) if axis in flips else slice(a - first, b - first)
            for axis, (a, b, first, n) in enumerate(zip(low, high, start, size, strict=True))
        )
        padded, padded_label = self._padding(i, size), np.zeros(tuple(size), dtype=np.uint8)
        padded[(slice(None), *inside)] = image
        padded_label[inside] = label
        return padded, padded_label

    def whole(self, i: int, reference: bool = True) -> PreparedCase:
        """Reads a whole case, normalised.

        Args:
            i: Number of the case.
            reference: Whether to give the label in the grid of the files too, for scoring; of a resampled case it is read from its file.

        Raises:
            DataError: The stored files are damaged, or the label's file cannot be read.
        """
        stored = self._stored[i]
        image, label = self._unpacked(i) if i in self._cache else self._unpack(stored)
        own = None if label is None else label.copy()
        found = self._reference(stored, own) if reference and own is not None else None
        normalised, intensities = self._normalised(i, image), stored.index.intensities
        return PreparedCase(stored.case, normalised, own, stored.geometry, stored.original, found, intensities)

    def foreground(self, i: int) -> np.ndarray:
        """Raw float32 intensities (C, n) of at most 10,000 voxels of any class, for the statistics of `ct`."""
        return self._stored[i].index.foreground().astype(np.float32)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_mark": None, "_views": {}}

    def _part(self, i: int, box: tuple[slice, ...], flips: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Reads a box that lies inside the image."""
        if i in self._cache:
            image, label = self._unpacked(i)
            assert label is not None
            image, label = image[box], label[box[1:]]
        else:
            stored = self._stored[i]
            if not self._intact[i]:
                stored.require_arrays()
                self._intact.set(i)
            image, label = stored.image[box], stored.label[box][0]
        if flips:  # in the type on disk, which is copied faster than what normalisation makes of it
            backwards = tuple(slice(None, None, -1 if axis in flips else 1) for axis in range(label.ndim))
            image, label = image[(slice(None), *backwards)].copy(), label[backwards]
        return self._normalised(i, image), label.copy()

    def _normalised(self, i: int, image: np.ndarray) -> np.ndarray:
        if self._normaliser is None:
            return image.astype(np.float32)
        return self._normaliser(image, self._stored[i].index.intensities)

    def _padding(self, i: int, size: Sequence[int]) -> np.ndarray:
        """An image (C, *size) of each channel's lowest value."""
        fill = self._fills.get(i)
        if fill is None:
            lowest = np.array(self._stored[i].manifest.lowest, dtype=np.float32)
            fill = self._fills[i] = self._normalised(i, lowest.reshape(-1, *(1,) * len(size)))
        return np.broadcast_to(fill, (len(fill), *size)).copy()

    def _unpacked(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The arrays of a case in the cache; they are not to be changed."""
        views = self._views.get(i)
        if views is None:
            stored = self._stored[i]
            image = self._cache.array(i, 0, stored.shape, stored.dtype)
            label = self._cache.array(i, stored.image_nbytes, stored.shape[1:], np.dtype(np.uint8)) if stored.labelled else None
            if not self._cache.ready(i):
                stored.unpack(image, label)
                self._cache.publish(i)
            views = self._views[i] = (image, label)
        return views

    def _unpack(self, stored: StoredCase) -> tuple[np.ndarray, np.ndarray | None]:
        image = np.empty(stored.shape, dtype=stored.dtype)
        label = np.empty(stored.shape[1:], dtype=np.uint8) if stored.labelled else None
        stored.unpack(image, label)
        return image, label

    def _reference(self, stored: StoredCase, label: np.ndarray) -> np.ndarray:
        """The label in the grid of the files."""
        if canonical_grid(stored.original).mismatch(stored.geometry, tolerance=0.0) is not None:
            return read_ids(stored.case, self.labels, stored.original)
        found = from_canonical(label[None], stored.original)[0]
        return label if found.shape == label.shape and np.array_equal(found, label) else found
