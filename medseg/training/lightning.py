"""Lightning's Trainer, configured from the `trainer:` section."""

from __future__ import annotations

import os
import sys

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, Strategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from medseg.config.errors import config_error
from medseg.config.schema import Config, TrainerConfig
from medseg.inference.precision import resolve_accelerator, resolve_precision
from medseg.metrics import metric_of
from medseg.training.checkpoints import Checkpoints
from medseg.training.epoch_table import EpochTable
from medseg.training.exposure import Exposure
from medseg.training.gradient_shares import GradientShares
from medseg.training.hard_cases import HardCases
from medseg.training.progress import progress, quieten
from medseg.training.run_folder import RunFolder


def make_trainer(config: Config, run: RunFolder, table: EpochTable) -> Trainer:
    """Configure Lightning."""
    quieten()
    options, monitor = config.trainer, monitored(config)
    device_type = resolve_accelerator(options.accelerator)
    return Trainer(
        max_epochs=options.max_epochs,
        accelerator=options.accelerator,
        devices=options.devices,
        num_nodes=options.nodes,
        strategy=_strategy(options),
        sync_batchnorm=_is_distributed(options) and device_type == "cuda",
        precision=resolve_precision(options.precision, device_type),
        gradient_clip_val=options.gradient_clip or None,
        accumulate_grad_batches=options.accumulate,
        check_val_every_n_epoch=config.validation.every_epochs,
        logger=[table, TensorBoardLogger(run.path, name="", version="tensorboard")],
        callbacks=[
            # Those that add up the ranks come before the first process's own display, which would begin Lightning's sums of the epoch.
            Exposure(),
            HardCases(),
            progress(),
            GradientShares(),
            Checkpoints(run.last, run.best, f"val/{monitor}", lower_is_better=metric_of(monitor).better == "lower"),
        ],
        enable_checkpointing=False,  # Checkpoints does it
        use_distributed_sampler=False,  # the data modules shard by themselves, without counting a case twice
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=sys.stdout.isatty(),
        log_every_n_steps=1,
        default_root_dir=run.path,
    )


def monitored(config: Config) -> str:
    """The metric that chooses the best checkpoint.

    Raises:
        ConfigError: It has no better and worse end (a signed volume difference is best in the middle), or pictures do not have it.
    """
    key = "evaluation.primary" if config.validation.monitor is None else "validation.monitor"
    name = config.validation.monitor or config.evaluation.primary
    if metric_of(name).better == "zero":
        raise config_error(key, f"{name} is best at 0, not as high or as low as can be", "choose another metric, such as dice")
    if metric_of(name).unit == "mL" and len(config.data.patch_size) == 2:
        raise config_error(key, f"{name} needs a volume, which pictures do not have", "choose another metric, such as dice")
    return name


def check_processes(options: TrainerConfig) -> None:
    """Refuse devices that are not there, and a launcher that started another number of processes than the config says.

    Raises:
        ConfigError: With the keys to change.
    """
    quieten()
    started, wanted = _started_processes(), options.devices * options.nodes
    if started not in (None, wanted):
        message = f"{started} processes were started, but trainer.devices x trainer.nodes is {wanted}"
        raise config_error("trainer.devices", message, "devices = processes a machine, nodes = machines")
    try:
        Trainer(
            accelerator=options.accelerator,
            devices=options.devices,
            num_nodes=options.nodes,
            strategy=_strategy(options),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise config_error("trainer.accelerator", f"{options.accelerator} with {options.devices} devices: {reason}") from error


def _is_distributed(options: TrainerConfig) -> bool:
    return options.devices * options.nodes > 1


def _strategy(options: TrainerConfig) -> Strategy | str:
    # Batch statistics of unequal validation shards would wait for each other if DDP broadcast buffers in every forward pass.
    return DDPStrategy(broadcast_buffers=False) if _is_distributed(options) else "auto"


def _started_processes() -> int | None:
    """How many processes torchrun or SLURM started; None without either."""
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    if "SLURM_PROCID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return int(os.environ.get("SLURM_NTASKS", 1))
    return None
