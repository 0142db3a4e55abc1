"""What a run shows while it trains: one progress bar, and not Lightning's hints."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar


class EpochBar(RichProgressBar):
    """Lightning's Rich bar without the logger's version, which would be the tail of a folder name."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Give the logged numbers."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


def quieten() -> None:
    """Keep Lightning to warnings that a user can act on."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    # Lightning 2.6 calls a part of torch that torch 2.14 is about to remove.
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec", category=FutureWarning)
    # Tensors are logged on the device they are on, and the last batch of few cases is no mistake.
    warnings.filterwarnings("ignore", message=".*Total length of `DataLoader` across ranks is zero.*")
