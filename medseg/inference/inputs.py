"""What a user points at, as cases to predict: a file, a folder of the run's own format or any other, DICOM series."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

from medseg.data.case import Case
from medseg.data.formats.layout import channels_of_first
from medseg.data.formats.nnunet import NnUNet
from medseg.data.formats.table import Table
from medseg.data.images import IMAGE_SUFFIXES, LOSSY_SUFFIXES, RASTER_SUFFIXES, list_images, stem_of, suffix_of
from medseg.data.images.series import DICOM_SUFFIXES, holds_series
from medseg.errors import DataError

LABEL_SUFFIXES = tuple(suffix for suffix in IMAGE_SUFFIXES if suffix not in LOSSY_SUFFIXES)
"""What label maps can be written as."""

_SHOWN = 4
"""Folders that a message lists."""

_WALKED = 1000
"""Folders that are looked into for it."""

_NUMBERED = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


class Format(Protocol):
    """The part of a data format that prediction needs."""

    def find(self, folder: Path, channels: int) -> tuple[Case, ...]:
        """List the images of a folder, or one image file, as cases without labels."""


def find_cases(layout: Format, input: Path, channels: int, output: Path) -> tuple[Case, ...]:
    """List the cases to predict, and refuse an output folder that cannot be one.

    A folder is read in the run's own format where it is in it, and else as what it looks like: files `<case>_0000`, `<case>_0001`, ... with
    one channel each (nnU-Net's imagesTs), one file a case (Decathlon's imagesTs, any folder of pictures or volumes), the slices of a DICOM
    series, or folders of such series at any depth.

    Args:
        layout: The format of the data set that the run was trained on.
        input: A file, or a folder.
        channels: Image channels of the network.
        output: Where label maps are going to be written.

    Raises:
        DataError: When `input` is missing or holds no image, two of its images have one name, or `output` is the folder of the images or a
            file, or named as one.
    """
    if not input.exists():
        raise DataError(f"{input}: does not exist; give a folder of images, or one image")
    if output.exists() and not output.is_dir():
        raise DataError(f"{output}: is a file; give a folder for the label maps")
    if suffix_of(output) and not output.is_dir():
        raise DataError(f"{output}: label maps go into a folder, under the names of their images; give a folder, such as {stem_of(output)}")
    cases = cases_of(layout, input, channels)
    _require_other_folder(cases, input, output)
    twice = [name for name, count in Counter(case.id.casefold() for case in cases).items() if count > 1]
    if twice:
        name = next(case.id for case in cases if case.id.casefold() == twice[0])
        raise DataError(f"{input}: two images are called '{name}', and would be predicted into one file; rename one")
    return cases


def cases_of(layout: Format, path: Path, channels: int) -> tuple[Case, ...]:
    """The cases of a file or folder that exists, as `find_cases` finds them.

    Raises:
        DataError: There is no image.
    """
    cases = _file(layout, path, channels) if path.is_file() else _folder(layout, path, channels)
    if not cases:
        raise DataError(f"{path}: no images here; give the folder that holds the images to predict{_below(path)}")
    return cases


def label_suffix(case: Case, usual: str, wanted: str | None = None) -> str:
    """The suffix of a case's label map: the wanted one, else the data set's, but for a scan none of pictures, which know no grid."""
    if wanted is not None:
        return wanted
    return ".nii.gz" if usual in RASTER_SUFFIXES and suffix_of(case.images[0]) not in RASTER_SUFFIXES else usual


def read_suffix(name: str, spatial_dims: int) -> str:
    """The suffix that a user means by `nii.gz` or `.nii.gz`.

    Raises:
        DataError: For one that is not known, that would change the values, or, of volumes, that holds pictures.
    """
    suffix = "." + name.lower().removeprefix(".")
    if suffix not in LABEL_SUFFIXES:
        raise DataError(f"format '{name}': label maps are written as {', '.join(LABEL_SUFFIXES)}; choose one of these")
    if spatial_dims == 3 and suffix in RASTER_SUFFIXES:
        volumes = ", ".join(suffix for suffix in LABEL_SUFFIXES if suffix not in RASTER_SUFFIXES)
        raise DataError(f"format '{name}': a picture holds no volume, and this network predicts volumes; choose one of {volumes}")
    return suffix


def _file(layout: Format, path: Path, channels: int) -> tuple[Case, ...]:
    """The one case of an image, or those of a table."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        raise DataError(f"{path}: is one slice of a DICOM series; give the folder that holds all of them")
    try:
        found = layout.find(path, channels)
    except DataError as error:
        if not suffix_of(path):
            if path.suffix.lower() in (".csv", ".json") and isinstance(layout, Table):
                raise  # what is wrong with the table
            kinds = ", ".join(IMAGE_SUFFIXES)
            raise DataError(f"{path}: is no image that medseg reads; give one of {kinds}, or a folder of images or DICOM slices") from error
        found = _flat([path], channels)
    if _only_by_name(found) and stem_of(path).endswith("_0000") and _numbers_channels(list_images(path.parent), channels):
        return NnUNet().find(path, channels)
    return found


