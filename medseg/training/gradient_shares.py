"""How much of the gradient each term of the loss had in an epoch, and a warning when one had hardly any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from medseg.losses import WeightedLoss

SILENT = 0.01
"""A share below this is worth a warning."""


class GradientShares(Callback):
    """Log the mean over an epoch's measured steps as `train/share/<term>`; name, once a run, a term that fell silent.

    Weights that move, by a schedule or by balance, are logged too, as they are at the end of the epoch (`train/weight/<term>`): terms are
    logged unweighted.

    The case in point: beside Dice, a mean of BCE over a volume with few lesion voxels soon has a gradient that is small in each
    voxel that matters, and the sum trains as Dice alone. The value of the loss does not show it.

    A training step hands its measurement over as `shares` beside `loss`; empty in the steps that did not measure. One in which no term
    had a gradient, or one was not finite, does not count. A term of scheduled weight is judged once its schedule
    has ended: until then a small share may be what the schedule is for.
    """

    def __init__(self) -> None:
        self.warned: list[str] = []
        self.total: Tensor | None = None
        self.steps: Tensor | None = None
        self.names: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        """Remember what was said, so that a resumed run does not say it again."""
        return {"warned": self.warned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.warned = list(state_dict["warned"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last epoch."""
        self.total = self.steps = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Add a measurement, without waiting for the device."""
        shares: Mapping[str, Tensor] = outputs.get("shares", {}) if isinstance(outputs, Mapping) else {}
        if not shares:
            return
        self.names = list(shares)
        values = torch.stack(list(shares.values()))
        useful = values.isfinite().all() & (values.sum() > 0)
        values = torch.where(useful, values, 0)
        self.total = values if self.total is None else self.total + values
        self.steps = useful.long() if self.steps is None else self.steps + useful

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log and warn. Shares and weights are equal on all ranks, so nothing is communicated."""
        loss: WeightedLoss = pl_module.loss
        if loss.schedules or loss.balance is not None:  # else they are those of the config
            weights = {f"train/weight/{name}": float(w) for name, w in zip(loss.terms, loss.effective_weights(), strict=True)}
            pl_module.log_dict(weights, batch_size=1, sync_dist=False)
        if self.total is None or self.steps is None or not self.steps:
            return
        means = dict(zip(self.names, (self.total / self.steps).tolist(), strict=True))
        pl_module.log_dict({f"train/share/{name}": share for name, share in means.items()}, batch_size=1, sync_dist=False)
        for name, share in means.items():
            schedule = loss.schedules.get(name)
            judged = schedule is None or trainer.current_epoch >= schedule.epochs
            if judged and share < SILENT and loss.weights[name] > 0 and name not in self.warned:
                self.warned.append(name)
                if trainer.is_global_zero:
                    key = f"loss.terms[{list(loss.terms).index(name)}].weight{'' if schedule is None else '.end'}"
                    print(silence(name, share, trainer.current_epoch, key, loss.balance), flush=True)


def silence(name: str, share: float, epoch: int, key: str, balanced: object = None) -> str:
    """The warning: which term, how little, when, and which key of the config to raise.

    >>> silence("bce", 0.004, 2, "loss.terms[1].weight")
    'warning: bce had 0.4 % of the gradient in epoch 3, so it hardly trains: raise loss.terms[1].weight, or set loss.balance: gradient'
    """
    remedy = "" if balanced else ", or set loss.balance: gradient"
    return f"warning: {name} had {100 * share:.2g} % of the gradient in epoch {epoch + 1}, so it hardly trains: raise {key}{remedy}"
