"""A run of a few patches over stored cases in memory, to look at what callbacks do to its patches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader

from medseg.data.patches import PatchDataset, PatchSampler
from medseg.data.preparation import PreparedCase
from medseg.data.sampling import Mixture, Sampler
from medseg.training.checkpoints import Checkpoints
from tests.data.sampling.fakes import LESION, FakeStore, Still


def lesions(count: int) -> FakeStore:
    """Cases of 16 x 16 with a lesion of two voxels and, in every second case, one of 25."""
    labels = []
    for index in range(count):
        label = np.zeros((16, 16), np.uint8)
        label[2, 2:4] = 1
        label[9:14, 9:14] = index % 2
        labels.append(label)
    return FakeStore(labels)


class Patches(LightningDataModule):
    """Loads patches as the data modules of medseg do."""

    def __init__(self, store: FakeStore, samplers: Sequence[Sampler], workers: int = 0, **options: Any) -> None:
        super().__init__()
        self.workers = workers
        mixture = Mixture(samplers, [1 / len(samplers)] * len(samplers), 2, 0)
        settings = {"channels": 1, "patch_size": (8, 8), "patches_per_epoch": 10, "seed": 0}
        self.patches = PatchDataset(store, mixture, Still(), **{**settings, **options})  # type: ignore[arg-type]

    def train_dataloader(self) -> DataLoader[Any]:
        trainer = self.trainer
        assert trainer is not None
        sampler = PatchSampler(self.patches, trainer.global_rank, trainer.world_size)
        # A resumed run's loader starts before Lightning says which epoch it is.
        sampler.set_epoch(trainer.fit_loop.epoch_progress.current.processed)
        return DataLoader(
            self.patches,
            2 // trainer.world_size,
            sampler=sampler,
            num_workers=self.workers,
            multiprocessing_context="fork" if self.workers else None,
            persistent_workers=self.workers > 0,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(torch.zeros(1))  # type: ignore[arg-type]


class Task(LightningModule):
    """Remembers its batches; predicts as many wrong voxels as the case's number says, and more and more."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.dataset = SimpleNamespace(labels=LESION)
        self.predictor = SimpleNamespace(predict=self.predict)
        self.batches: list[tuple[int, list[str], list[float]]] = []
        self.modes: list[bool] = []

    def predict(self, prepared: PreparedCase) -> np.ndarray:
        self.modes.append(self.training or torch.is_grad_enabled())
        assert prepared.reference is not None
        wrong = (prepared.reference == 1).astype(np.uint8)
        wrong[5, : int(prepared.case.id[4:]) + self.current_epoch] = 1
        return wrong

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        self.batches.append((self.current_epoch, batch["case"], batch["image"][:, 0, 0, 0].tolist()))
        return self.weight * 1.0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Logged(Callback):
    """Keeps what was logged of each epoch."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rows.append({key: float(value) for key, value in trainer.callback_metrics.items()})


def fit(
    data: Patches, callbacks: Sequence[Callback], folder: Path, epochs: int, resume: bool = False, every: int = 1, **options: Any
) -> Task:
    """Trains and writes `folder`/last.ckpt after each epoch; with `resume` from there."""
    task = Task()
    checkpoints = Checkpoints(folder / "last.ckpt", folder / "best.ckpt", "val/dice")
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[*callbacks, checkpoints],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        check_val_every_n_epoch=every,
        use_distributed_sampler=False,
        **options,
    )
    trainer.fit(task, datamodule=data, ckpt_path=folder / "last.ckpt" if resume else None, weights_only=True)
    return task
