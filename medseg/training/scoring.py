"""Score a run's best checkpoint on whole cases that did not train it."""

from __future__ import annotations

from typing import Any

from rich.progress import track

from medseg.data.modules import SegmentationDataModule, Stage
from medseg.evaluation import write_scores
from medseg.inference.files import predict_prepared
from medseg.inference.load import load_predictor
from medseg.metrics import LesionRow, Row, count_case, rows_of
from medseg.training.run_folder import RunFolder


def scored_stage(data: SegmentationDataModule) -> Stage:
    """The cases that close a run: the test cases, or the validation cases where there are none."""
    return "test" if data.case_ids("test") else "val"


def score_run(data: SegmentationDataModule, run: RunFolder, precision: str, device: str) -> dict[str, Any]:
    """Predict and score; write `predictions/`, then `evaluation/`, whose summary.json says that the run is finished.

    Args:
        data: The run's data module.
        run: The run.
        precision: The config's `trainer.precision`.
        device: The config's `trainer.accelerator`.

    Returns:
        The summary.
    """
    predictor = load_predictor(run.path, device, precision=precision)
    stage, labels = scored_stage(data), data.dataset.labels
    rows: list[Row] = []
    lesions: list[LesionRow] = []
    data.statistics = predictor.preparer.statistics  # the run's own, whatever the data module would measure
    stored = data.stored(stage)
    for number in track(range(len(stored)), description=f"scoring {stage} cases"):
        prepared = stored.whole(number)
        case = prepared.case
        ids = predict_prepared(predictor, prepared, run.predictions / f"{case.id}{data.dataset.suffix}")
        assert prepared.reference is not None, "scored cases have labels"
        counts, found = count_case(
            case.id, case.group, ids, prepared.reference, labels.classes, labels.membership, prepared.original.spacing
        )
        rows += rows_of(counts, labels.classes)
        lesions += found
    return write_scores(run.evaluation, rows, lesions, split=stage, checkpoint="checkpoints/best.ckpt")
