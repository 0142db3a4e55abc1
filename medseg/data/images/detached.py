"""Voxels that lie in other files than their header: MetaImage's ElementDataFile and NRRD's data file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path, PureWindowsPath

from medseg.data.images.names import ITK_SUFFIXES, FileError, suffix_of

_META = re.compile(r"\s*ElementDataFile\s*[=:]\s*(.*?)\s*")
_NRRD = re.compile(r"\s*data ?file:(?!=)\s*(.*?)\s*", re.IGNORECASE)
_COUNTED = re.compile(r"(.*%0?\d{0,2}d\S*)\s+(\d{1,6})\s+(\d{1,6})\s+([1-9]\d{0,5})(?:\s+\d+)?")
"""A name with a number in it, the first and last number, and the step; NRRD may add the axes of a file."""
_LINE = 2**16
"""Longest line of a header that is looked at."""


def detached_files(header: Path) -> tuple[Path, ...]:
    """The files that a header says its voxels are in; none where they follow the header, or for formats without such headers.

    Whether the files exist is not asked.

    Raises:
        FileError: When a path leads out of the header's folder, or is written in a way that medseg does not read. Links are not followed: a
            data set may link to files elsewhere, but its headers cannot name them.
        OSError: When the header cannot be read.
    """
    if suffix_of(header) not in ITK_SUFFIXES:
        return ()
    return tuple(_inside(header, name) for name in _names(header))


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that hold an image: all of a folder's (a series of slices), a header and those of its voxels, or the file itself.

    What cannot be read, or may not, is left for reading to complain of.
    """
    if path.is_dir():
        return tuple(sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")))
    try:
        return (path, *detached_files(path))
    except (FileError, OSError):
        return (path,)


def _names(header: Path) -> list[str]:
    """The names as they stand in the header, a numbered one as all that it stands for."""
    pattern = _NRRD if suffix_of(header) == ".nrrd" else _META
    with header.open("rb") as file:
        for line in _header_lines(iter(lambda: file.readline(_LINE), b""), blank_ends=pattern is _NRRD):
            match = pattern.fullmatch(line)
            if match is None:
                continue
            if match[1].startswith("LIST"):
                return [name for name in (rest.decode("latin-1").strip() for rest in file) if name]
            return [] if match[1].lower() == "local" else _counted(header, match[1])
    if pattern is _META and header.stat().st_size:
        raise FileError(
            header, "cannot be read (no line 'ElementDataFile = ...')", "the file is damaged or truncated: copy or download it again"
        )
    return []


def _header_lines(lines: Iterable[bytes], blank_ends: bool) -> Iterable[str]:
    texts = (line.decode("latin-1").rstrip("\r\n") for line in lines)
    return takewhile(bool, texts) if blank_ends else texts


def _counted(header: Path, name: str) -> list[str]:
    """The names that "slice_%03d.raw 1 20 1" stands for."""
    if "%" not in name:
        return [name]
    match = _COUNTED.fullmatch(name)
    if match is None or match[1].count("%") > 1:
        raise FileError(header, f"names its voxels as {name!r}, which medseg does not read", "convert it to .nii.gz, or list the files")
    return [match[1] % number for number in range(int(match[2]), int(match[3]) + 1, int(match[4]))]


def _inside(header: Path, name: str) -> Path:
    windows = PureWindowsPath(name)  # which knows both kinds of slashes
    if windows.drive or windows.root or ".." in windows.parts or name == "-":
        remedy = "put the voxels beside the header, and write the file's name alone into it"
        raise FileError(header, f"says that its voxels are in {name!r}, which leads out of its folder", remedy)
    return header.parent / name
