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


def nothing_found(case: Case, labels: LabelSchema) -> list[CalibrationRow]:
    """The rows of a case whose prediction failed: calibration counts no voxel of it, detection a case in which nothing was found."""
    none = np.zeros((1, 1))
    return [row for name in labels.classes for row in calibration_rows(case.id, case.group, name, none, none > 0, none == 0, (1.0, 1.0))]


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
    if ours:
        background = 1 if len(values) == len(names) + 1 else 0
        channels = [names.index(name) + background for name in labels.classes] if set(labels.classes) <= set(names) else None
    else:
        channels = _nnunet_channels(len(values), labels)
    return None if channels is None else values[channels].astype(np.float32)


def _nnunet_channels(count: int, labels: LabelSchema) -> list[int] | None:
    """Which channel is which class: background and classes by ascending value, or regions as listed, without background.

    The file names none of them: where classes of the data set are not scored, nobody knows which ones these are.
    """
    regions = any(len(values) > 1 for values in labels.members)
    if len(labels.background) > 1 or count != labels.num_classes + (not regions):
        return None
    values = sorted(members[0] for members in labels.members)
    return list(range(count)) if regions else [1 + values.index(members[0]) for members in labels.members]
