"""Best and last checkpoint of a run."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class Checkpoints(Callback):
    """Write `last.ckpt` after every epoch and `best.ckpt` when the monitored metric has risen.

    Lightning's ModelCheckpoint needs two instances that know nothing of each other for this, numbers a second file when the name is
    taken, and makes folders of slashes in metric names. Both files are written to a temporary name beside them and renamed.
    """

    def __init__(self, last: Path, best: Path, monitor: str) -> None:
        self.last, self.best, self.monitor = last, best, monitor
        self.best_score = -math.inf
        self.best_epoch = -1

    def state_dict(self) -> dict[str, Any]:
        """Remember the best score, so that a resumed run keeps its best checkpoint."""
        return {"best_score": self.best_score, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the initial weights (a fine-tune's came from elsewhere), so that a run can be resumed from its first second on."""
        if trainer.current_epoch == 0 and trainer.global_step == 0:
            _save(trainer, self.last)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save. Lightning validates within the epoch, so the epoch's scores are here."""
        score = trainer.callback_metrics.get(self.monitor)
        value = -math.inf if score is None or math.isnan(score) else float(score)
        validated = getattr(pl_module, "validated_epoch", -1) == trainer.current_epoch
        # Without any score yet, the latest weights are the best guess: a run always has a best.ckpt.
        if validated and (value > self.best_score or self.best_score == -math.inf):
            self.best_score, self.best_epoch = value, trainer.current_epoch
            _save(trainer, self.best)
        _save(trainer, self.last)


def _save(trainer: Trainer, path: Path) -> None:
    """Write beside the old file and rename: Lightning's own way is a copy from /tmp, which a kill can cut off."""
    temporary = path.with_name(f".{path.name}")
    trainer.save_checkpoint(temporary, weights_only=False)
    if trainer.is_global_zero:
        os.replace(temporary, path)
    trainer.strategy.barrier()
