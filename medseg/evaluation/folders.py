"""Score a folder of label maps against a folder of references."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medseg.data.case import Case
from medseg.data.formats.layout import assign_groups
from medseg.data.geometry import Geometry
from medseg.data.images import RASTER_SUFFIXES, list_images, read_label, stem_of, suffix_of
from medseg.data.labels import LabelSchema
from medseg.errors import DataError
from medseg.evaluation.labels import find_labels
from medseg.evaluation.scores import write_scores
from medseg.metrics import LesionRow, Row, count_case, rows_of


@dataclass
class Evaluation:
    """What came out of comparing two folders."""

    rows: list[Row] = field(default_factory=list)
    lesions: list[LesionRow] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    """References without a prediction: scored as empty predictions."""
    extra: list[str] = field(default_factory=list)
    """Predictions without a reference: not scored."""
    faults: dict[str, str] = field(default_factory=dict)
    """Cases that could not be scored, and why."""

    @property
    def exit_code(self) -> int:
        """1 when a prediction is missing or a case could not be scored, else 0."""
        return 1 if self.missing or self.faults else 0


def evaluate_folders(
    pred: Path,
    ref: Path,
    out: Path,
    labels: LabelSchema | None = None,
    classes: Sequence[str] | None = None,
    progress: Callable[[Iterable[Case], int], Iterable[Case]] | None = None,
) -> Evaluation:
    """Score predictions against references of the same name, whatever their suffixes, and write the tables into `out`.

    A reference without a prediction counts as missed: its prediction is taken as empty. A case that cannot be scored (unreadable, other
    grid, unknown label value) is listed in `faults` and left out; the others are scored all the same.

    Args:
        pred: Folder of predicted label maps.
        ref: Folder of references. A groups.csv (case,group) there or beside it names the patients.
        out: Folder for `cases.csv`, `lesions.csv` and `summary.json`.
        labels: Meaning of the label values; None looks for a dataset.json in `ref` and its parent, else takes the integers found.
        classes: Names of the classes to score, the others count as background; None scores all.
        progress: Wraps the cases and their number, to show a progress bar.

    Raises:
        DataError: When a folder is missing or empty, a name occurs twice, no name is common to both, or no case could be scored.
    """
    predictions, references = _by_stem(pred, "predictions"), _by_stem(ref, "references")
    if not predictions.keys() & references.keys():
        raise DataError(
            f"{pred}: no prediction has the name of a reference in {ref} "
            f"(found: {next(iter(predictions))}, wanted: {next(iter(references))}); rename the files or give other folders"
        )
    source = "given"
    if labels is None:
        labels, source = find_labels(ref, references.values(), predictions.values())
    if classes is not None:
        try:
            labels = labels.select(classes)
        except ValueError as error:
            raise DataError(f"{ref}: {error}; correct the classes to score") from error
    result = Evaluation(
        missing=[name for name in references if name not in predictions],
        extra=[name for name in predictions if name not in references],
    )
    cases = _cases(references, predictions, ref)
    for case in progress(cases, len(cases)) if progress else cases:
        try:
            rows, lesions = _score(case, labels)
        except DataError as error:
            result.faults[case.id] = str(error)
        else:
            result.rows += rows
            result.lesions += lesions
    if not result.rows:
        raise DataError(f"{pred}: no case could be scored; the first: {next(iter(result.faults.values()))}")
    result.summary = write_scores(
        out,
        result.rows,
        result.lesions,
        predictions=str(pred),
        references=str(ref),
        labels=labels.to_dict(),
        labels_from=source,
        missing=result.missing,
        extra=result.extra,
        faults=result.faults,
    )
    return result


def _by_stem(folder: Path, what: str) -> dict[str, Path]:
    """Name without suffix -> file."""
    if not folder.is_dir():
        raise DataError(f"{folder}: the folder of {what} {'is a file' if folder.exists() else 'does not exist'}; give an existing folder")
    files: dict[str, Path] = {}
    for path in list_images(folder):
        other = files.setdefault(stem_of(path), path)
        if other != path:
            raise DataError(f"{folder}: holds both {other.name} and {path.name}; keep one label map a case")
    if not files:
        raise DataError(f"{folder}: the folder of {what} holds no label map; give the folder that holds the files themselves")
    return files


def _cases(references: dict[str, Path], predictions: dict[str, Path], ref: Path) -> tuple[Case, ...]:
    """One case per reference, its image the prediction if there is one, its group from groups.csv if there is one."""
    cases = [Case(name, (predictions[name],) if name in predictions else (), reference, name) for name, reference in references.items()]
    for folder in (ref, ref.resolve().parent):
        if (folder / "groups.csv").is_file():
            return assign_groups(cases, folder, None)[0]
    return tuple(cases)


def _score(case: Case, labels: LabelSchema) -> tuple[list[Row], list[LesionRow]]:
    assert isinstance(case.label, Path)
    reference, geometry = _read_ids(case.label, labels)
    if case.images:
        prediction, found = _read_ids(case.images[0], labels)
        difference = _mismatch(case.images[0], found, case.label, geometry)
        if difference:
            raise DataError(
                f"{case.images[0]}: lies in another grid than its reference {case.label}: {difference}; resample it to the reference's grid"
            )
    else:
        prediction = np.zeros_like(reference)
    counts, lesions = count_case(case.id, case.group, prediction, reference, labels.classes, labels.membership, geometry.spacing)
    return rows_of(counts, labels.classes), lesions


def _read_ids(path: Path, labels: LabelSchema) -> tuple[np.ndarray, Geometry]:
    values, geometry = read_label(path)
    try:
        return labels.encode(values), geometry
    except ValueError as error:
        raise DataError(f"{path}: {error}; correct the file, or declare the values in dataset.json") from error


def _mismatch(prediction: Path, found: Geometry, reference: Path, geometry: Geometry) -> str | None:
    """What differs between two grids; pictures know their shape alone."""
    if suffix_of(prediction) in RASTER_SUFFIXES or suffix_of(reference) in RASTER_SUFFIXES:
        return None if found.shape == geometry.shape else f"shape {found.shape} against {geometry.shape}"
    return found.mismatch(geometry)
