"""From a checkpoint and images to label maps in the images' own grid."""

from __future__ import annotations

from medseg.inference.files import Predictions, predict_folder, predict_run
from medseg.inference.load import SavedRun, load_checkpoint, load_predictor, read_run
from medseg.inference.predictor import Predictor
from medseg.inference.sliding_window import predict_logits

__all__ = [
    "Predictions",
    "Predictor",
    "SavedRun",
    "load_checkpoint",
    "load_predictor",
    "predict_folder",
    "predict_logits",
    "predict_run",
    "read_run",
]
