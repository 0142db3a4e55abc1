"""From a checkpoint and images to label maps in the images' own grid."""

from __future__ import annotations

from medseg.inference.ensemble import Ensemble
from medseg.inference.files import Predictions, predict_folder, predict_run
from medseg.inference.load import SavedRun, load_checkpoint, load_predictor, read_run
from medseg.inference.model import Model, Prediction
from medseg.inference.postprocessing import Postprocessing
from medseg.inference.predictor import Predictor
from medseg.inference.probabilities import ProbabilityMaps, read_probabilities
from medseg.inference.sliding_window import predict_logits

__all__ = [
    "Ensemble",
    "Model",
    "Postprocessing",
    "Prediction",
    "Predictions",
    "Predictor",
    "ProbabilityMaps",
    "SavedRun",
    "load_checkpoint",
    "load_predictor",
    "predict_folder",
    "predict_logits",
    "predict_run",
    "read_probabilities",
    "read_run",
]
