"""How wrong the network still is on each training case, for the samplers that ask."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from medseg.data.patches import PatchDataset
from medseg.data.preparation import PreparedCase
from medseg.data.sampling import HardCase
from medseg.metrics import class_counts
from medseg.metrics.overlap import dice


class HardCases(Callback):
    """After each validation, score the next few training cases whole, and write their errors where the samplers of hard cases look.

    Cases take turns; how many a round, the samplers' `cases_per_validation` says (the largest, where there are several). The ranks share
    them, and all get all errors. Errors and turn travel in the checkpoint, so that a resumed run draws the same patches. Does nothing
    where no sampler asks.
    """

    def __init__(self) -> None:
        self.samplers: list[HardCase] = []
        self.patches: PatchDataset | None = None
        self.errors = torch.empty(0)
        self.turn = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the samplers; Lightning restores the errors after this and starts the loader's processes later still."""
        if stage == "fit":
            self.patches = trainer.datamodule.patches
            self.samplers = self.patches.mixture.hard_cases
            self.errors = torch.ones(len(self.patches.cases))

    def state_dict(self) -> dict[str, Any]:
        """Errors and turn, in plain types; empty where no sampler asks."""
        return {"errors": self.errors.tolist(), "turn": self.turn} if self.samplers else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        if self.samplers and state_dict:
            self.errors, self.turn = torch.tensor(state_dict["errors"]), state_dict["turn"]
            self._publish()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score. The network is in evaluation mode here, and no patch of the next epoch has been drawn yet."""
        if not self.samplers or self.patches is None or trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        cases = self.patches.cases
        count = min(len(cases), max(sampler.cases_per_validation for sampler in self.samplers))
        numbers = [(self.turn + place) % len(cases) for place in range(count)]
        found = torch.zeros(len(cases))
        for number in numbers[trainer.global_rank :: trainer.world_size]:
            found[number] = case_error(pl_module, cases.whole(number))
        found = trainer.strategy.reduce(found.to(pl_module.device), reduce_op="sum").cpu()
        self.errors[numbers] = found[numbers]
        self.turn = (self.turn + count) % len(cases)
        self._publish()

    def _publish(self) -> None:
        for sampler in self.samplers:
            sampler.errors.copy_(self.errors)


def case_error(task: Any, prepared: PreparedCase) -> float:
    """1 - mean Dice over the classes of one case, in the grid of its files, of a task's `predictor`.

    A class that is in neither prediction nor reference does not count; where that is so of all, the error is 0.
    """
    labels = task.dataset.labels
    assert prepared.reference is not None, "training cases have labels"
    counted = class_counts(task.predictor.predict(prepared), prepared.reference, labels.membership, voxel_ml=math.nan)
    values = [dice(counts) for counts in counted]
    valid = [value for value in values if not math.isnan(value)]
    return 1 - sum(valid) / len(valid) if valid else 0.0
