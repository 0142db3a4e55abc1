"""Small arrays by name, in memory or in one file of which only the rows asked for are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medseg.data.store.damage import damaged
from medseg.data.store.sources import digest_of_bytes

Layout = dict[str, tuple[str, list[int], int, str]]
"""Type, shape, first byte and digest of each array in a file."""


class Tables(ABC):
    """Arrays by name."""

    @abstractmethod
    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """The rows `start` to `stop` of an array, all by default."""


class ArrayTables(Tables):
    """Arrays in memory."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.arrays = dict(arrays)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """See `Tables.read`."""
        return self.arrays[name][start:stop]

    def pack(self) -> tuple[bytes, Layout]:
        """All arrays as one run of bytes, and where each lies in it."""
        layout: Layout = {}
        parts: list[bytes] = []
        offset = 0
        for name, array in self.arrays.items():
            parts.append(np.ascontiguousarray(array).tobytes())
            layout[name] = (array.dtype.str, list(array.shape), offset, digest_of_bytes(parts[-1]))
            offset += len(parts[-1])
        return b"".join(parts), layout


class FileTables(Tables):
    """Arrays in a file.

    The file is opened for each reading, which costs microseconds: maps of a thousand cases that stay open would pass the common limit of
    1,024 open files. Of each array a process first reads all, to hold it against its digest: those of lesions are small, and the chosen
    voxels of a hundred organs, some megabytes a case, wait until the first of them is drawn.

    Args:
        path: The file, in the folder of its case.
        layout: Where its arrays lie.
    """

    def __init__(self, path: Path, layout: Mapping[str, Any]) -> None:
        self.path = path
        self.layout = layout
        self._verified: set[str] = set()

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """See `Tables.read`.

        Raises:
            DataError: The file is gone or damaged; the case counts as missing from then on.
        """
        kind, shape, offset, digest = self.layout[name]
        dtype = np.dtype(kind)
        row_bytes = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        if name not in self._verified:
            data = self._bytes(offset, shape[0] * row_bytes)
            if digest_of_bytes(data) != digest:
                raise damaged(self.path, "it is not what was written")
            self._verified.add(name)
            return np.frombuffer(data, dtype=dtype).reshape(shape)[start:stop]
        rows = range(*slice(start, stop).indices(shape[0]))
        data = self._bytes(offset + rows.start * row_bytes, len(rows) * row_bytes)
        return np.frombuffer(data, dtype=dtype).reshape(len(rows), *shape[1:])

    def _bytes(self, start: int, count: int) -> bytes:
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(start)
                data = file.read(count)
        except OSError as error:
            raise damaged(self.path, error.strerror) from error
        if len(data) != count:
            raise damaged(self.path, "it is too short")
        return data
