"""Score a folder of label maps against a folder of references, or against those of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medseg.data.case import Case, DataSet
from medseg.data.formats.layout import assign_groups
from medseg.data.images import read_geometry
from medseg.data.labels import LabelSchema
from medseg.data.store import building
from medseg.errors import DataError
from medseg.evaluation.labels import find_labels, with_ignore
from medseg.evaluation.options import check_tolerances
from medseg.evaluation.pairs import read_pair
from medseg.evaluation.predictions import files_by_name, match_names
from medseg.evaluation.probabilities import find_probabilities, nothing_found, score_probabilities
from medseg.evaluation.scores import write_scores
from medseg.metrics import CalibrationRow, CandidateRow, LesionRow, MetricOptions, Row, score_case

Part = Literal["all", "train", "test"]
"""Cases of a data set: all, those to train and validate on, or those kept apart."""

GIVEN = "given"
"""Origin of labels that the caller knew."""

_BYTES = 24
"""Memory that scoring takes a voxel: both maps as read, their ids, and what is computed on the way."""


@dataclass(frozen=True)
class Settings:
    """How an evaluation of folders is done.

    Args:
        out: Folder for `cases.csv`, `lesions.csv` and `summary.json`.
        classes: Names of the classes to score, the others count as background; None scores all.
        options: Which metrics, by which rules.
        primary: The metric that stands first.
        partial: Whether references without a prediction are left out, as where one fold was predicted; else they count as failed.
        images: Folder of the images, for the pictures of the report; None shows none.
        data: The config's `data:` section that tells where the cases are, for the same.
        workers: Cases at a time; None as many as there are processors, at most 8.
        progress: Called with the number of cases done and of all.
    """

    out: Path
    classes: Sequence[str] | None = None
    options: MetricOptions = field(default_factory=MetricOptions)
    primary: str = "dice"
    partial: bool = False
    images: Path | None = None
    data: dict[str, Any] | None = None
    workers: int | None = None
    progress: Callable[[int, int], None] | None = None


@dataclass
class Evaluation:
    """What came out of comparing two folders."""

    rows: list[Row] = field(default_factory=list)
    lesions: list[LesionRow] = field(default_factory=list)
    candidates: list[CandidateRow] = field(default_factory=list)
    calibration: list[CalibrationRow] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    """References without a prediction: failed in every class."""
    unusable: dict[str, str] = field(default_factory=dict)
    """Cases whose prediction cannot be used, and why: failed in every class."""
    extra: list[str] = field(default_factory=list)
    """Predictions without a reference: not scored."""
    left_out: list[str] = field(default_factory=list)
    """References without a prediction that were left out, since a part was asked for."""
    faults: dict[str, str] = field(default_factory=dict)
    """Cases whose reference cannot be used, and why: not scored."""

    @property
    def exit_code(self) -> int:
        """1 when a prediction is missing or unusable or a case could not be scored, else 0."""
        return 1 if self.missing or self.unusable or self.faults else 0


def evaluate_folders(pred: Path, ref: Path, settings: Settings, labels: LabelSchema | None = None, ignore: int | None = None) -> Evaluation:
    """Score predictions against references of the same name, whatever their suffixes, and write the tables into `settings.out`.

    A case whose prediction is missing or cannot be used (unreadable, other grid, unknown label value) counts as failed in every class,
    also in one that its reference lacks, and is listed. One whose reference cannot be used is listed and left out.

    Args:
        pred: Folder of predicted label maps, also as nnU-Net and MONAI's SaveImage write them.
        ref: Folder of references. A groups.csv (case,group) there or beside it names the patients.
        settings: How.
        labels: Meaning of the label values; None looks for a dataset.json in `ref`, its parent and `pred`, else takes the integers found.
        ignore: Label value of the references that counts as no voxel at all, where `labels` or dataset.json do not say so.

    Raises:
        DataError: When a folder is missing or empty, a name occurs twice, no name is common to both, or no case could be scored.
    """
    references = files_by_name(ref, "references")
    predictions = match_names(files_by_name(pred, "predictions"), references.keys())
    if not predictions.keys() & references.keys():
        raise DataError(
            f"{pred}: no prediction has the name of a reference in {ref} "
            f"(found: {next(iter(predictions))}, wanted: {next(iter(references))}); rename the files or give other folders"
        )
    source = GIVEN
    if labels is not None:
        labels = with_ignore(labels, ignore, "--labels")
    else:
        labels, source = find_labels((ref, ref.resolve().parent, pred), references.values(), predictions.values(), ignore)
    return _evaluate(pred, predictions, _cases(references, ref), labels, ref, source, settings)


def evaluate_dataset(pred: Path, dataset: DataSet, settings: Settings, part: Part = "all") -> Evaluation:
    """Score predictions named after the cases of a data set against its references, however these are put together of files.

    Args:
        pred: Folder of predicted label maps.
        dataset: What a format's `read` returned; its groups are the patients.
        settings: How. A case without a prediction counts as failed here too, unless only a part is scored.
        part: Which labelled cases: `train` those that the data set gives to train and validate, `test` those that it keeps apart.

    Raises:
        DataError: When the folder is missing or empty, two cases have one name, no case of the part has a reference or a prediction, or
            none could be scored.
    """
    parts = {"train": dataset.cases, "test": dataset.test_cases, "all": (*dataset.cases, *dataset.test_cases)}
    cases = tuple(case for case in parts[part] if case.label is not None)
    if not cases:
        raise DataError(f"{dataset.root}: no case of '{part}' has a reference; choose another part to score")
    ids = [case.id for case in cases]
    twice, count = Counter(ids).most_common(1)[0]
    if count > 1:
        raise DataError(f"{dataset.root}: two cases of '{part}' are named {twice}; rename one, or score the parts one by one")
    predictions = match_names(files_by_name(pred, "predictions"), ids)
    if not predictions.keys() & set(ids):
        raise DataError(
            f"{pred}: no prediction has the name of a case of {dataset.name} "
            f"(found: {next(iter(predictions))}, wanted: {cases[0].id}); rename the files or give another folder, data set or part"
        )
    return _evaluate(pred, predictions, cases, dataset.labels, dataset.root, "the data set", settings)


def _evaluate(
    pred: Path, predictions: dict[str, Path], cases: Sequence[Case], labels: LabelSchema, ref: Path, source: str, settings: Settings
) -> Evaluation:
    if settings.classes is not None:
        try:
            labels = labels.select(settings.classes)
        except ValueError as error:
            raise DataError(f"{ref}: {error}; correct the classes to score") from error
    try:
        check_tolerances(settings.options, labels.classes)
    except ValueError as error:
        raise DataError(f"evaluation.tolerances: {error}") from error
    names = {case.id for case in cases}
    absent = [case.id for case in cases if case.id not in predictions]
    result = Evaluation(
        missing=[] if settings.partial else absent,
        left_out=absent if settings.partial else [],
        extra=[name for name in predictions if name not in names],
    )
    scored = [case for case in cases if not settings.partial or case.id in predictions]
    known = {"the data set": "", GIVEN: "by --labels"}
    _score_all(result, scored, predictions, labels, settings, known.get(source, f"in {source} or by --labels"))
    usable = {row.case_id for row in result.rows} - result.unusable.keys() - set(result.missing)
    if not usable:
        reasons = [*result.faults.values(), *result.unusable.values()]
        raise DataError(f"{pred}: no case could be scored; the first: {reasons[0]}")
    result.summary = write_scores(
        settings.out,
        result.rows,
        result.lesions,
        result.candidates,
        result.calibration,
        options=settings.options,
        primary=settings.primary,
        predictions=str(pred),
        references=str(ref),
        images=None if settings.images is None else str(settings.images),
        data=settings.data,
        labels=labels.to_dict(),
        labels_from=source,
        missing=result.missing,
        unusable=result.unusable,
        extra=result.extra,
        left_out=len(result.left_out),
        faults=result.faults,
    )
    return result


def _score_all(
    result: Evaluation, cases: Sequence[Case], predictions: dict[str, Path], labels: LabelSchema, settings: Settings, declare: str
) -> None:
    """Score cases in threads within a bound of memory; the result is in the order of the cases."""
    scores: dict[str, Evaluation] = {}

    def work(case: Case, step: Callable[[], None]) -> None:
        scores[case.id] = _score(case, predictions.get(case.id), labels, settings.options, declare)

    finished: list[str] = []

    def done(case: Case) -> None:
        finished.append(case.id)
        if settings.progress is not None:
            settings.progress(len(finished), len(cases))

    for case, error in building.run(cases, work, _cost, workers=settings.workers, done=done):
        result.faults[case.id] = str(error)
    for case in cases:
        one = scores.get(case.id)
        if one is not None:
            result.rows += one.rows
            result.lesions += one.lesions
            result.candidates += one.candidates
            result.calibration += one.calibration
            if case.id not in result.missing:
                result.unusable |= one.unusable
    if result.calibration:  # probabilities were looked at, and a case whose prediction failed never leaves a mean
        failed = result.unusable.keys() | set(result.missing)
        result.calibration += [row for case in cases if case.id in failed and case.id in scores for row in nothing_found(case, labels)]


def _score(case: Case, predicted: Path | None, labels: LabelSchema, options: MetricOptions, declare: str) -> Evaluation:
    pair = read_pair(case, predicted, labels, declare)
    spacing = pair.geometry.spacing
    maps, failed = (pair.prediction, pair.reference), pair.fault is not None
    scores = score_case(case.id, case.group, *maps, labels.classes, labels.membership, spacing, options, failed=failed)
    one = Evaluation(scores.rows, scores.lesions, unusable={} if pair.fault is None else {case.id: pair.fault})
    found = None if predicted is None or failed else find_probabilities(predicted, labels, pair.reference.shape)
    if found is not None:
        one.candidates, one.calibration = score_probabilities(case, found, pair.reference, labels, spacing, options)
    return one


def _cost(case: Case) -> float:
    """Bytes that scoring a case takes, told by the header of its reference."""
    try:
        return _BYTES * float(np.prod(read_geometry(case.label_file).shape))
    except DataError:
        return 0.0  # the fault is told when the case is read


def _cases(references: dict[str, Path], ref: Path) -> tuple[Case, ...]:
    """One case per reference, its group from groups.csv if there is one."""
    cases = [Case(name, (), reference, name) for name, reference in references.items()]
    for folder in (ref, ref.resolve().parent):
        if (folder / "groups.csv").is_file():
            return assign_groups(cases, folder, None)[0]
    return tuple(cases)
