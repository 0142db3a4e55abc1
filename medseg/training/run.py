"""Train, resume and fine-tune: from a config to a scored run folder."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only

from medseg.config import load_config, to_yaml
from medseg.config.schema import Config
from medseg.data import DATA_MODULES
from medseg.data.modules import SegmentationDataModule, Stage
from medseg.errors import RunError
from medseg.inference.load import load_checkpoint
from medseg.inference.precision import resolve_accelerator, resolve_precision
from medseg.training.checkpoints import Checkpoints
from medseg.training.epoch_table import EpochTable
from medseg.training.finetune import carry_weights
from medseg.training.module import SegmentationTask
from medseg.training.progress import EpochBar, quieten
from medseg.training.run_folder import RunFolder
from medseg.training.scoring import score_run

RUN_DIR_VARIABLE = "MEDSEG_RUN_DIR"
"""Tells the processes that DDP starts which folder the first one made."""


STAGES: tuple[tuple[Stage, str], ...] = (("train", "train"), ("val", "validate"), ("test", "test"))


class InterruptedRunError(RunError):
    """Ctrl-C during training: the run can be resumed."""

    exit_code = 130


def train(config: Config, path: Path | None = None, source: Path | None = None) -> RunFolder:
    """Train from scratch, or from the weights of the run `source`, into a new folder (`path` if given)."""
    data = prepare_data(config)
    task = make_task(config, data)
    transfer = carry_weights(source, task) if source is not None else None
    run = _new_folder(config, path)
    if rank_zero_only.rank == 0:
        data.write_splits(run.splits)
        if transfer is not None:
            transfer.write(run.transfer)
            print(f"weights from {transfer.summary}; each tensor is listed in {run.transfer}")
    return fit(config, data, task, run)


def resume(path: Path, overrides: Sequence[str] = ()) -> RunFolder:
    """Go on with an interrupted run in its own folder, from the last finished epoch."""
    run = RunFolder.open(path)
    config = load_config(str(run.config), overrides)
    if run.finished:
        return run
    data = prepare_data(config)
    if run.splits.is_file() and json.loads(run.splits.read_text()) != json.loads(data.splits.to_json()):
        raise RunError(f"{run.splits}: the data set gives other splits now, so cases were added or removed; train a new run")
    return fit(config, data, make_task(config, data), run)


def prepare_data(config: Config) -> SegmentationDataModule:
    """Open the data set and refuse to start on broken files."""
    seed_everything(config.seed, verbose=False)
    data = DATA_MODULES[config.data.module](config.data, config.seed)
    data.check()
    return data


def make_task(config: Config, data: SegmentationDataModule) -> SegmentationTask:
    """Build network, loss and metrics; the initial weights depend on the seed alone."""
    data.setup("fit")
    torch.manual_seed(config.seed)
    task = SegmentationTask(config, data.dataset, data.preparer)
    task.network.check_size(config.data.patch_size, "data.patch_size")
    if config.inference.window is not None:
        task.network.check_size(config.inference.window, "inference.window")
    return task


def fit(config: Config, data: SegmentationDataModule, task: SegmentationTask, run: RunFolder) -> RunFolder:
    """Train to the last epoch, then score the best checkpoint on the test cases (the validation cases where there are none)."""
    table = EpochTable(run.metrics)
    trainer = make_trainer(config, run, table)
    checkpoint = run.last if run.last.is_file() else None
    if checkpoint is not None:
        table.restore(before_epoch=finished_epochs(checkpoint))
    describe(config, data, task, trainer, run)
    try:
        trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        done = f"epoch {trainer.current_epoch} of {config.trainer.max_epochs}"
        raise InterruptedRunError(f"interrupted in {done}; go on with: medseg resume {run.path}") from None
    if trainer.is_global_zero:
        score_run(data, run, config.trainer.precision, config.trainer.accelerator)
    return run


@rank_zero_only
def describe(config: Config, data: SegmentationDataModule, task: SegmentationTask, trainer: Trainer, run: RunFolder) -> None:
    """Print what is about to run, in three lines."""
    counts = ", ".join(f"{len(data.case_ids(stage))} to {verb}" for stage, verb in STAGES if data.case_ids(stage))
    parameters = sum(p.numel() for p in task.network.parameters())
    print(f"data: {data.dataset.name}: {counts}; classes {', '.join(data.dataset.labels.classes)}")
    print(
        f"network: {config.network.name}, {parameters / 1e6:.1f} M parameters, {trainer.precision} on {trainer.strategy.root_device.type}"
    )
    print(f"run: {run.path}")


def finished_epochs(checkpoint: Path) -> int:
    """Number of epochs that a checkpoint has behind it."""
    progress = load_checkpoint(checkpoint)["loops"]["fit_loop"]["epoch_progress"]
    return int(progress["current"]["processed"])


def make_trainer(config: Config, run: RunFolder, table: EpochTable) -> Trainer:
    """Configure Lightning from the `trainer:` section."""
    quieten()
    options = config.trainer
    device_type = resolve_accelerator(options.accelerator)
    distributed = options.devices * options.nodes > 1
    # Batch statistics of unequal validation shards would wait for each other if DDP broadcast buffers in every forward pass.
    strategy = DDPStrategy(broadcast_buffers=False) if distributed else "auto"
    return Trainer(
        max_epochs=options.max_epochs,
        accelerator=options.accelerator,
        devices=options.devices,
        num_nodes=options.nodes,
        strategy=strategy,
        sync_batchnorm=distributed and device_type == "cuda",
        precision=resolve_precision(options.precision, device_type),
        gradient_clip_val=options.gradient_clip or None,
        accumulate_grad_batches=options.accumulate,
        check_val_every_n_epoch=config.validation.every_epochs,
        logger=[table, TensorBoardLogger(run.path, name="", version="tensorboard")],
        callbacks=[EpochBar(), Checkpoints(run.last, run.best, f"val/{config.validation.monitor}")],
        enable_checkpointing=False,  # Checkpoints does it
        use_distributed_sampler=False,  # the data modules shard by themselves, without counting a case twice
        num_sanity_val_steps=0,
        enable_model_summary=False,
        log_every_n_steps=1,
        default_root_dir=run.path,
    )


def _new_folder(config: Config, path: Path | None) -> RunFolder:
    """Make the folder on the first process; the others are told, or never write into theirs."""
    told = os.environ.get(RUN_DIR_VARIABLE)
    if rank_zero_only.rank != 0:
        return RunFolder(Path(told or config.runs_dir))
    run = RunFolder.create(Path(config.runs_dir), config.name, to_yaml(config), path)
    os.environ[RUN_DIR_VARIABLE] = str(run.path)
    return run
