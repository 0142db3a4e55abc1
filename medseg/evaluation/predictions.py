"""Which file of a folder is the prediction of which case: our names, nnU-Net's, and those that MONAI's SaveImage gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from medseg.data.images import list_images, stem_of
from medseg.errors import DataError


def files_by_name(folder: Path, what: str) -> dict[str, Path]:
    """Name without suffix -> label map of a folder; of its subfolders where it holds none itself (MONAI writes `a/a_seg.nii.gz`).

    Raises:
        DataError: The folder is missing or holds no label map, or a name occurs twice.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: the folder of {what} {'is a file' if folder.exists() else 'does not exist'}; give an existing folder")
    paths = list_images(folder)
    if not paths:
        below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        paths = [path for place in below for path in list_images(place)]
    files: dict[str, Path] = {}
    for path in paths:
        other = files.setdefault(stem_of(path), path)
        if other != path:
            names = f"{other.relative_to(folder)} and {path.relative_to(folder)}"
            raise DataError(f"{folder}: holds both {names}; keep one label map a case")
    if not files:
        raise DataError(f"{folder}: the folder of {what} holds no label map; give the folder that holds the files themselves")
    return files


def match_names(files: dict[str, Path], wanted: Collection[str]) -> dict[str, Path]:
    """Files under the names of the cases that they belong to.

    Where no file has the name of a case, a common ending is taken off: `_seg`, `_0000_seg` and whatever else MONAI was told to add.
    """
    if files.keys() & set(wanted):
        return files
    endings = Counter(
        stem[len(name) :] for name in wanted for stem in files if stem.startswith(name) and stem[len(name) : len(name) + 1] in ("_", "-")
    )
    if not endings:
        return files
    # The commonest; of several, the shortest: `_seg` of the case `a_0000` rather than `_0000_seg` of the case `a`.
    ending = min(endings, key=lambda one: (-endings[one], len(one)))
    return {stem.removesuffix(ending): path for stem, path in files.items()}
