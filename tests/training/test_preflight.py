"""What cannot work is refused before any run folder is made, and the check leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medseg.config import Config, ConfigError
from medseg.data import DATA_MODULES
from medseg.losses.terms.perceptual import _Vgg
from medseg.training.module import SegmentationTask
from medseg.training.preflight import check_task
from medseg.training.run import train

Tiny = Callable[..., Config]
HEADS = [
    "network.heads={d: {name: signed_distance}, b: {name: boxes}, e: {name: embedding}}",
    "loss.terms=[{name: dice}, {name: component}, {name: mae, head: d}, {name: giou, head: b}, {name: center, head: e}]",
    "loss.balance=gradient",
]


def task_of(config: Config) -> SegmentationTask:
    return SegmentationTask(config, DATA_MODULES[config.data.module](config.data, config.seed).dataset)


def perceptual(checkpoint: str, layers: str = "[3, 22]") -> str:
    return f"loss.terms=[{{name: dice}}, {{name: perceptual, params: {{checkpoint: {checkpoint}, layers: {layers}}}}}]"


class TestLoss:
    def test_a_network_that_is_never_given_makes_no_run(self, tiny: Tiny) -> None:
        config = tiny(perceptual("null"))
        with pytest.raises(ConfigError, match=r"loss\.terms: does not work .* perceptual has no network: give a checkpoint"):
            train(config)
        assert not Path(config.runs_dir).exists()

    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_a_patch_too_small_for_a_term(self, tiny: Tiny, tmp_path: Path, activation: str) -> None:
        network = _Vgg("vgg19", [31]).to_empty(device="cpu")
        torch.save(network.state_dict(), tmp_path / "vgg19.pth")
        overrides = [perceptual(str(tmp_path / "vgg19.pth"), "[31]"), f"loss.activation={activation}"]
        with pytest.raises(ConfigError, match=r"loss\.terms: .* images of at least 16 x 16 for layer 31, got 8 x 8"):
            check_task(task_of(tiny(*overrides, "data.patch_size=[8, 8]")))
        check_task(task_of(tiny(*overrides, "data.patch_size=[16, 16]")))

    def test_levels_and_heads_go_through(self, tiny: Tiny) -> None:
        check_task(task_of(tiny(*HEADS, "network.name=dynunet", "network.params={channels: [4, 4, 4, 4], deep_supervision: 1}")))


class TestTraces:
    @pytest.mark.parametrize("training", [True, False])
    def test_weights_buffers_modes_and_random_numbers_stay(self, tiny: Tiny, training: bool) -> None:
        task = task_of(tiny(*HEADS))
        task.loss.train(training)
        state, random = {name: tensor.clone() for name, tensor in task.state_dict().items()}, torch.get_rng_state()
        assert {"loss.balance.average", "loss.terms.center.centres"} <= state.keys()
        check_task(task)
        assert all(torch.equal(tensor, state[name]) for name, tensor in task.state_dict().items())
        assert torch.equal(torch.get_rng_state(), random)
        assert all(module.training is training for module in task.loss.modules())

    def test_the_mode_is_restored_after_a_fault(self, tiny: Tiny) -> None:
        task = task_of(tiny(perceptual("null")))
        with pytest.raises(ConfigError):
            check_task(task)
        assert task.loss.training
