from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from medseg.config import load_config
from medseg.data.planning.existing import fingerprint_of
from medseg.data.planning.given import Given
from medseg.data.planning.plan import make_plan
from medseg.data.planning.write import is_plan, write_plan
from medseg.networks import build_network
from tests.data.planning.facts import facts, fingerprint

CASES = fingerprint([facts(number, (60, 64, 30), (1, 1, 2.5)) for number in range(9)])


def written(folder: Path, source: str = "focal_dice", overrides: tuple[str, ...] = (), name: str = "my.plan.yaml") -> Path:
    config = load_config(source, overrides)
    given = Given.of(config, source, overrides)
    write_plan(make_plan(CASES, given, 4), given, source, 9, "abc123", folder / name)
    return folder / name


class TestWritePlan:
    def test_it_is_a_config_whose_network_takes_a_step(self, tmp_path: Path) -> None:
        config = load_config(str(written(tmp_path)))
        plan = make_plan(CASES, Given(load_config("focal_dice")), 4)
        assert config.data.patch_size == plan["data.patch_size"].value
        assert config.data.batch_size == plan["data.batch_size"].value
        assert config.loss.terms[0].name == "focal"
        network = build_network(config.network.name, config.network.params, 1, 2, 3)
        network.check_size(config.data.patch_size, "data.patch_size")
        outputs = network(torch.randn(1, 1, *(2 * step for step in network.divisor)))
        assert len(outputs) == 1 + plan["network.params.deep_supervision"].value
        sum(output.square().mean() for output in outputs).backward()

    def test_every_decided_key_is_explained_on_its_line(self, tmp_path: Path) -> None:
        plan = make_plan(CASES, Given(load_config("focal_dice")), 4)
        lines = written(tmp_path).read_text().splitlines()
        for decision in plan.decisions:
            key = decision.key.rpartition(".")[2]
            assert any(line.strip().startswith(f"{key}: ") and line.endswith(f"  # {decision.note}") for line in lines), key

    def test_another_yaml_reader_sees_the_same(self, tmp_path: Path) -> None:
        values = yaml.safe_load(written(tmp_path).read_text())
        assert values["network"]["params"]["patch_size"] == "${data.patch_size}"
        assert values["data"]["spacing"] is None

    def test_an_edited_patch_changes_the_network_with_it(self, tmp_path: Path) -> None:
        path = written(tmp_path)
        before = load_config(str(path)).data.patch_size
        path.write_text(path.read_text().replace(f"patch_size: {before}", "patch_size: [32, 32, 16]"))
        assert load_config(str(path)).network.params["patch_size"] == [32, 32, 16]

    def test_settings_of_the_command_line_are_kept(self, tmp_path: Path) -> None:
        path = written(
            tmp_path, overrides=("name=mine", "seed=7", "data.format={name: nnunet}", "data.root=/somewhere", "data.batch_size=1")
        )
        config = load_config(str(path))
        assert (config.name, config.seed, config.data.root, config.data.format.name) == ("mine", 7, "/somewhere", "nnunet")
        assert config.data.format.params == {}
        assert config.data.batch_size == 1
        for line in ("seed: 7", "  batch_size: 1"):
            assert f"\n{line}  # as given on the command line\n" in path.read_text()

    def test_a_network_of_the_command_line_is_kept(self, tmp_path: Path) -> None:
        overrides = ("network.name=unet", "network.params.channels=[8,16]", "network.params.strides=[2]")
        network = load_config(str(written(tmp_path, overrides=overrides))).network
        assert (network.name, network.params) == ("unet", {"channels": [8, 16], "strides": [2], "residual_units": 1})

    def test_its_parameters_are_kept_beside_those_that_are_decided(self, tmp_path: Path) -> None:
        overrides = ("network.name=dynunet", "network.params.residual=true")
        params = load_config(str(written(tmp_path, overrides=overrides))).network.params
        assert params["residual"] is True
        assert params["patch_size"] == load_config(str(written(tmp_path))).data.patch_size

    def test_the_module_is_that_of_the_config(self, tmp_path: Path) -> None:
        path = written(tmp_path, source="organs")
        assert load_config(str(path)).data.module == "organ"
        assert "module:" not in path.read_text()

    def test_it_says_what_it_was_made_from(self, tmp_path: Path) -> None:
        path = written(tmp_path)
        assert fingerprint_of(path) == "abc123"
        path.write_text("name: other\n")
        assert fingerprint_of(path) is None

    def test_warnings_are_comments(self, tmp_path: Path) -> None:
        path = written(tmp_path, source="organs")
        lines = path.read_text().partition("extends:")[0].splitlines()
        assert all(line.startswith("#") and len(line) <= 130 for line in lines)
        assert "data.module=small_lesion may fit better" in " ".join(line.lstrip("# ") for line in lines)

    def test_a_config_of_ones_own_is_extended_by_its_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "configs").mkdir()
        (tmp_path / "configs" / "own.yaml").write_text("extends: focal_dice.yaml\nname: own\nseed: 3\n")
        monkeypatch.chdir(tmp_path)
        path = written(tmp_path / "plans", source="own")
        assert "extends: [../configs/own.yaml]" in path.read_text()
        assert load_config(str(path)).seed == 3

    def test_a_plan_named_like_its_config_does_not_extend_itself(self, tmp_path: Path) -> None:
        assert load_config(str(written(tmp_path, name="focal_dice.yaml"))).name == "focal_dice"

    def test_it_is_known_as_a_plan(self, tmp_path: Path) -> None:
        (tmp_path / "other.yaml").write_text("extends: focal_dice.yaml\n")
        assert is_plan(written(tmp_path))
        assert not is_plan(tmp_path / "other.yaml")
