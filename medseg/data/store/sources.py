"""The files that a prepared case was made from: told apart by size, time and content."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.data.case import Case
from medseg.data.images import FileError


@dataclass(frozen=True)
class Source:
    """A file as it was when a case was made from it.

    Args:
        path: Below the data set's folder where it lies there, else absolute.
        size: Bytes.
        mtime_ns: When it was last written.
        digest: BLAKE2b of its bytes.
    """

    path: str
    size: int
    mtime_ns: int
    digest: str

    @classmethod
    def of(cls, file: Path, root: Path) -> Source:
        """Reads a file.

        Raises:
            FileError: It cannot be read, or is being written.
        """
        size, mtime_ns = stamp(file)
        try:
            digest = digest_of(file)
        except OSError as error:
            raise FileError(file, f"cannot be read ({error.strerror})", "check that it is there and may be read") from error
        if stamp(file) != (size, mtime_ns):
            raise FileError(file, "changed while it was read", "start again when it is complete")
        return cls(relative(file, root), size, mtime_ns, digest)

    def to_list(self) -> list[Any]:
        """The source in plain JSON types."""
        return [self.path, self.size, self.mtime_ns, self.digest]


def stamp(file: Path) -> tuple[int, int]:
    """Size and time of a file.

    Raises:
        FileError: There is no such file.
    """
    try:
        status = file.stat()
    except OSError as error:
        raise FileError(file, "the file does not exist", "put it there, or remove the case from the data set") from error
    return status.st_size, status.st_mtime_ns


def digest_of(file: Path) -> str:
    """BLAKE2b of a file's bytes."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, _blake).hexdigest()


def digest_of_bytes(data: bytes) -> str:
    """BLAKE2b of some bytes."""
    return _blake(data).hexdigest()


def recipe_of(case: Case, root: Path) -> str:
    """Digest of all that a case says beside the content of its files: their order, its channels, how its label is put together.

    The folder of the data set and the group of the case, on which nothing prepared depends, are left out.
    """
    return digest_of_bytes(json.dumps(_plain(dataclasses.replace(case, group=""), root), sort_keys=True).encode())


def content_of(recipe: str, sources: Iterable[Source]) -> str:
    """Digest of everything that a prepared case depends on beside the settings of its store."""
    return digest_of_bytes(json.dumps([recipe, [[source.path, source.digest] for source in sources]]).encode())


def relative(path: Path, root: Path) -> str:
    """The path below `root`, or all of it where it lies elsewhere."""
    return (path.relative_to(root) if path.is_relative_to(root) else path.absolute()).as_posix()


def _plain(value: Any, root: Path) -> Any:
    """Dataclasses, paths and containers as JSON, paths below `root` without it."""
    if isinstance(value, Path):
        return relative(value, root)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _plain(getattr(value, field.name), root) for field in dataclasses.fields(value)}
        return {"": type(value).__name__} | fields
    if isinstance(value, Mapping):
        return {str(key): _plain(item, root) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item, root) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"a case holds a {type(value).__name__}, of which the prepared store cannot tell whether it has changed")


def _blake(data: bytes = b"") -> Any:
    return hashlib.blake2b(data, digest_size=16)
