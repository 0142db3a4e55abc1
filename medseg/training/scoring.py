"""Score a run's best checkpoint on whole cases that did not train it."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.progress import track

from medseg.config.schema import Config
from medseg.data.images import write_label
from medseg.data.modules import SegmentationDataModule, Stage
from medseg.data.preparation import PreparedCase
from medseg.evaluation import metric_options, write_scores
from medseg.evaluation.probabilities import score_probabilities
from medseg.inference.load import load_predictor
from medseg.inference.predictor import Predictor
from medseg.metrics import CalibrationRow, CandidateRow, LesionRow, Row, score_case
from medseg.training.postprocess import chosen_on
from medseg.training.run_folder import RunFolder


def scored_stage(data: SegmentationDataModule) -> Stage:
    """The cases that close a run: the test cases, or the validation cases where there are none."""
    return "test" if data.case_ids("test") else "val"


def score_run(config: Config, data: SegmentationDataModule, run: RunFolder) -> dict[str, Any]:
    """Predict and score; write `predictions/`, then `evaluation/`, whose summary.json says that the run is finished.

    Args:
        config: Its sections `evaluation` and `trainer` say which numbers, and where they are computed.
        data: The run's data module.
        run: The run.

    Returns:
        The summary.
    """
    predictor = load_predictor(run.path, config.trainer.accelerator, precision=config.trainer.precision)
    stage, labels, options = scored_stage(data), data.dataset.labels, metric_options(config.evaluation)
    rows: list[Row] = []
    lesions: list[LesionRow] = []
    candidates: list[CandidateRow] = []
    calibration: list[CalibrationRow] = []
    data.statistics = predictor.preparer.statistics  # the run's own, whatever the data module would measure
    stored = data.stored(stage)
    for number in track(range(len(stored)), description=f"scoring {stage} cases"):
        prepared = stored.whole(number)
        case, spacing = prepared.case, prepared.original.spacing
        assert prepared.reference is not None, "scored cases have labels"
        ids, probabilities = _predict(predictor, prepared, config.evaluation.probabilities)
        write_label(run.predictions / f"{case.id}{data.dataset.suffix}", labels.decode(ids), prepared.original)
        scores = score_case(case.id, case.group, ids, prepared.reference, labels.classes, labels.membership, spacing, options)
        rows += scores.rows
        lesions += scores.lesions
        if probabilities is not None:
            found = score_probabilities(case, probabilities, prepared.reference, labels, spacing, options)
            candidates += found[0]
            calibration += found[1]
    return write_scores(
        run.evaluation,
        rows,
        lesions,
        candidates,
        calibration,
        options=options,
        primary=config.evaluation.primary,
        margin=config.evaluation.margin,
        split=stage,
        checkpoint="checkpoints/best.ckpt",
        seed=config.seed,
        labels=labels.to_dict(),
        postprocessing=None if predictor.postprocessing is None else predictor.postprocessing.to_dict(),
        postprocessing_chosen_on_scored_cases=predictor.postprocessing is not None
        and not chosen_on(run.path).isdisjoint(data.case_ids(stage)),
    )


def _predict(predictor: Predictor, prepared: PreparedCase, probabilities: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Ids in the files' grid, and where asked for the probability of each class (K, *spatial)."""
    if not probabilities:
        return predictor.predict(prepared), None
    maps = predictor.predict_probabilities(prepared)
    ids = predictor.decide(maps, prepared)
    return ids, maps.numpy()[maps.shape[0] - predictor.labels.num_classes :]
