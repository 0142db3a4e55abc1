"""From the files of a case to the arrays that a network sees, and back to the files' own grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from nibabel import orientations

from medseg.data.case import Case
from medseg.data.geometry import Geometry, from_canonical, resample, resample_to, to_canonical
from medseg.data.images import FileError
from medseg.data.labels import LabelSchema
from medseg.data.normalisation import Intensities, Normalisation, Normaliser, check_names, foreground_statistics
from medseg.errors import DataError

__all__ = [
    "CaseArrays",
    "Intensities",
    "Normalisation",
    "Normaliser",
    "PreparedCase",
    "Preparer",
    "canonical_grid",
    "check_growth",
    "compact",
    "foreground_statistics",
    "read_finite",
    "read_ids",
]

MOST_GROWTH = 64
"""Times that resampling may multiply the voxels: a quarter of the voxel size along each axis, and nothing is seen in between already."""

HARMLESS = 4 * 2**30
"""Bytes of a resampled image in float32 up to which any growth is allowed."""


@dataclass
class CaseArrays:
    """A case with the intensities of its files, whatever the normalisation and the fold.

    Args:
        case: Where it came from.
        image: (C, *spatial) raw intensities, canonical axes, resampled; uint8, uint16 or int16 where that holds every value, else float32.
        label: uint8 internal ids (*spatial) in the same grid, or None.
        geometry: Grid of `image` and `label`.
        original: Grid of the files.
        reference: uint8 internal ids in the grid of the files, for scoring, or None.
        intensities: What normalisation needs, measured before resampling.
    """

    case: Case
    image: np.ndarray
    label: np.ndarray | None
    geometry: Geometry
    original: Geometry
    reference: np.ndarray | None
    intensities: Intensities

    @property
    def native_label(self) -> np.ndarray | None:
        """The label before resampling, with the axes of the files; None where there is none, or the case was not resampled."""
        return None if canonical_grid(self.original).mismatch(self.geometry, tolerance=0.0) is None else self.reference


@dataclass
class PreparedCase:
    """A case as the network sees it.

    Args:
        case: Where it came from.
        image: float32 (C, *spatial): canonical axes, resampled, normalised.
        label: uint8 internal ids (*spatial) in the same grid, or None.
        geometry: Grid of `image` and `label`.
        original: Grid of the files.
        reference: uint8 internal ids in the grid of the files, for scoring, or None.
        intensities: What the normalisation was told of the case, so that raw values can be found again; None where that is not known.
    """

    case: Case
    image: np.ndarray
    label: np.ndarray | None
    geometry: Geometry
    original: Geometry
    reference: np.ndarray | None
    intensities: Intensities | None = None


class Preparer:
    """Reads cases, turns them to canonical axes, resamples and normalises them.

    Args:
        normalisation: A name, or one a channel, as in `Normaliser`.
        spacing: Voxel size in mm, one number a canonical (right, anterior, superior) axis; None keeps each case's own. Images are
            resampled by `mode="cubic"`, labels by nearest neighbour: see `medseg.data.geometry`.
        statistics: For `ct`, what `foreground_statistics` returned for the training cases. Only `arrays` can do without.

    Raises:
        ValueError: An unknown normalisation.
    """

    def __init__(
        self, normalisation: str | Sequence[str], spacing: Sequence[float] | None = None, statistics: dict[str, Any] | None = None
    ) -> None:
        check_names(normalisation)
        self.normalisation = normalisation
        self.spacing = None if spacing is None else tuple(float(size) for size in spacing)
        self.statistics = statistics

    @cached_property
    def normaliser(self) -> Normaliser:
        """What maps the raw intensities.

        Raises:
            ValueError: `ct` without statistics.
        """
        return Normaliser(self.normalisation, self.statistics)

    def arrays(self, case: Case, labels: LabelSchema) -> CaseArrays:
        """Reads a case, with its reference where it has one: all of preparation but the normalisation.

        Raises:
            DataError: A file is unreadable, holds NaN or unknown label values, image and label lie in different grids, or the spacing is
                so fine that the case would grow beyond all measure.
        """
        # The image to its end, then the label: what each needs on the way is not in memory together.
        image, original = read_finite(case)
        intensities = Intensities.of(image, case)
        image, geometry = to_canonical(image, original)
        canonical = geometry
        if self.spacing is not None:
            self._check_spacing(case, canonical)
            check_growth(case, canonical, len(image), self.spacing)
            image, geometry = resample(image, canonical, self.spacing, "cubic")
        image = compact(image)
        reference = read_ids(case, labels, original) if case.label is not None else None
        label = None if reference is None else to_canonical(reference[None], original)[0][0]
        if label is not None and self.spacing is not None:
            label = resample(label[None], canonical, self.spacing, "nearest")[0][0]
        if label is not None and reference is not None and label.shape == reference.shape and np.array_equal(label, reference):
            label = reference  # one array instead of two equal ones
        return CaseArrays(case, image, label, geometry, original, reference, intensities)

    def prepare(self, case: Case, labels: LabelSchema) -> PreparedCase:
        """Reads and prepares a case, with its reference where it has one.

        Raises:
            DataError: As `arrays`, and where the case has another number of channels than the normalisation.
            ValueError: `ct` without statistics.
        """
        normaliser = self.normaliser
        arrays = self.arrays(case, labels)
        try:
            image = normaliser(arrays.image, arrays.intensities)
        except DataError as error:
            raise DataError(f"{case.images[0]}: {error}") from error
        return PreparedCase(case, image, arrays.label, arrays.geometry, arrays.original, arrays.reference, arrays.intensities)

    def restore(self, prob: torch.Tensor, prepared: PreparedCase) -> torch.Tensor:
        """Takes maps on the prepared grid back to the grid of the files: the inverse of what `prepare` did to the axes and the spacing.

        Args:
            prob: (C', *prepared spatial), interpolated linearly where the spacing was changed and copied exactly where not.
            prepared: The case they belong to.

        Returns:
            (C', *original spatial), axes as in the files.
        """
        canonical = canonical_grid(prepared.original)
        if canonical.mismatch(prepared.geometry, tolerance=0.0) is not None:
            prob = resample_to(prob, prepared.geometry, canonical, "linear")
        return from_canonical(prob, prepared.original)

    def _check_spacing(self, case: Case, geometry: Geometry) -> None:
        if self.spacing is not None and len(self.spacing) != geometry.spatial_dims:
            raise DataError(
                f"{case.images[0]}: is {geometry.spatial_dims}-D but data.spacing has {len(self.spacing)} numbers; give one for each axis"
            )


def canonical_grid(original: Geometry) -> Geometry:
    """The grid that `to_canonical` makes of a grid."""
    empty = np.broadcast_to(np.zeros((), dtype=np.uint8), (1, *original.shape))
    return to_canonical(empty, original)[1]


def check_growth(case: Case, geometry: Geometry, channels: int, spacing: Sequence[float]) -> None:
    """Refuses a spacing that is so fine that the resampled image would fill any memory, before anything is resampled.

    Args:
        case: The case.
        geometry: Its grid, in any axes.
        channels: Of its image.
        spacing: The new voxel size in mm, one number a canonical axis.

    Raises:
        DataError: The voxels would become more than `MOST_GROWTH` times as many, and more than `HARMLESS` bytes.
    """
    order = [0, 1] if geometry.spatial_dims == 2 else np.argsort(orientations.io_orientation(geometry.affine)[:, 0])
    old_shape, old = [geometry.shape[axis] for axis in order], [geometry.spacing[axis] for axis in order]
    shape = [max(1.0, n * size / new) for n, size, new in zip(old_shape, old, spacing, strict=True)]
    nbytes = 4.0 * channels * math.prod(shape)
    if nbytes > HARMLESS and math.prod(shape) > MOST_GROWTH * math.prod(old_shape):
        raise DataError(
            f"{case.images[0]}: data.spacing={[float(size) for size in spacing]} would make {_product(shape)} voxels, "
            f"{nbytes / 2**30:,.0f} GiB, of its {_product(old_shape)} of {_product(old)} mm; "
            "choose a coarser data.spacing, or null to keep each image's own"
        )


def _product(sizes: Sequence[float]) -> str:
    return " x ".join(f"{round(size, 2):.9g}" for size in sizes)


def compact(image: np.ndarray) -> np.ndarray:
    """The image in the smallest of uint8, uint16 and int16 that holds every value exactly, else in float32; contiguous."""
    image = np.ascontiguousarray(image, dtype=np.float32)
    head = image.reshape(-1)[:4096]
    if image.size and np.array_equal(head, np.rint(head)):  # most images of fractions show it at once
        low, high = float(image.min()), float(image.max())
        for dtype in (np.uint8, np.uint16, np.int16):
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                smaller = image.astype(dtype)
                return smaller if np.array_equal(smaller, image) else image
    return image


def read_finite(case: Case) -> tuple[np.ndarray, Geometry]:
    """Reads the image of a case, (C, *spatial) float32 in the files' own grid, and refuses NaN and infinite voxels.

    Raises:
        DataError: A file is unreadable or holds NaN or infinite voxels.
    """
    image, geometry = case.read_image()
    finite = np.isfinite(image)
    if not finite.all():
        names = ", ".join(str(path) for path in case.images)
        count = finite.size - int(np.count_nonzero(finite))
        raise DataError(f"{names}: {count} voxels are NaN or infinite; replace them by numbers, or leave the case out")
    return image, geometry


def read_ids(case: Case, labels: LabelSchema, geometry: Geometry) -> np.ndarray:
    """Reads the label of a case as internal ids, uint8 (*spatial) in the files' own grid.

    Raises:
        DataError: The file is unreadable, lies in another grid than the image, or holds values that the data set does not declare.
    """
    values, found = case.read_label()
    case.require_same_grid(case.label_file, found, geometry)
    try:
        return labels.encode(values)
    except ValueError as error:
        raise FileError(case.label_file, str(error), "correct the file, or add the values to the data set's labels") from error
