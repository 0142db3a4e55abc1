"""The public functions of `medseg.config`, end to end."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.config import (
    Config,
    ConfigError,
    TermConfig,
    WeightSchedule,
    from_dict,
    load_config,
    load_dict,
    load_fragment,
    shipped_configs,
    to_dict,
    to_yaml,
)

Write = Callable[[str, str], Path]

SCHEDULED = "extends: focal_tversky.yaml\nloss: {terms: [{name: dice, weight: {schedule: cosine, start: 0, end: 1, epochs: 9}}]}\n"

BROKEN = """\
extends: [_base/small_lesion.yaml]
name: ../outside
max_epochs: 4
loss:
  activation: softmx
  include_background: off
  terms:
    - {name: focal_tversky, params: {exponnet: 0.75}}
    - {name: dise}
data: {patch_size: [64, 64], folds: 3, fold: 3}
"""


def lines_of(config: str, *overrides: str) -> list[str]:
    """The lines of the error."""
    with pytest.raises(ConfigError) as caught:
        load_config(config, overrides)
    return str(caught.value).splitlines()


@pytest.mark.usefixtures("configs")
class TestLoadConfig:
    def test_builds_the_typed_tree_from_file_base_and_defaults(self) -> None:
        config = load_config("focal_tversky")
        assert isinstance(config, Config)
        assert config.name == "focal_tversky"
        assert config.loss.terms == [TermConfig("focal_tversky", 1.0, {"fn_weight": 0.7}), TermConfig("dice", 0.5)]
        assert config.network.params == {"channels": [8, 16]}
        assert (config.trainer.max_epochs, config.trainer.precision) == (3, "auto")

    def test_overrides_win(self) -> None:
        config = load_config(
            "focal_tversky", ["loss.terms[1].weight=0.25", "data.patch_size=[8,8,8]", "data.root=/x/y=z", "optimizer.params.lr=1e-4"]
        )
        assert config.loss.terms[1].weight == 0.25
        assert config.data.patch_size == [8, 8, 8]
        assert config.data.root == "/x/y=z"
        assert config.optimizer.params == {"lr": 1e-4}
        assert config.optimizer.name == "adamw"

    def test_builds_weight_schedules(self, write: Write) -> None:
        write("scheduled.yaml", SCHEDULED)
        assert load_config("scheduled").loss.terms[0].weight == WeightSchedule("cosine", 0.0, 1.0, 9)

    def test_references_reach_overrides_and_defaults(self, write: Write) -> None:
        write("x.yaml", "extends: focal_tversky\nname: seed_${seed}_${data.fold}\ninference: {window: '${data.patch_size}'}\n")
        config = load_config("x", ["seed=7", "data.patch_size=[32,32]"])
        assert config.name == "seed_7_0"
        assert config.inference.window == [32, 32]


class TestErrors:
    def test_all_are_told_at_once_with_file_line_whole_path_and_suggestion(self, write: Write) -> None:
        write("broken.yaml", BROKEN)
        assert lines_of("broken", "trainer.max_epoch=3", "seed", "loss.terms[4].weight=1", "trainer.precision=bf16") == [
            "configs/broken.yaml:2: name: is the name of a folder: letters, digits and _ . + = - only, got ../outside",
            "configs/broken.yaml:3: max_epochs: unknown key; it belongs to trainer: trainer.max_epochs",
            "configs/broken.yaml:5: loss.activation: 'softmx' is not a choice; did you mean softmax? (choose from softmax, sigmoid)",
            "configs/broken.yaml:6: loss.include_background: expected true or false, got the text 'off'; write false",
            "configs/broken.yaml:8: loss.terms[0].params.exponnet: unknown parameter of focal_tversky; did you mean exponent? "
            "(it takes fn_weight, fp_weight, exponent, smooth)",
            "configs/broken.yaml:9: loss.terms[1].name: unknown loss term 'dise'; did you mean dice? "
            "(there are dice, focal_tversky, focal)",
            "configs/broken.yaml:10: data.fold: there is no fold 3; data.folds=3 counts from 0 to 2",
            "command line: seed: an override needs a value; write seed=VALUE",
            "command line: loss.terms[4].weight: loss.terms has no item 4; its items are 0 to 1",
            "command line: trainer.precision: 'bf16' is not a choice; did you mean bf16-mixed? "
            "(choose from auto, 32-true, bf16-mixed, 16-mixed)",
            "command line: trainer.max_epoch: unknown key; did you mean trainer.max_epochs?",
        ]  # fmt: skip

    def test_a_fault_of_a_base_names_the_base(self, write: Write) -> None:
        write("_base/small_lesion.yaml", "network: {name: unet}\n\ntrainer:\n  max_epochs: many\n")
        says = "configs/_base/small_lesion.yaml:4: trainer.max_epochs: expected a whole number, got the text 'many'"
        assert says in lines_of("focal_tversky")

    def test_missing_keys_name_the_config(self, write: Write) -> None:
        write("empty.yaml", "")
        lines = lines_of("empty")
        assert [line.partition(":")[0] for line in lines] == ["configs/empty.yaml"] * len(lines)
        for key in ("name", "network", "data.format", "data.patch_size", "loss.activation", "loss.terms"):
            assert any(f" {key}: missing" in line for line in lines)

    def test_an_unreadable_parent_is_not_drowned_in_missing_keys(self, write: Write) -> None:
        write("x.yaml", "extends: _base/smal_lesion.yaml\nname: x\nsed: 1\n")
        assert lines_of("x") == [
            "configs/x.yaml:1: extends: no such file: _base/smal_lesion.yaml (looked in configs and in the configs of medseg); "
            "did you mean _base/small_lesion.yaml?",
            "configs/x.yaml:3: sed: unknown key; did you mean seed?",
        ]

    def test_every_broken_override_of_one_key_is_told_once(self, configs: Path) -> None:
        assert len(lines_of("focal_tversky", "data.fold=${oc.env:HOME}")) == 1


class TestPlainForms:
    @pytest.fixture
    def config(self, write: Write) -> Config:
        write("scheduled.yaml", SCHEDULED)
        return load_config("scheduled", ["seed=3", "optimizer.params.lr=1e-5", "data.root='010'"])

    def test_dict_json_and_yaml_give_the_same_config_back(self, config: Config, write: Write) -> None:
        assert from_dict(to_dict(config)) == config
        assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
        write("again.yaml", to_yaml(config))
        assert load_config("again") == config
        assert load_dict("again") == to_dict(config)

    def test_the_dict_loads_with_weights_only(self, config: Config) -> None:
        import torch

        file = io.BytesIO()
        torch.save(to_dict(config), file)
        file.seek(0)
        assert torch.load(file, weights_only=True) == to_dict(config)

    def test_a_dict_from_outside_is_checked_and_completed(self, config: Config) -> None:
        values = to_dict(config)
        del values["trainer"]
        assert from_dict(values).trainer.precision == "auto"
        values |= {"seed": "x", "network": {"name": "gone"}}
        with pytest.raises(ConfigError) as caught:
            from_dict(values, "last.ckpt")
        assert {(problem.source, problem.key) for problem in caught.value.problems} == {
            ("last.ckpt", "network.name"),
            ("last.ckpt", "seed"),
        }

    def test_a_config_made_by_hand_is_checked_on_the_way_out(self, config: Config) -> None:
        config.data.patch_size = (8, 8)  # type: ignore[assignment]
        assert to_dict(config)["data"]["patch_size"] == [8, 8]
        config.trainer.max_epochs = 0
        with pytest.raises(ConfigError, match=r"trainer\.max_epochs"):
            to_yaml(config)


class TestLoadFragment:
    def test_is_what_the_file_and_its_parents_say(self, write: Write) -> None:
        write("loss/dice.yaml", "loss: {activation: softmax, terms: [{name: dice}]}\n")
        assert load_fragment("configs/loss/dice") == {"loss": {"activation": "softmax", "terms": [{"name": "dice"}]}}

    def test_is_checked_but_may_be_incomplete(self, write: Write) -> None:
        write("loss/bad.yaml", "loss: {terms: [{name: dice, params: {smoth: 1}}]}\n")
        with pytest.raises(ConfigError) as caught:
            load_fragment("configs/loss/bad")
        assert [problem.key for problem in caught.value.problems] == ["loss.terms[0].params.smoth"]


class TestSpeed:
    def test_an_error_answers_in_under_a_second_without_torch(self, write: Write, package: Path) -> None:
        write("broken.yaml", BROKEN + "seed: ${oc.env:HOME}\nruns_dir: ${name}\n")
        program = f"""
