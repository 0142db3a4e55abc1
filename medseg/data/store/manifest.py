"""One prepared case on disk: a folder with its image, label, index, and a manifest that vouches for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medseg.data.case import Case
from medseg.data.geometry import Geometry
from medseg.data.labels import LabelSchema
from medseg.data.normalisation import Intensities
from medseg.data.preparation import CaseArrays
from medseg.data.store.arrays import BoxFile, save, unpack
from medseg.data.store.damage import MANIFEST, condemn, damaged
from medseg.data.store.index import CaseIndex, build_index
from medseg.data.store.sources import Source, digest_of, digest_of_bytes
from medseg.data.store.tables import ArrayTables, FileTables, Layout
from medseg.errors import DataError
from medseg.files import write_text

IMAGE, LABEL, INDEX = "image.b2nd", "label.b2nd", "index.bin"


@dataclass(frozen=True)
class Manifest:
    """What a folder holds and what it was made from, in plain JSON types but for the sources.

    Args:
        case: Id of the case.
        root: Folder of the data set when it was prepared.
        recipe: Digest of how the case is put together from its files; see `recipe_of`.
        sources: Its files.
        files: Size and digest of each stored file.
        shape: (C, *spatial) of the image.
        dtype: Of the image.
        affine: Of the prepared grid.
        original_shape: Of the files' grid.
        original_affine: Of the files' grid.
        lowest: Lowest stored value of each channel.
        intensities: `Intensities.to_dict()`.
        counts: Voxels of each class.
        native_lesions: Lesions of each class before resampling.
        tables: Where the tables of the index lie in their file.
    """

    case: str
    root: str
    recipe: str
    sources: tuple[Source, ...]
    files: dict[str, list[Any]]
    shape: list[int]
    dtype: str
    affine: list[list[float]]
    original_shape: list[int]
    original_affine: list[list[float]]
    lowest: list[float]
    intensities: dict[str, Any]
    counts: list[int]
    native_lesions: list[int]
    tables: Layout

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """Reads the manifest of a folder; None where there is none or it is damaged."""
        try:
            data = json.loads((folder / MANIFEST).read_bytes())
            if data.pop("check") != _check(data):
                return None
            return cls(**data | {"sources": tuple(Source(*source) for source in data["sources"])})
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def write(self, folder: Path) -> None:
        """Writes it, all of it or nothing."""
        data = {field.name: getattr(self, field.name) for field in fields(self)}
        data["sources"] = [source.to_list() for source in self.sources]
        write_text(folder / MANIFEST, json.dumps({"check": _check(data)} | data))


@dataclass(frozen=True)
class StoredCase:
    """A prepared case on disk.

    Args:
        case: The case.
        folder: Where it is stored.
        manifest: Its manifest.
    """

    case: Case
    folder: Path
    manifest: Manifest

    @property
    def labelled(self) -> bool:
        """Whether there is a label."""
        return LABEL in self.manifest.files

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, *spatial)."""
        return tuple(self.manifest.shape)

    @cached_property
    def dtype(self) -> np.dtype:
        """Type of the image."""
        return np.dtype(self.manifest.dtype)

    @property
    def image_nbytes(self) -> int:
        """Bytes of the unpacked image."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def label_nbytes(self) -> int:
        """Bytes of the unpacked label."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) if self.labelled else 0

    @cached_property
    def geometry(self) -> Geometry:
        """Grid of the stored arrays."""
        return Geometry(self.shape[1:], np.array(self.manifest.affine))

    @cached_property
    def original(self) -> Geometry:
        """Grid of the files."""
        return Geometry(tuple(self.manifest.original_shape), np.array(self.manifest.original_affine))

    @cached_property
    def index(self) -> CaseIndex:
        """Its classes and lesions."""
        manifest = self.manifest
        tables = FileTables(self.folder / INDEX, manifest.tables)
        intensities = Intensities.from_dict(manifest.intensities)
        counts = np.array(manifest.counts)
        return CaseIndex(self.shape[1:], self.geometry.spacing, counts, intensities, tables, manifest.native_lesions)

    @cached_property
    def image(self) -> BoxFile:
        """The image (C, *spatial), read by the box."""
        return BoxFile(self.folder / IMAGE, self.shape, self.dtype)

    @cached_property
    def label(self) -> BoxFile:
        """The label (1, *spatial), read by the box."""
        return BoxFile(self.folder / LABEL, (1, *self.shape[1:]), np.dtype(np.uint8))

    def complete(self) -> bool:
        """Whether all stored files are there in their sizes, and the lesions, which every training reads first, are what was written."""
        try:
            whole = all((self.folder / name).stat().st_size == size for name, (size, _) in self.manifest.files.items())
            return whole and len(self.index.lesions) >= 0
        except (OSError, DataError):
            return False

    def intact(self) -> bool:
        """Whether all stored files are what was written, to the byte."""
        try:
            return all(digest_of(self.folder / name) == digest for name, (_, digest) in self.manifest.files.items())
        except OSError:
            return False

    def unpack(self, image: np.ndarray, label: np.ndarray | None) -> None:
        """Unpacks everything into arrays of the right shapes and types, after a look at the files' digests.

        Raises:
            DataError: A file is damaged; the case counts as missing from then on.
        """
        self._unpack(IMAGE, image)
        if label is not None:
            self._unpack(LABEL, label[None])

    def require_arrays(self) -> None:
        """Holds the files of image and label against their digests, which `unpack` does by itself and reading boxes does not.

        Raises:
            DataError: A file is damaged; the case counts as missing from then on.
        """
        for name in (IMAGE, LABEL) if self.labelled else (IMAGE,):
            path = self.folder / name
            try:
                found = digest_of(path)
            except OSError as error:
                raise damaged(path, error.strerror) from error
            if found != self.manifest.files[name][1]:
                raise damaged(path, "it is not what was written")

    def condemn(self) -> None:
        """Makes the case count as missing, where the store may be written."""
        condemn(self.folder)

    def _unpack(self, name: str, out: np.ndarray) -> None:
        path = self.folder / name
        try:
            data = path.read_bytes()
            if digest_of_bytes(data) != self.manifest.files[name][1]:
                raise ValueError("it is not what was written")
            unpack(data, out)
        except (OSError, ValueError) as error:
            raise damaged(path, error) from error


