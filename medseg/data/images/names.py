"""Image files by their names: which formats there are, and which files belong to an image."""

from __future__ import annotations

import re
from pathlib import Path

from medseg.errors import DataError

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = (".mha", ".mhd", ".nrrd")
RASTER_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
IMAGE_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES + RASTER_SUFFIXES
LOSSY_SUFFIXES = (".jpg", ".jpeg", ".gif")
"""Formats that label maps are never written in: JPEG changes the values, GIF may reorder its palette."""


class FileError(DataError):
    """A `DataError` about one file, in parts: which file, what is wrong with it, what to do."""

    def __init__(self, file: Path, problem: str, remedy: str) -> None:
        super().__init__(f"{file}: {problem}; {remedy}")
        self.file = file
        self.problem = problem
        self.remedy = remedy


def lossless_suffix(suffix: str) -> str:
    """The suffix for label maps where images have `suffix`: PNG in place of JPEG, which would change the values, and of GIF."""
    return ".png" if suffix in LOSSY_SUFFIXES else suffix


def suffix_of(path: Path | str) -> str:
    """The suffix that decides the format, in lower case: ".nii.gz" for "a.b.nii.gz", "" for a file that is no image."""
    name = Path(path).name.lower()
    return next((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix)), "")


def stem_of(path: Path | str) -> str:
    """The file's name without the suffix of its format: "a.b" for "a.b.nii.gz"."""
    name = Path(path).name
    return name[: len(name) - len(suffix_of(path))]


def natural(name: str) -> tuple[str | int, ...]:
    """Key that sorts names as people count: "slice_9" before "slice_10"."""
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name))


def list_images(folder: Path) -> list[Path]:
    """The image files of a folder, hidden ones left out, sorted by name."""
    return sorted(path for path in folder.iterdir() if suffix_of(path) and not path.name.startswith(".") and path.is_file())


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that hold an image: all of a folder's (a series of slices), a .mhd and its .raw, otherwise the file itself."""
    if path.is_dir():
        return tuple(sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")))
    voxels = voxel_file(path) if path.name.lower().endswith(".mhd") else None
    return (path,) if voxels is None else (path, voxels)


def voxel_file(header: Path) -> Path | None:
    """The file that a MetaImage header (.mhd) says its voxels are in; None when they are elsewhere, or the header is unreadable."""
    try:
        text = header.read_bytes()[:65536].decode("latin-1")
    except OSError:
        return None
    found = re.search(r"^\s*ElementDataFile\s*=\s*(.+?)\s*$", text, re.MULTILINE)
    name = found[1] if found else ""
    return None if not name or name.split()[0] in ("LOCAL", "LIST") or "%" in name else header.parent / name
