"""Training: the LightningModule, optimisers and schedules, checkpoints, the run folder, resume, fine-tune, sweep.

To add an optimiser or a schedule: one function, one line in the dict.
"""

from collections.abc import Callable
from typing import Any

from medseg.training.optimizers import adamw, sgd
from medseg.training.schedules import constant, cosine, polynomial

OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "adamw": adamw,
    "sgd": sgd,
}

SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": constant,
    "cosine": cosine,
    "polynomial": polynomial,
}