def write_case(
    arrays: CaseArrays,
    labels: LabelSchema,
    folder: Path,
    *,
    root: Path,
    recipe: str,
    sources: tuple[Source, ...],
    step: Callable[[], None],
) -> None:
    """Writes a case into an empty folder; the manifest comes last.

    The files are not forced to the disk: after a loss of power their sizes or digests are wrong and the case is made again.

    Args:
        arrays: The case.
        labels: What its ids mean.
        folder: Where to.
        root: Folder of the data set.
        recipe: See `recipe_of`.
        sources: The files of the case.
        step: Called between the parts; whatever it raises ends the writing.
    """
    geometry, original = arrays.geometry, arrays.original
    index = build_index(arrays.label, labels, geometry.spacing, arrays.image, arrays.intensities, arrays.native_label)
    assert isinstance(index.tables, ArrayTables)
    step()
    table_bytes, layout = index.tables.pack()
    (folder / INDEX).write_bytes(table_bytes)
    save(arrays.image, folder / IMAGE)
    step()
    names = [INDEX, IMAGE]
    if arrays.label is not None:
        save(arrays.label[None], folder / LABEL)
        names.append(LABEL)
    Manifest(
        case=arrays.case.id,
        root=str(root.absolute()),
        recipe=recipe,
        sources=sources,
        files={name: [(folder / name).stat().st_size, digest_of(folder / name)] for name in names},
        shape=list(arrays.image.shape),
        dtype=arrays.image.dtype.str,
        affine=geometry.affine.tolist(),
        original_shape=list(original.shape),
        original_affine=original.affine.tolist(),
        lowest=[float(channel.min()) for channel in arrays.image],
        intensities=arrays.intensities.to_dict(),
        counts=index.counts.tolist(),
        native_lesions=list(index.native_lesions),
        tables=layout,
    ).write(folder)


def _check(data: dict[str, Any]) -> str:
    return digest_of_bytes(json.dumps(data).encode())
