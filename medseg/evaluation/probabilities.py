"""Probability maps beside predicted label maps: medseg's `<case>.probabilities.npz` and nnU-Net's `<case>.npz`."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medseg.data.case import Case
from medseg.data.images import stem_of
from medseg.data.labels import IGNORE, LabelSchema
from medseg.errors import DataError
from medseg.metrics import CalibrationRow, CandidateRow, MetricOptions, calibration_rows, candidate_rows


def find_probabilities(prediction: Path, labels: LabelSchema, shape: tuple[int, ...]) -> np.ndarray | None:
    """The probabilities that lie beside a predicted label map.

    Args:
        prediction: The label map.
        labels: The classes to score.
        shape: Of the label map.

    Returns:
        One map per class (K, *shape); None where there is no file, or it holds other classes.

    Raises:
        DataError: The file is damaged, or of another shape.
    """
    for name in (f"{stem_of(prediction)}.probabilities.npz", f"{stem_of(prediction)}.npz"):
        path = prediction.with_name(name)
        if path.is_file():
            return _per_class(path, labels, shape)
    return None


def score_probabilities(
    case: Case, probabilities: np.ndarray, reference: np.ndarray, labels: LabelSchema, spacing: Sequence[float], options: MetricOptions
) -> tuple[list[CandidateRow], list[CalibrationRow]]:
    """Candidates for detection curves, and counts for calibration, of every class of a case.

    Shape:
        probabilities (K, *spatial), reference uint8 ids (*spatial), 255 where ignored.
    """
    candidates: list[CandidateRow] = []
    calibration: list[CalibrationRow] = []
    considered = reference != IGNORE
    for name, probability, mask in zip(labels.classes, probabilities, labels.masks(reference), strict=True):
        candidates += candidate_rows(case.id, case.group, name, probability, mask, considered, spacing, options)
        calibration += calibration_rows(case.id, case.group, name, probability, mask, considered, spacing)
    return candidates, calibration


def _per_class(path: Path, labels: LabelSchema, shape: tuple[int, ...]) -> np.ndarray | None:
    try:
        # np.load leaves a damaged file open that it opened itself.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            ours = "classes" in file
            names = [str(name) for name in file["classes"]] if ours else []
            values = np.asarray(file["probabilities" if "probabilities" in file else "softmax"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as probabilities ({error}); predict the case again, or remove the file") from error
    if not ours:  # nnU-Net: axes in the order of SimpleITK, pictures with a first axis of one slice
        values = values.transpose(0, *range(values.ndim - 1, 0, -1)) if len(shape) == 3 else values.reshape(-1, *values.shape[-2:])
    if values.shape[1:] != shape:
        raise DataError(f"{path}: has the shape {values.shape[1:]}, its label map {shape}; predict the case again, or remove the file")
    background = 1 if len(values) == (len(names) if ours else labels.num_classes) + 1 else 0
    if ours and set(labels.classes) <= set(names):
        return values[[names.index(name) + background for name in labels.classes]].astype(np.float32)
    return None if ours or len(values) != labels.num_classes + background else values[background:].astype(np.float32)
