"""Score a folder of label maps against a folder of references, or against those of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medseg.data.case import Case, DataSet
from medseg.data.formats.layout import assign_groups
from medseg.data.geometry import Geometry
from medseg.data.images import RASTER_SUFFIXES, list_images, read_label, stem_of, suffix_of
from medseg.data.labels import LabelSchema
from medseg.errors import DataError
from medseg.evaluation.labels import find_labels
from medseg.evaluation.scores import write_scores
from medseg.metrics import LesionRow, Row, count_case, rows_of

Part = Literal["all", "train", "test"]
"""Cases of a data set: all, those to train and validate on, or those kept apart."""


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
    return _evaluate(pred, predictions, _cases(references, ref), labels, classes, ref, source, out, progress)


def evaluate_dataset(
    pred: Path,
    dataset: DataSet,
    out: Path,
    part: Part = "all",
    classes: Sequence[str] | None = None,
    progress: Callable[[Iterable[Case], int], Iterable[Case]] | None = None,
) -> Evaluation:
    """Score predictions named after the cases of a data set against its references, however these are put together of files.

    Args:
        pred: Folder of predicted label maps.
        dataset: What a format's `read` returned; its groups are the patients.
        out: As in `evaluate_folders`. A case without a prediction counts as missed here too.
        part: Which labelled cases: `train` those that the data set gives to train and validate, `test` those that it keeps apart.
        classes: As in `evaluate_folders`.
        progress: As in `evaluate_folders`.

    Raises:
        DataError: When the folder is missing or empty, no case of the part has a reference or a prediction, or none could be scored.
    """
    predictions = _by_stem(pred, "predictions")
    parts = {"train": dataset.cases, "test": dataset.test_cases, "all": (*dataset.cases, *dataset.test_cases)}
    cases = tuple(case for case in parts[part] if case.label is not None)
    if not cases:
        raise DataError(f"{dataset.root}: no case of '{part}' has a reference; choose another part to score")
    if not predictions.keys() & {case.id for case in cases}:
        raise DataError(
            f"{pred}: no prediction has the name of a case of {dataset.name} "
            f"(found: {next(iter(predictions))}, wanted: {cases[0].id}); rename the files or give another folder, data set or part"
        )
    return _evaluate(pred, predictions, cases, dataset.labels, classes, dataset.root, "the data set", out, progress)


def _evaluate(
    pred: Path,
    predictions: dict[str, Path],
    cases: Sequence[Case],
    labels: LabelSchema,
    classes: Sequence[str] | None,
    ref: Path,
    source: str,
    out: Path,
    progress: Callable[[Iterable[Case], int], Iterable[Case]] | None,
) -> Evaluation:
    if classes is not None:
        try:
            labels = labels.select(classes)
        except ValueError as error:
            raise DataError(f"{ref}: {error}; correct the classes to score") from error
    names = {case.id for case in cases}
    result = Evaluation(
        missing=[case.id for case in cases if case.id not in predictions],
        extra=[name for name in predictions if name not in names],
    )
    for case in progress(cases, len(cases)) if progress else cases:
        try:
            rows, lesions = _score(case, predictions.get(case.id), labels)
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


def _cases(references: dict[str, Path], ref: Path) -> tuple[Case, ...]:
    """One case per reference, its group from groups.csv if there is one."""
    cases = [Case(name, (), reference, name) for name, reference in references.items()]
    for folder in (ref, ref.resolve().parent):
        if (folder / "groups.csv").is_file():
            return assign_groups(cases, folder, None)[0]
    return tuple(cases)


def _score(case: Case, predicted: Path | None, labels: LabelSchema) -> tuple[list[Row], list[LesionRow]]:
    values, geometry = case.read_label()
    reference = _ids(values, case.label_file, labels)
    if predicted is not None:
        values, found = read_label(predicted)
        prediction = _ids(values, predicted, labels)
        difference = _mismatch(predicted, found, case.label_file, geometry)
        if difference:
            raise DataError(
                f"{predicted}: lies in another grid than its reference {case.label_file}: {difference}; resample it to the reference's grid"
            )
    else:
        prediction = np.zeros_like(reference)
    counts, lesions = count_case(case.id, case.group, prediction, reference, labels.classes, labels.membership, geometry.spacing)
    return rows_of(counts, labels.classes), lesions


def _ids(values: np.ndarray, path: Path, labels: LabelSchema) -> np.ndarray:
    try:
        return labels.encode(values)
    except ValueError as error:
        raise DataError(f"{path}: {error}; correct the file, or declare the values in dataset.json") from error


def _mismatch(prediction: Path, found: Geometry, reference: Path, geometry: Geometry) -> str | None:
    """What differs between two grids; pictures know their shape alone."""
    if suffix_of(prediction) in RASTER_SUFFIXES or suffix_of(reference) in RASTER_SUFFIXES:
        return None if found.shape == geometry.shape else f"shape {found.shape} against {geometry.shape}"
    return found.mismatch(geometry)
