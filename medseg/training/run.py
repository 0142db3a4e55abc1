"""Train, resume and fine-tune: from a config to a scored run folder."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from medseg.config import load_config, to_dict, to_yaml
from medseg.config.schema import Config
from medseg.data import DATA_MODULES
from medseg.data.modules import SegmentationDataModule, Stage
from medseg.data.store.lost import lost_lesions
from medseg.errors import RunError
from medseg.evaluation.report import write_report
from medseg.files import write_text
from medseg.inference.load import find_checkpoint, load_checkpoint
from medseg.training.derived_maps import derived_maps
from medseg.training.epoch_table import EpochTable
from medseg.training.finetune import carry_weights
from medseg.training.lightning import check_processes, make_trainer, monitored
from medseg.training.module import SegmentationTask
from medseg.training.postprocess import postprocess_run
from medseg.training.preflight import check_task
from medseg.training.run_folder import RunFolder
from medseg.training.scoring import score_run

RUN_DIR_VARIABLE = "MEDSEG_RUN_DIR"
"""Tells the processes that DDP starts which folder the first one made."""

STAGES: tuple[tuple[Stage, str], ...] = (("train", "train"), ("val", "validate"), ("test", "test"))

MAY_CHANGE = ("trainer", "validation", "inference", "runs_dir", "data.workers", "data.cache_gib", "data.store", "data.augment_on")
"""What a resumed run may set anew; the rest decides what its weights mean and which cases they have seen."""


class InterruptedRunError(RunError):
    """Ctrl-C during training: the run can be resumed."""

    exit_code = 130


def train(config: Config, path: Path | None = None, source: Path | None = None) -> RunFolder:
    """Train from scratch, or from the weights of the run `source`, into a new folder (`path` if given).

    Everything that can be wrong with config, device and data is found before the folder is made.
    """
    weights = load_checkpoint(find_checkpoint(source)) if source is not None else None
    data, task = prepare(config)
    transfer = carry_weights(source, weights, task) if source is not None and weights is not None else None
    run = _new_folder(config, path)
    if rank_zero_only.rank == 0:
        data.write_splits(run.splits)
        if transfer is not None:
            transfer.write(run.transfer)
            print(f"weights from {transfer.summary}; each tensor is listed in {run.transfer}")
    return fit(config, data, task, run)


def resume(path: Path, overrides: Sequence[str] = ()) -> RunFolder:
    """Go on with an interrupted run in its own folder, from the last finished epoch; `overrides` become part of its config.

    Raises:
        RunError: The run is finished and `overrides` ask for more, they change what a run cannot change, or its data set has changed.
    """
    run = RunFolder.open(path)
    config = load_config(str(run.config), overrides)
    changed = _changed(to_dict(load_config(str(run.config))), to_dict(config))
    if run.finished:
        if changed:
            raise RunError(f"{path}: this run is finished; train a new one, or fine-tune it: medseg finetune --from {path} CONFIG")
        print("this run is finished; its scores:")
        return run
    refused = [key for key in changed if not any(key == part or key.startswith(f"{part}.") for part in MAY_CHANGE)]
    if refused:
        raise RunError(
            f"{path}: a resumed run cannot change {', '.join(refused)}; it may set {', '.join(MAY_CHANGE)}. Train a new run instead"
        )
    if run.transfer.is_file() and not run.last.is_file():
        raise RunError(f"{path}: this fine-tune ended before its loaded weights were saved; run `medseg finetune` again")
    data, task = prepare(config)
    if run.splits.is_file() and json.loads(run.splits.read_text(encoding="utf-8")) != json.loads(data.splits.to_json()):
        raise RunError(f"{run.splits}: the data set gives other splits now, so cases were added or removed; train a new run")
    if changed and rank_zero_only.rank == 0:
        write_text(run.config, to_yaml(config))
    return fit(config, data, task, run, run.last if run.last.is_file() else None)


def prepare(config: Config) -> tuple[SegmentationDataModule, SegmentationTask]:
    """Open the data set, build the model, and refuse to start on what cannot work, the cheap checks first.

    The initial weights depend on the seed alone.
    """
    check_processes(config.trainer)
    monitored(config)
    data = DATA_MODULES[config.data.module](config.data, config.seed)
    seed_everything(config.seed, verbose=False)
    task = SegmentationTask(config, data.dataset)
    check_task(task)
    prepare_cases(data)
    data.derive_maps = derived_maps(task.loss, data.dataset.labels)
    data.setup("fit")
    task.preparer = data.preparer
    return data, task


def prepare_cases(data: SegmentationDataModule) -> None:
    """Bring every case of the run into the prepared store; where some are missing in it, or changed, say how many, and show a bar.

    Raises:
        DataError: Some cases have faults.
    """
    columns = (TextColumn("preparing cases"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=rank_zero_only.rank != 0) as progress:
        task = progress.add_task("prepare", visible=False)

        def show(done: int, total: int) -> None:
            if done == 0 and rank_zero_only.rank == 0:
                progress.print(f"preparing {total} of {len(data.used_cases)} cases")
            progress.update(task, completed=done, total=total, visible=True)

        data.prepare_cases(show)


def fit(config: Config, data: SegmentationDataModule, task: SegmentationTask, run: RunFolder, checkpoint: Path | None = None) -> RunFolder:
    """Train to the last epoch, then score the best checkpoint on the test cases (the validation cases where there are none).

    Args:
        config: The run's config.
        data: Set up for fitting.
        task: The network, its weights as they shall be at the start.
        run: Where everything goes.
        checkpoint: To go on from.
    """
    table = EpochTable(run.metrics)
    if checkpoint is not None:
        table.restore(before_epoch=finished_epochs(checkpoint))
    trainer = make_trainer(config, run, table)
    with run.locked(rank_zero_only.rank == 0):
        describe(config, data, task, trainer, run)
        try:
            trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        except SystemExit:  # Lightning's answer to Ctrl-C
            done = f"epoch {trainer.current_epoch + 1} of {config.trainer.max_epochs}"
            raise InterruptedRunError(f"interrupted in {done}; go on with: medseg resume {run.path}") from None
        except torch.OutOfMemoryError as error:
            reason = str(error).splitlines()[0]
            raise RunError(
                f"{run.path}: out of memory ({reason}); lower data.batch_size or data.patch_size, or use a smaller network"
            ) from error
        if trainer.is_global_zero:
            if config.inference.postprocessing.choose:
                postprocess_run(run.path, Console(), data=data)
            score_run(config, data, run)
            if config.evaluation.report:
                print(f"report: {write_report(run.path)}")
    return run


def finished_epochs(checkpoint: Path) -> int:
    """Number of epochs that a checkpoint has behind it."""
    progress = load_checkpoint(checkpoint)["loops"]["fit_loop"]["epoch_progress"]
    return int(progress["current"]["processed"])


@rank_zero_only
def describe(config: Config, data: SegmentationDataModule, task: SegmentationTask, trainer: Trainer, run: RunFolder) -> None:
    """Print what is about to run, in three lines, and which lesions resampling has lost."""
    counts = ", ".join(f"{len(data.case_ids(stage))} to {verb}" for stage, verb in STAGES if data.case_ids(stage))
    parameters = sum(p.numel() for p in task.network.parameters())
    print(f"data: {data.dataset.name}: {counts}; classes {', '.join(data.dataset.labels.classes)}")
    device = trainer.strategy.root_device.type
    print(f"network: {config.network.name}, {parameters / 1e6:.1f} M parameters, {trainer.precision} on {device}")
    train = data.stored("train")
    for warning in lost_lesions(data.dataset.labels.classes, [train.index(number) for number in range(len(train))], config.data.spacing):
        print(f"warning: {warning}")
    print(f"run: {run.path}")


def _new_folder(config: Config, path: Path | None) -> RunFolder:
    """Make the folder on the first process; the others are told, or never write into theirs."""
    runs_dir = Path(config.runs_dir).expanduser()
    if rank_zero_only.rank != 0:
        return RunFolder(path or Path(os.environ.get(RUN_DIR_VARIABLE, runs_dir)))
    run = RunFolder.create(runs_dir, config.name, to_yaml(config), path)
    os.environ[RUN_DIR_VARIABLE] = str(run.path)
    return run


def _changed(old: dict, new: dict, prefix: str = "") -> list[str]:
    """Whole keys whose values differ."""
    keys = []
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            keys += _changed(before, after, f"{prefix}{key}.")
        elif before != after:
            keys.append(f"{prefix}{key}")
    return keys
