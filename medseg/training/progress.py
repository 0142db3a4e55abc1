"""What a run shows while it trains: one progress bar or a line an epoch, and not Lightning's hints."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar


class EpochBar(RichProgressBar):
    """Lightning's Rich bar without the logger's version, which would be the tail of a folder name."""

    def _get_train_description(self, current_epoch: int) -> str:
        return f"Epoch {current_epoch + 1}/{self.trainer.max_epochs}"

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Give the logged numbers."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


class EpochLines(Callback):
    """A line an epoch, for output that goes to a file."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's loss, and its scores where it was validated."""
        if trainer.is_global_zero:
            shown = {name: trainer.callback_metrics.get(name) for name in ("train/loss", "val/dice", "val/lesion_f1")}
            if getattr(pl_module, "validated_epoch", -1) != trainer.current_epoch:
                shown = {"train/loss": shown["train/loss"]}
            numbers = ", ".join(f"{name} {float(value):.3f}" for name, value in shown.items() if value is not None)
            print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: {numbers}", flush=True)


def progress() -> Callback:
    """The bar on a terminal, lines elsewhere."""
    return EpochBar() if sys.stdout.isatty() else EpochLines()


def quieten() -> None:
    """Keep Lightning to warnings that a user can act on."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    # Lightning 2.6 calls a part of torch that torch 2.14 is about to remove.
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec", category=FutureWarning)
    # Tensors are logged on the device they are on, and the last batch of few cases is no mistake.
    warnings.filterwarnings("ignore", message=".*Total length of `DataLoader` across ranks is zero.*")
