"""What a data set looks like: grids, intensities, classes and lesions of every training case, kept as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.data.case import Case, DataSet
from medseg.data.images import read_geometry
from medseg.data.labels import LabelSchema
from medseg.data.preparation import Preparer
from medseg.data.store.index import build_index
from medseg.data.store.sources import recipe_of, relative, stamp
from medseg.errors import DataError, first_few
from medseg.files import write_text

VERSION = 1

PERCENTILES = (0.5, 5.0, 25.0, 50.0, 75.0, 95.0, 99.5)

SIZES = 500
"""Lesion sizes kept of each class and case, evenly chosen from the sorted ones."""

VOXELS = 100_000
"""Voxels a channel whose percentiles stand for the image's."""

MEMORY = 4 * 2**30
"""Bytes that the cases read at once may take, as far as one case alone does not take more."""


@dataclass(frozen=True)
class CaseFacts:
    """What one case looks like, in canonical axes and its own spacing.

    Args:
        id: Its name.
        shape: Voxels along each axis.
        spacing: Voxel size in mm along each axis.
        orientation: Of its files: "LPS", or "" in 2-D.
        image: Percentiles (C, P) of all voxels, P the numbers in `PERCENTILES`.
        foreground: The same of the foreground; None where there is none.
        low: Lowest value of each channel.
        high: Highest value of each channel.
        std: Standard deviation of each channel, as `zscore` measures it.
        whole_numbers: Whether all intensities are integers.
        eight_bit: Whether it is a picture of 8 bits a channel.
        picture: Whether it is a picture.
        labelled: Whether it has a label.
        counts: (K,) voxels of each class.
        lesions: (K,) connected components of each class.
        sizes: For each class the voxels of its lesions, ascending, at most `SIZES` of them.
        sources: Path, size and time of each file, what else the case says, and what label values mean: by these it is known again.
    """

    id: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    orientation: str
    image: tuple[tuple[float, ...], ...]
    foreground: tuple[tuple[float, ...], ...] | None
    low: tuple[float, ...]
    high: tuple[float, ...]
    std: tuple[float, ...]
    whole_numbers: bool
    eight_bit: bool
    picture: bool
    labelled: bool
    counts: tuple[int, ...]
    lesions: tuple[int, ...]
    sizes: tuple[tuple[int, ...], ...]
    sources: tuple[Any, ...]

    @property
    def voxels(self) -> int:
        """Voxels of the image."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel in mm^3, area in mm^2 in 2-D."""
        return float(np.prod(self.spacing))


@dataclass(frozen=True)
class Fingerprint:
    """What the training cases of a data set look like.

    Args:
        name: Name of the data set.
        channels: Names of its channels.
        classes: Names of its classes.
        spatial_dims: 2 or 3.
        cases: One entry a case, in the data set's order.
    """

    name: str
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    spatial_dims: int
    cases: tuple[CaseFacts, ...]

    @property
    def shapes(self) -> np.ndarray:
        """Voxels along each axis, (cases, axes)."""
        return np.array([case.shape for case in self.cases], dtype=np.int64)

    @property
    def spacings(self) -> np.ndarray:
        """Voxel size in mm, (cases, axes)."""
        return np.array([case.spacing for case in self.cases])

    def lesion_voxels(self, k: int) -> np.ndarray:
        """Sizes in voxels of the kept lesions of class `k`, over all cases."""
        return np.array([size for case in self.cases for size in case.sizes[k]], dtype=np.int64)

    def lesion_volumes(self, k: int) -> np.ndarray:
        """Sizes in mm^3 (mm^2 in 2-D) of the kept lesions of class `k`, over all cases."""
        return np.array([size * case.voxel_volume for case in self.cases for size in case.sizes[k]])

    def to_dict(self) -> dict[str, Any]:
        """The fingerprint in plain JSON types."""
        return {"version": VERSION} | asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Fingerprint:
        """Inverse of `to_dict`.

        Raises:
            ValueError: It is none, or was written by another version.
        """
        if not isinstance(data, dict) or data.get("version") != VERSION:
            raise ValueError(f"no fingerprint of version {VERSION}")
        fields = {key: _frozen(value) for key, value in data.items() if key not in ("version", "cases")}
        return cls(**fields, cases=tuple(CaseFacts(**{key: _frozen(value) for key, value in case.items()}) for case in data["cases"]))


