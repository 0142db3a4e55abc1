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
    name = (path.name if isinstance(path, Path) else Path(path).name).lower()
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
