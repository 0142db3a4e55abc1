"""How often training has seen the lesions of each size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from medseg.data.sampling import LesionSizes


class Exposure(Callback):
    """Log after each epoch how many patches so far have shown a lesion of each size, on average over the lesions: `train/seen/<size>`.

    A patch shows a lesion when the centroid lies in it, before augmentation; what is pasted does not count. The counts run over the
    whole run, also an interrupted one, and over all ranks. One line says them at the end. Nothing is logged where there are no lesions.
    """

    def __init__(self) -> None:
        self.sizes: LesionSizes | None = None
        self.views: list[int] = []
        self.epoch: Tensor | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Ask for the bins of size."""
        if stage == "fit":
            self.sizes = trainer.datamodule.patches.sizes
            self.views = [0] * len(self.sizes.names)

    def state_dict(self) -> dict[str, Any]:
        """The views of each bin so far."""
        return {"views": self.views}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.views = list(state_dict["views"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count; what an interrupted epoch has seen is seen again."""
        self.epoch = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Add what a batch shows, without waiting for the device."""
        if isinstance(batch, Mapping) and "lesions_seen" in batch:
            seen = batch["lesions_seen"].sum(dim=0)
            self.epoch = seen if self.epoch is None else self.epoch + seen

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add up the ranks and log."""
        if self.sizes is None or self.epoch is None:
            return
        seen = trainer.strategy.reduce(self.epoch.to(pl_module.device), reduce_op="sum")
        self.views = [before + now for before, now in zip(self.views, seen.tolist(), strict=True)]
        means = {f"train/seen/{name}": mean for name, mean in self._means().items()}
        pl_module.log_dict(means, batch_size=1, sync_dist=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say it in one line."""
        if self.sizes is not None and self.sizes.names and trainer.is_global_zero:
            print(summary(self._means(), self.sizes.totals), flush=True)

    def _means(self) -> dict[str, float]:
        assert self.sizes is not None
        return {name: views / total for name, views, total in zip(self.sizes.names, self.views, self.sizes.totals, strict=True)}


def summary(means: Mapping[str, float], totals: list[int]) -> str:
    """The line.

    >>> summary({"below_10mm3": 12.25, "from_10mm3": 131.0}, [40, 3])
    'views of a lesion: below_10mm3 12.2 (of 40 lesions), from_10mm3 131 (of 3)'
    """
    parts = [f"{name} {mean:.3g} (of {total})" for (name, mean), total in zip(means.items(), totals, strict=True)]
    return "views of a lesion: " + ", ".join(parts).replace(")", " lesions)", 1)
