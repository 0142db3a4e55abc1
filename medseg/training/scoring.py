"""Score a run's best checkpoint on whole cases that did not train it."""

from __future__ import annotations

from medseg.config.schema import Config
from medseg.data.images import write_label
from medseg.data.modules import SegmentationDataModule
from medseg.evaluation import write_scores
from medseg.inference.load import load_predictor
from medseg.metrics import Row, score_case
from medseg.training.run_folder import RunFolder


def score_run(config: Config, data: SegmentationDataModule, run: RunFolder) -> None:
    """Predict and score the test cases, or the validation cases where there are none; write predictions and evaluation."""
