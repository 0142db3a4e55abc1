"""Every shipped YAML is loaded and built."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from medseg.config import load_config, load_fragment, load_sweep
from medseg.data import AUGMENTATIONS, DATA_MODULES, FORMATS
from medseg.data.labels import LabelSchema
from medseg.losses import build_loss
from medseg.networks import build_network
from medseg.training import OPTIMIZERS, SCHEDULES

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
RUNNABLE = sorted(CONFIGS.glob("*.yaml"))
PARTS = sorted([*CONFIGS.glob("_base/*.yaml"), *CONFIGS.glob("loss/*.yaml")])
SWEEPS = sorted(CONFIGS.glob("sweeps/*.yaml"))
RECIPES = sorted(CONFIGS.glob("recipes/*.yaml"))  # tests/data/formats/test_recipes.py reads each on a tree of its own


def name(path: Path) -> str:
    return str(path.relative_to(CONFIGS))


def test_every_file_is_one_of_the_kinds() -> None:
    assert sorted(CONFIGS.rglob("*.y*ml")) == sorted([*RUNNABLE, *PARTS, *SWEEPS, *RECIPES])


@pytest.mark.parametrize("path", RUNNABLE, ids=name)
class TestRunnable:
    def test_everything_it_names_can_be_built_and_takes_a_step(self, path: Path) -> None:
        config = load_config(str(path))
        patch, dims = config.data.patch_size, len(config.data.patch_size)
        FORMATS[config.data.format.name](**config.data.format.params)
        labels = LabelSchema.exclusive({"background": 0, "a": 1, "b": 2})
        AUGMENTATIONS[config.data.augmentation.name](dims, labels, **config.data.augmentation.params)
        assert config.data.module in DATA_MODULES

        outputs = 3 if config.loss.activation == "softmax" else 2
        loss = build_loss(config.loss, num_classes=outputs, heads=config.network.heads)
        heads = {name: len(head.outputs(["a", "b"], dims)) for name, head in loss.heads.items()}
        network = build_network(config.network.name, config.network.params, 1, outputs, dims, heads)
        network.check_size(patch, "data.patch_size")
        optimizer = OPTIMIZERS[config.optimizer.name](network, **config.optimizer.params)
        assert 0 <= SCHEDULES[config.schedule.name](0.5, **config.schedule.params) <= 1

        size = [2 * step for step in network.divisor]
        target = torch.zeros(2, 1 if outputs == 3 else 2, *size, dtype=torch.uint8)
        target[..., :4, :4] = 1
        value = loss(network(torch.randn(2, 1, *size)), target)
        value.backward()
        optimizer.step()
        assert torch.isfinite(value)

    def test_its_name_is_that_of_the_file(self, path: Path) -> None:
        assert load_config(str(path)).name == path.stem


@pytest.mark.parametrize("path", PARTS, ids=name)
class TestPart:
    def test_is_checked_without_being_whole(self, path: Path) -> None:
        assert load_fragment(str(path))

    def test_says_what_it_is_in_its_first_line(self, path: Path) -> None:
        assert path.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("path", SWEEPS, ids=name)
class TestSweep:
    def test_every_point_is_a_config(self, path: Path) -> None:
        sweep = load_sweep(str(path))
        plan = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert len(sweep.points) == len(plan["losses"]) * len(plan["seeds"])


class TestLossPresets:
    def test_each_has_a_runnable_config_of_the_same_name(self) -> None:
        assert {path.stem for path in CONFIGS.glob("loss/*.yaml")} <= {path.stem for path in RUNNABLE}
