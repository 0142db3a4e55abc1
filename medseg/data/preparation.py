"""From the files of a case to the arrays that a network sees, and back to the files' own grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from medseg.data.case import Case
from medseg.data.geometry import Geometry, from_canonical, resample, resample_to, to_canonical
from medseg.data.images import RASTER_SUFFIXES, FileError, suffix_of
from medseg.data.labels import LabelSchema
from medseg.data.sampling import foreground_of
from medseg.errors import DataError

Normalisation = Literal["zscore", "ct", "unit", "none"]

MASKED_SHARE = 0.25
"""Share of exact zeros above which a channel counts as masked (skull-stripped, say): its zeros say nothing about its intensities."""

VOXELS_PER_CASE = 100_000
"""Foreground voxels that a case adds to the statistics of `ct`, so that one long scan does not outweigh the others."""


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
    """

    case: Case
    image: np.ndarray
    label: np.ndarray | None
    geometry: Geometry
    original: Geometry
    reference: np.ndarray | None

    @property
    def nbytes(self) -> int:
        """Memory of the arrays in bytes, shared ones counted once."""
        arrays = {id(array): array for array in (self.image, self.label, self.reference) if array is not None}
        return sum(array.nbytes for array in arrays.values())


class Preparer:
    r"""Reads cases, turns them to canonical axes, normalises and resamples them.

    Every normalisation is one increasing linear map $a x + b$ a channel (after clipping, for `ct`), the same for all voxels of a case:

    - `zscore`: $(x - \mu) / \sigma$ of the case. Where more than a quarter of a channel's voxels are exactly 0 (skull-stripped, or the
      black rim of a fundus picture) $\mu$ and $\sigma$ are those of the others. Does not depend on the unit of the intensities.
    - `ct`: clip to the training foreground's 0.5 to 99.5 percentiles, then subtract its mean and divide by its standard deviation.
    - `unit`: divided by 255 for 8-bit pictures, else from the case's minimum and maximum to [0, 1], over all channels of a picture and
      each channel of a scan.
    - `none`: as in the file.

    A constant channel becomes 0 (`zscore`, `unit`).

    Args:
        normalisation: One of the above.
        spacing: Voxel size in mm, one number a canonical (right, anterior, superior) axis; None keeps each case's own. Images are
            interpolated linearly, labels by nearest neighbour.
        statistics: For `ct`, what `foreground_statistics` returned for the training cases.

    Raises:
        ValueError: `ct` without statistics, or an unknown normalisation.
    """

    def __init__(
        self, normalisation: Normalisation, spacing: Sequence[float] | None = None, statistics: dict[str, Any] | None = None
    ) -> None:
        if normalisation not in ("zscore", "ct", "unit", "none"):
            raise ValueError(f"unknown normalisation '{normalisation}'; choose zscore, ct, unit or none")
        if normalisation == "ct" and statistics is None:
            raise ValueError("normalisation 'ct' needs the statistics of the training cases' foreground")
        self.normalisation = normalisation
        self.spacing = None if spacing is None else tuple(float(size) for size in spacing)
        self.statistics = statistics

    def prepare(self, case: Case, labels: LabelSchema) -> PreparedCase:
        """Reads and prepares a case, with its reference where it has one.

        Raises:
            DataError: A file is unreadable, holds NaN or unknown label values, or image and label lie in different grids.
        """
        image, original = read_finite(case)
        image, geometry = to_canonical(self._normalise(image, case), original)
        reference = read_ids(case, labels, original) if case.label is not None else None
        label = None if reference is None else to_canonical(reference[None], original)[0][0]
        if self.spacing is not None:
            canonical = geometry
            self._check_spacing(case, canonical)
            image, geometry = resample(image, canonical, self.spacing, "linear")
            label = None if label is None else resample(label[None], canonical, self.spacing, "nearest")[0][0]
        if label is not None and reference is not None and label.shape == reference.shape and np.array_equal(label, reference):
            label = reference  # one array instead of two equal ones
        return PreparedCase(case, np.ascontiguousarray(image, dtype=np.float32), label, geometry, original, reference)

    def restore(self, prob: torch.Tensor, prepared: PreparedCase) -> torch.Tensor:
        """Takes maps on the prepared grid back to the grid of the files: the inverse of what `prepare` did to the axes and the spacing.

        Args:
            prob: (C', *prepared spatial), interpolated linearly where the spacing was changed and copied exactly where not.
            prepared: The case they belong to.

        Returns:
            (C', *original spatial), axes as in the files.
        """
        empty = np.broadcast_to(np.zeros((), dtype=np.uint8), (1, *prepared.original.shape))
        canonical = to_canonical(empty, prepared.original)[1]
        if canonical.mismatch(prepared.geometry, tolerance=0.0) is not None:
            prob = resample_to(prob, prepared.geometry, canonical, "linear")
        return from_canonical(prob, prepared.original)

    def _check_spacing(self, case: Case, geometry: Geometry) -> None:
        if self.spacing is not None and len(self.spacing) != geometry.spatial_dims:
            raise DataError(
                f"{case.images[0]}: is {geometry.spatial_dims}-D but data.spacing has {len(self.spacing)} numbers; give one for each axis"
            )

    def _normalise(self, image: np.ndarray, case: Case) -> np.ndarray:
        """Maps the intensities of a case (C, *spatial) as the class describes."""
        if self.normalisation == "none":
            return image
        if self.normalisation == "ct":
            return self._clip_and_standardise(image, case)
        if self.normalisation == "zscore":
            return np.stack([_zscore(channel) for channel in image])
        if all(_is_eight_bit(path) for path in case.images):
            return image / np.float32(255)
        if suffix_of(case.images[0]) in RASTER_SUFFIXES:
            return _unit(image)
        return np.stack([_unit(channel) for channel in image])

    def _clip_and_standardise(self, image: np.ndarray, case: Case) -> np.ndarray:
        assert self.statistics is not None
        low, high, mean, std = (
            np.asarray(self.statistics[key], dtype=np.float32).reshape(-1, *(1,) * (image.ndim - 1))
            for key in ("low", "high", "mean", "std")
        )
        if len(low) != len(image):
            raise DataError(
                f"{case.images[0]}: has {len(image)} channels, the training data had {len(low)}; use images of the same channels"
            )
        return (np.clip(image, low, high) - mean) / std


