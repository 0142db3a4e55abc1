"""Find what cannot work before any data is read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from medseg.config.errors import config_error
from medseg.evaluation.options import check_names, check_tolerances, metric_options
from medseg.losses.outputs import Outputs
from medseg.training import OPTIMIZERS, SCHEDULES
from medseg.training.module import SegmentationTask

Made = TypeVar("Made")


def check_task(task: SegmentationTask) -> None:
    """Send a patch of zeros through the network as in training and through the loss, and build the optimiser and the schedule.

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
    outputs = _check("data.patch_size", lambda: _forward(task))
    _check("loss.terms", lambda: _loss(task, outputs))
    _classes(task)


def _classes(task: SegmentationTask) -> None:
    """Classes that other sections name are those of the data set."""
    classes, section = task.dataset.labels.classes, task.config.inference.postprocessing
    named = {
        "thresholds": section.thresholds,
        "minimum_size": section.minimum_size,
        "largest_component": section.largest_component,
        "fill_holes": section.fill_holes,
    }
    for key, names in named.items():
        _check(f"inference.postprocessing.{key}", functools.partial(check_names, names, classes))
    _check("evaluation.tolerances", lambda: check_tolerances(metric_options(task.config.evaluation), classes))


def _forward(task: SegmentationTask) -> Outputs:
    data, options = task.config.data, task.config.trainer
    # Normalisation layers want more than one value a channel: as many images as a process gets, two at the most.
    images = torch.zeros(min(2, max(1, data.batch_size // (options.devices * options.nodes))), len(task.dataset.channels), *data.patch_size)
    buffers = {name: buffer.clone() for name, buffer in task.network.named_buffers()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        outputs: Outputs = task.network.train()(images)
        for name, buffer in task.network.named_buffers():
            buffer.copy_(buffers[name])
    return outputs


def _loss(task: SegmentationTask, outputs: Outputs) -> None:
    """One image, all background: in evaluation mode, where no term learns anything from it and no rank waits for another."""
    label = torch.zeros(1, 1, *task.config.data.patch_size, dtype=torch.uint8)
    target = task.dataset.labels.targets(label, task.config.loss.activation)
    training = task.loss.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            task.loss.eval()(_first(outputs), target)
    finally:
        task.loss.train(training)


def _first(outputs: Any) -> Any:
    """The first image's part of logits, of levels, or of a mapping of either."""
    if isinstance(outputs, Mapping):
        return {name: _first(part) for name, part in outputs.items()}
    return outputs[:1] if isinstance(outputs, torch.Tensor) else [_first(level) for level in outputs]


def _check(key: str, attempt: Callable[[], Made]) -> Made:
    try:
        return attempt()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise config_error(key, f"does not work with the rest of the config: {reason}") from error
