"""Small arrays by name, in memory or in one file of which only the rows asked for are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import DataError

REMEDY = "run `medseg prepare` again, which makes what is damaged or missing anew"
"""What to do about a stored file that cannot be used."""

Layout = dict[str, tuple[str, list[int], int]]
"""Type, shape and first byte of each array in a file."""


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
            layout[name] = (array.dtype.str, list(array.shape), offset)
            parts.append(np.ascontiguousarray(array).tobytes())
            offset += len(parts[-1])
        return b"".join(parts), layout


class FileTables(Tables):
    """Arrays in a file.

    The file is opened for each reading, which costs microseconds: maps of a thousand cases that stay open would pass the common limit of
    1,024 open files.
    """

    def __init__(self, path: Path, layout: Mapping[str, Any]) -> None:
        self.path = path
        self.layout = layout

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """See `Tables.read`.

        Raises:
            DataError: The file is gone or too short.
        """
        kind, shape, offset = self.layout[name]
        dtype = np.dtype(kind)
        rows = range(*slice(start, stop).indices(shape[0]))
        row_bytes = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        wanted = len(rows) * row_bytes
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(offset + rows.start * row_bytes)
                data = file.read(wanted)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror}); {REMEDY}") from error
        if len(data) != wanted:
            raise DataError(f"{self.path}: the stored file is too short; {REMEDY}")
        return np.frombuffer(data, dtype=dtype).reshape(len(rows), *shape[1:])