def take_fingerprint(
    dataset: DataSet, path: Path, *, workers: int | None = None, progress: Callable[[int, int], None] | None = None
) -> Fingerprint:
    """Looks at the cases of a data set, or only at those that have changed since the last time.

    Test cases, which nothing may be learnt from, are left out.

    Args:
        dataset: The data set.
        path: JSON file that keeps the fingerprint.
        workers: Cases read at once; None: one a processor, fewer where cases are large.
        progress: Called with the number of cases done and of all.

    Raises:
        DataError: Some cases cannot be read, or there is none; the message names the first few.
    """
    if not dataset.cases:
        raise DataError(f"{dataset.root}: the data set has no cases to plan for; `medseg check` says what it holds")
    known = {case.id: case for case in _kept(path, dataset)}
    facts: dict[str, CaseFacts] = {}
    missing = []
    for case in dataset.cases:
        found = known.get(case.id)
        if found is not None and list(found.sources) == _sources(case, dataset.labels, dataset.root):
            facts[case.id] = found
        else:
            missing.append(case)
    faults = []
    for case, outcome in _look(dataset, missing, workers or _workers(dataset.cases)):
        if isinstance(outcome, CaseFacts):
            facts[case.id] = outcome
        else:
            faults.append(str(outcome))
        if progress is not None:
            progress(len(facts) + len(faults), len(dataset.cases))
    if faults:
        raise DataError(f"{len(faults)} cases of '{dataset.name}' cannot be read; `medseg check` lists all faults:\n{first_few(faults)}")
    ordered = tuple(facts[case.id] for case in dataset.cases)
    fingerprint = Fingerprint(dataset.name, dataset.channels, dataset.labels.classes, dataset.spatial_dims, ordered)
    if missing or len(known) != len(ordered):
        try:
            write_text(path, json.dumps(fingerprint.to_dict()))
        except OSError as error:
            raise DataError(
                f"{path}: cannot be written ({error.strerror or error}); set data.store to a folder that you may write"
            ) from error
    return fingerprint


def look_at(case: Case, labels: LabelSchema, root: Path) -> CaseFacts:
    """Reads a case and measures it.

    Raises:
        DataError: It cannot be read, or its label is not as declared.
    """
    sources = _sources(case, labels, root)
    arrays = Preparer("none").arrays(case, labels)
    image, seen = arrays.image, arrays.intensities
    index = build_index(arrays.label, labels, arrays.geometry.spacing, image, seen)
    lesions = index.lesions
    per_class = [np.sort(lesions.voxels[lesions.classes == k]) for k in range(labels.num_classes)]
    foreground = index.foreground()
    flat = image.reshape(len(image), -1)
    return CaseFacts(
        id=case.id,
        shape=arrays.geometry.shape,
        spacing=tuple(round(size, 6) for size in arrays.geometry.spacing),
        orientation=arrays.original.orientation,
        image=_percentiles(flat[:, _scattered(flat.shape[1])]),
        foreground=_percentiles(foreground) if foreground.shape[1] else None,
        low=seen.low,
        high=seen.high,
        std=seen.std,
        whole_numbers=image.dtype != np.float32,
        eight_bit=seen.eight_bit,
        picture=seen.picture,
        labelled=arrays.label is not None,
        counts=tuple(index.counts.tolist()),
        lesions=tuple(len(sizes) for sizes in per_class),
        sizes=tuple(_chosen(sizes) for sizes in per_class),
        sources=tuple(sources),
    )


def _look(dataset: DataSet, cases: Sequence[Case], workers: int) -> Iterable[tuple[Case, CaseFacts | DataError]]:
    def attempt(case: Case) -> CaseFacts | DataError:
        try:
            return look_at(case, dataset.labels, dataset.root)
        except DataError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        yield from zip(cases, pool.map(attempt, cases), strict=True)


def _workers(cases: Sequence[Case]) -> int:
    """As many as there are processors, fewer where the largest file says that so many cases would not fit into memory."""
    largest = max(cases, key=lambda case: sum(path.stat().st_size for path in case.images if path.exists()))
    try:
        voxels = int(np.prod(read_geometry(largest.images[0]).shape, dtype=np.int64)) * max(len(largest.images), largest.channels or 1)
    except DataError:  # it will be named with all others
        voxels = 1
    return max(1, min(os.cpu_count() or 1, 8, int(MEMORY / (voxels * 16))))


def _sources(case: Case, labels: LabelSchema, root: Path) -> list[Any]:
    """What the facts of a case follow from; compared as JSON, in which tuples become lists."""
    try:
        files = [(relative(file, root), *stamp(file)) for file in case.files]
    except DataError:  # reading it will say so
        files = []
    return [recipe_of(case, root), json.dumps(labels.to_dict(), sort_keys=True), *files]


def _kept(path: Path, dataset: DataSet) -> tuple[CaseFacts, ...]:
    """The cases of an earlier fingerprint of the same channels and classes; none where there is no such file, or it is damaged."""
    try:
        kept = Fingerprint.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return ()
    same = replace(kept, cases=()) == Fingerprint(dataset.name, dataset.channels, dataset.labels.classes, dataset.spatial_dims, ())
    return kept.cases if same else ()


def _percentiles(values: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in np.percentile(values.astype(np.float32), PERCENTILES, axis=1).T)


def _scattered(count: int) -> np.ndarray:
    """At most `VOXELS` voxels; a stride would meet the same columns again and again."""
    if count <= VOXELS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).integers(0, count, VOXELS))


def _chosen(sizes: np.ndarray) -> tuple[int, ...]:
    if len(sizes) > SIZES:
        sizes = sizes[np.linspace(0, len(sizes) - 1, SIZES).round().astype(int)]
    return tuple(sizes.tolist())


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
