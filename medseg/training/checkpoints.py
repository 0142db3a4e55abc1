"""Best and last checkpoint of a run."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only


class Checkpoints(Callback):
    """Write `last.ckpt` after every epoch and `best.ckpt` when the monitored metric is better than ever.

    While no case has given the metric a value (no foreground in the validation cases), the training loss chooses, and a warning says so.

    Lightning's ModelCheckpoint needs two instances that know nothing of each other for this, numbers a second file when the name is
    taken, and makes folders of slashes in metric names. Both files are written to a temporary name beside them and renamed.

    Args:
        last: The checkpoint to resume from.
        best: The best one.
        monitor: Key of a logged metric.
        lower_is_better: Whether the smallest value is the best.
    """

    def __init__(self, last: Path, best: Path, monitor: str, lower_is_better: bool = False) -> None:
        self.last, self.best, self.monitor, self.sign = last, best, monitor, -1.0 if lower_is_better else 1.0
        self.best_score = -math.inf
        self.best_loss = math.inf
        self.best_epoch = -1

    def state_dict(self) -> dict[str, Any]:
        """Remember the best score, so that a resumed run keeps its best checkpoint."""
        return {"best_score": self.best_score, "best_loss": self.best_loss, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]
        self.best_loss = state_dict.get("best_loss", math.inf)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the initial weights (a fine-tune's came from elsewhere), so that a run can be resumed from its first second on."""
        if trainer.current_epoch == 0 and trainer.global_step == 0:
            _save(trainer, self.last)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save. Lightning validates within the epoch, so the epoch's scores are here."""
        if getattr(pl_module, "validated_epoch", -1) == trainer.current_epoch and self._is_best(trainer):
            self.best_epoch = trainer.current_epoch
            _save(trainer, self.best)
        _save(trainer, self.last)

    def _is_best(self, trainer: Trainer) -> bool:
        score = trainer.callback_metrics.get(self.monitor)
        if score is not None and math.isfinite(score):
            if self.sign * float(score) <= self.best_score:
                return False
            self.best_score = self.sign * float(score)
            return True
        if self.best_score > -math.inf:
            return False
        if self.best_epoch < 0:
            _say(f"{self.monitor} has no value on any validation case: the training loss chooses best.ckpt until it has one")
        loss = trainer.callback_metrics.get("train/loss")
        value = math.inf if loss is None or math.isnan(loss) else float(loss)
        # Without any number at all, the latest weights are the best guess: a run always has a best.ckpt.
        if value > self.best_loss:
            return False
        self.best_loss = value
        return True


def _save(trainer: Trainer, path: Path) -> None:
    """Write beside the old file and rename: Lightning's own way is a copy from /tmp, which a kill can cut off."""
    temporary = path.with_name(f".{path.name}")
    trainer.save_checkpoint(temporary, weights_only=False)
    if trainer.is_global_zero:
        os.replace(temporary, path)
    trainer.strategy.barrier()


@rank_zero_only
def _say(text: str) -> None:
    print(f"warning: {text}")