def foreground_statistics(cases: Iterable[Case], labels: LabelSchema, mapper: Callable[..., Iterable[Any]] = map) -> dict[str, Any]:
    """Measures the intensities of the foreground over the training cases, for `ct`.

    Args:
        cases: The training cases.
        labels: What their label values mean.
        mapper: `map`, or an executor's, to read in parallel.

    Returns:
        `low`, `high` (0.5 and 99.5 percentiles), `mean` and `std`, each a list with one float a channel. Cases without foreground add
        nothing.

    Raises:
        DataError: No case has any foreground, or the channels differ between cases.
    """
    samples = [sample for sample in mapper(lambda case: _foreground_sample(case, labels), cases) if sample.shape[1]]
    if not samples:
        raise DataError(
            "data.normalisation is 'ct' but no training case has any foreground to measure; choose 'zscore', or check the labels"
        )
    if len({len(sample) for sample in samples}) > 1:
        raise DataError("the training cases have different numbers of channels; `medseg check` lists them")
    values = np.concatenate(samples, axis=1).astype(np.float64)
    low, high = np.percentile(values, [0.5, 99.5], axis=1)
    std = values.std(axis=1)
    return {
        "low": low.tolist(),
        "high": high.tolist(),
        "mean": values.mean(axis=1).tolist(),
        "std": np.where(std > 0, std, 1.0).tolist(),
    }


def read_finite(case: Case) -> tuple[np.ndarray, Geometry]:
    """Reads the image of a case, (C, *spatial) float32 in the files' own grid, and refuses NaN and infinite voxels.

    Raises:
        DataError: A file is unreadable or holds NaN or infinite voxels.
    """
    image, geometry = case.read_image()
    if not np.isfinite(image).all():
        count = int((~np.isfinite(image)).sum())
        names = ", ".join(str(path) for path in case.images)
        raise DataError(f"{names}: {count} voxels are NaN or infinite; replace them by numbers, or leave the case out")
    return image, geometry


def read_ids(case: Case, labels: LabelSchema, geometry: Geometry) -> np.ndarray:
    """Reads the label of a case as internal ids, uint8 (*spatial) in the files' own grid.

    Raises:
        DataError: The file is unreadable, lies in another grid than the image, or holds values that the data set does not declare.
    """
    values, found = case.read_label()
    assert case.label is not None
    case.require_same_grid(case.label, found, geometry)
    try:
        return labels.encode(values)
    except ValueError as error:
        raise FileError(case.label, str(error), "correct the file, or add the values to the data set's labels") from error


def _foreground_sample(case: Case, labels: LabelSchema) -> np.ndarray:
    """Intensities (C, n) of an even choice of at most `VOXELS_PER_CASE` foreground voxels."""
    image, geometry = read_finite(case)
    values = image[:, foreground_of(read_ids(case, labels, geometry), labels)]
    return values[:, :: 1 + values.shape[1] // VOXELS_PER_CASE]


def _zscore(channel: np.ndarray) -> np.ndarray:
    nonzero = channel[channel != 0]
    # A channel of zeros and one other value (a mask given as input) is not masked: all of it counts.
    masked = 0 < nonzero.size < (1 - MASKED_SHARE) * channel.size and nonzero.min() < nonzero.max()
    values = nonzero if masked else channel
    # float64: the variance of intensities around 1e4 loses its digits in float32.
    mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    return _scaled(channel, mean, std)


def _unit(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return _scaled(values, low, high - low)


def _scaled(values: np.ndarray, offset: float, scale: float) -> np.ndarray:
    """Returns (values - offset) / scale, or 0 where the spread is rounding noise."""
    if scale <= 1e-7 * abs(offset):
        return np.zeros_like(values)
    scaled = values - np.float32(offset)
    scaled /= np.float32(scale)
    return scaled


def _is_eight_bit(path: Path) -> bool:
    """Says whether a file is a picture of 8 bits a channel; told by its header."""
    if suffix_of(path) not in RASTER_SUFFIXES:
        return False
    with Image.open(path) as picture:
        return picture.mode not in ("1", "F") and not picture.mode.startswith("I")
