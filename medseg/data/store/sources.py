"""The files that a prepared case was made from: told apart by size, time and content."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.data.case import Case
from medseg.data.images import FileError
from medseg.data.masks import Layer, Masks


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
    parts: list[str] = []
    _tell(dataclasses.replace(case, group=""), root, parts)
    return digest_of_bytes("\0".join(parts).encode(errors="surrogateescape"))  # neither paths nor what repr gives hold a zero byte


def content_of(recipe: str, sources: Iterable[Source]) -> str:
    """Digest of everything that a prepared case depends on beside the settings of its store."""
    return digest_of_bytes(json.dumps([recipe, [[source.path, source.digest] for source in sources]]).encode())


def relative(path: Path, root: Path) -> str:
    """The path below `root`, or all of it where it lies elsewhere."""
    text, prefix = path.as_posix(), f"{root.as_posix()}/"
    if text.startswith(prefix):  # a tenth of the time of what follows, and a data set has 100,000 files
        return text[len(prefix) :]
    return (path.relative_to(root) if path.is_relative_to(root) else path.absolute()).as_posix()


def _tell(value: Any, root: Path, parts: list[str]) -> None:
    """Adds what a case says, piece by piece; paths below `root` without it."""
    if isinstance(value, Layer):  # at once, since some cases have a hundred of them
        rules = tuple([item for name, item in value.__dict__.items() if name != "files"])
        parts += [f"Layer {len(value.files)}", _rules(rules), *[relative(file, root) for file in value.files]]
    elif isinstance(value, Path):
        parts += ["Path", relative(value, root)]
    elif isinstance(value, Case | Masks):
        parts.append(type(value).__name__)
        for name, item in value.__dict__.items():
            parts.append(name)
            _tell(item, root, parts)
    elif isinstance(value, tuple):
        parts.append(f"tuple {len(value)}")
        for item in value:
            _tell(item, root, parts)
    elif value is None or isinstance(value, str | int | float):
        parts.append(repr(value))
    else:
        raise TypeError(f"a case holds a {type(value).__name__}, of which the prepared store cannot tell whether it has changed")


@functools.lru_cache(maxsize=4096)
def _rules(rules: tuple[Any, ...]) -> str:
    """How a layer paints, as text, made once for all cases that are painted alike."""
    return repr(rules)


def _blake(data: bytes = b"") -> Any:
    return hashlib.blake2b(data, digest_size=16)
