"""A prediction and its reference, read from their files into one grid of internal ids."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.data.case import Case
from medseg.data.geometry import Geometry
from medseg.data.images import RASTER_SUFFIXES, read_geometry, read_label, suffix_of
from medseg.data.labels import LabelSchema
from medseg.errors import DataError
from medseg.evaluation.labels import MOST_VALUES, no_label_map


@dataclass(frozen=True)
class Pair:
    """Two label maps of ids in one grid.

    Args:
        prediction: uint8 ids (*spatial); all background where the prediction cannot be used.
        reference: uint8 ids (*spatial), 255 where ignored.
        geometry: Their grid; the spacing in mm decides all distances and volumes.
        fault: Why the prediction cannot be used; None where it can.
    """

    prediction: np.ndarray
    reference: np.ndarray
    geometry: Geometry
    fault: str | None = None


def read_pair(case: Case, predicted: Path | None, labels: LabelSchema, declare: str = "") -> Pair:
    """Read a case's reference and its prediction.

    A prediction that is missing, unreadable, in another grid or of unknown values is taken as empty, and the pair says why, so that it can
    be scored as failed: a case never leaves the mean because its prediction failed.

    Args:
        case: Where the reference is.
        predicted: The prediction; None where there is none.
        labels: Meaning of the values of both.
        declare: Where unknown values can be declared, for the fault: "in ref/dataset.json"; empty where the values are settled.

    Raises:
        DataError: When the reference cannot be used.
    """
    values, geometry = case.read_label()
    reference = _ids(values, case.label_file, labels, declare)
    geometry = _with_spacing(case, geometry)
    if predicted is None:
        return Pair(np.zeros_like(reference), reference, geometry, "no prediction")
    try:
        values, found = read_label(predicted)
        difference = _mismatch(predicted, found, case.label_file, geometry)
        if difference:
            raise DataError(
                f"{predicted}: lies in another grid than its reference {case.label_file}: {difference}; resample it to the reference's grid"
            )
        prediction = _ids(values, predicted, labels, declare)
    except DataError as error:
        return Pair(np.zeros_like(reference), reference, geometry, str(error))
    return Pair(prediction, reference, geometry)


def _with_spacing(case: Case, geometry: Geometry) -> Geometry:
    """The image's grid where the label is a picture, which knows no millimetres, and the image is none."""
    if isinstance(case.label, Path) and case.images and suffix_of(case.label) in RASTER_SUFFIXES:
        image = case.images[0]
        if image.is_dir() or suffix_of(image) not in RASTER_SUFFIXES:
            grid = read_geometry(image)
            return grid if grid.shape == geometry.shape else geometry
    return geometry


def _ids(values: np.ndarray, path: Path, labels: LabelSchema, declare: str) -> np.ndarray:
    try:
        return labels.encode(values)
    except ValueError as error:
        found = set(np.unique(values).tolist())
        if len(found - {*labels.values, *labels.background, labels.ignore_value}) > MOST_VALUES:
            raise DataError(no_label_map(f"{path}: holds", found)) from error
        others = f", or declare the others {declare}" if declare else ""
        raise DataError(f"{path}: {error}; write the file with those values{others}") from error


def _mismatch(prediction: Path, found: Geometry, reference: Path, geometry: Geometry) -> str | None:
    """What differs between two grids; pictures know their shape alone."""
    if suffix_of(prediction) in RASTER_SUFFIXES or suffix_of(reference) in RASTER_SUFFIXES:
        return None if found.shape == geometry.shape else f"shape {found.shape} against {geometry.shape}"
    return found.mismatch(geometry)
