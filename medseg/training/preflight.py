"""Find what cannot work before any data is read."""

from __future__ import annotations

import torch

from medseg.config.errors import config_error
from medseg.training import OPTIMIZERS, SCHEDULES
from medseg.training.module import SegmentationTask


def check_task(task: SegmentationTask) -> None:
    """Send a patch of zeros through the network as in training, and build the optimiser and the schedule.

    Raises:
        ConfigError: With the section to change.
    """
    config = task.config
    network = task.network
    network.check_size(config.data.patch_size, "data.patch_size")
    if config.inference.window is not None:
        network.check_size(config.inference.window, "inference.window")
    _check("optimizer.params", lambda: OPTIMIZERS[config.optimizer.name](network, **config.optimizer.params))
    _check("schedule.params", lambda: SCHEDULES[config.schedule.name](0.5, **config.schedule.params))
    _check("data.patch_size", lambda: _forward(task))


def _forward(task: SegmentationTask) -> None:
    data, options = task.config.data, task.config.trainer
    # Normalisation layers want more than one value a channel: as many images as a process gets, two at the most.
    images = torch.zeros(min(2, max(1, data.batch_size // (options.devices * options.nodes))), len(task.dataset.channels), *data.patch_size)
    buffers = {name: buffer.clone() for name, buffer in task.network.named_buffers()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        task.network.train()(images)
        for name, buffer in task.network.named_buffers():
            buffer.copy_(buffers[name])


def _check(key: str, attempt: object) -> None:
    assert callable(attempt)
    try:
        attempt()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise config_error(key, f"does not work with the rest of the config: {reason}") from error