def _folder(layout: Format, folder: Path, channels: int) -> tuple[Case, ...]:
    """The cases of a folder."""
    refused: DataError | None = None
    found: tuple[Case, ...] = ()
    try:
        found = layout.find(folder, channels)
    except DataError as error:
        refused = error
    if not _only_by_name(found) and any(all(path.exists() for path in case.images) for case in found):
        return found
    images = list_images(folder)
    if all(suffix_of(path) in RASTER_SUFFIXES for path in images):  # pictures beside slices are previews
        series = _series(folder, channels)
        if series:
            return series
    if images and _numbers_channels(images, channels):
        return NnUNet().find(folder, channels)
    if _only_by_name(found) or not images:
        return _all(found, refused, folder)
    return _flat(images, channels) if _holds_all(images, channels) else _all(found, refused, folder)


def _all(found: tuple[Case, ...], refused: DataError | None, folder: Path) -> tuple[Case, ...]:
    """What the run's own format found, or why it found nothing."""
    if refused is None:
        return found
    raise DataError(f"{refused}{_below(folder)}") from refused


def _below(folder: Path) -> str:
    """Where images lie below a folder that holds none itself; images to predict rather than those to train on, and never labels."""
    if list_images(folder):
        return ""
    counts: dict[str, int] = {}
    for place, below, _ in islice(os.walk(folder), _WALKED):
        below[:] = sorted(name for name in below if not name.startswith("."))
        number = len(list_images(Path(place)))
        if number:
            counts[str(Path(place).relative_to(folder))] = number
    if not counts:
        return ""
    shown = [f"{number} in {name}" for name, number in sorted(counts.items(), key=lambda item: -item[1])]
    likely = [name for wanted in ("imagesTs", "imagesTr", "images") for name in counts if Path(name).name == wanted]
    hint = f"; {folder / likely[0]} may be what you mean" if likely else ""
    more = f" and {len(shown) - _SHOWN} more folders" if len(shown) > _SHOWN else ""
    return f" (images in folders below: {', '.join(shown[:_SHOWN])}{more}{hint})"


def _holds_all(images: Sequence[Path], channels: int) -> bool:
    """Whether each image seems to hold all channels: told by the first that can be read."""
    try:
        found = channels_of_first(images)
    except DataError:
        return True  # each case says what is wrong with it
    return found == channels or {found, channels} == {1, 3}


def _only_by_name(cases: Sequence[Case]) -> bool:
    """Whether each case is one file under the file's own name: nothing about the folder was understood."""
    return bool(cases) and all(len(case.images) == 1 and case.id == stem_of(case.images[0]) and case.images[0].is_file() for case in cases)


def _numbers_channels(images: Sequence[Path], channels: int) -> bool:
    """Whether all files are named <case>_0000, <case>_0001, ... with every channel, or _0000 alone, of every case."""
    matches = [_NUMBERED.fullmatch(stem_of(path)) for path in images]
    numbers: dict[str, set[int]] = {}
    for match in matches:
        if match is None:
            return False
        numbers.setdefault(match["case"], set()).add(int(match["channel"]))
    found = set(map(frozenset, numbers.values()))
    return found == {frozenset({0})} or found == {frozenset(range(channels))}


def _flat(images: Sequence[Path], channels: int) -> tuple[Case, ...]:
    return tuple(Case(stem_of(path), (path,), None, stem_of(path), channels) for path in images)


def _series(folder: Path, channels: int) -> tuple[Case, ...]:
    """The DICOM series of a folder and those below it, named by their folders."""
    found = []
    for place, below, _ in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        path = Path(place)
        if holds_series(path):
            name = "_".join(path.relative_to(folder).parts) or folder.resolve().name
            found.append(Case(name, (path,), None, name, channels))
    return tuple(found)


def _require_other_folder(cases: Sequence[Case], input: Path, output: Path) -> None:
    folders = {path.parent.resolve() for case in cases for path in case.images} | {(input if input.is_dir() else input.parent).resolve()}
    if output.resolve() in folders:
        raise DataError(f"{output}: holds the images, which label maps of the same names would replace; give another output folder")