import sys
from pathlib import Path
from medseg.config import ConfigError, load_config, signatures
signatures.PACKAGES = Path({str(package)!r})
try:
    load_config("broken")
except ConfigError as error:
    heavy = {{"torch", "numpy", "lightning", "monai"}} & set(sys.modules)
    print(len(error.problems), sorted(heavy))
    raise SystemExit(error.exit_code)
"""
        root = Path(__file__).parents[2]
        seconds = []
        for _ in range(3):  # the best of three, since other processes may hold the machine
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", program], capture_output=True, text=True, env={"PYTHONPATH": str(root)}, check=False
            )
            seconds.append(time.perf_counter() - start)
            assert (done.returncode, done.stderr) == (2, "")
            assert done.stdout.split(maxsplit=1) == ["8", "[]\n"]
        assert min(seconds) < 1


SHIPPED = sorted(path.relative_to(shipped_configs()) for path in shipped_configs().rglob("*.yaml"))


class TestShippedConfigs:
    """Every YAML in `configs/`: experiments are whole, what lies in `_base` and `loss` may be parts."""

    @pytest.mark.parametrize("path", [path for path in SHIPPED if len(path.parts) == 1], ids=str)
    def test_experiments_load_and_survive_a_round_trip(self, path: Path, tmp_path: Path) -> None:
        config = load_config(str(shipped_configs() / path))
        (tmp_path / "again.yaml").write_text(to_yaml(config), encoding="utf-8")
        assert load_config(str(tmp_path / "again.yaml")) == config

    @pytest.mark.parametrize("path", [path for path in SHIPPED if path.parts[0] in ("_base", "loss")], ids=str)
    def test_parts_are_checked(self, path: Path) -> None:
        assert load_fragment(str(shipped_configs() / path))
