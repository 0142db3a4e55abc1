from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.config import ConfigError, load_sweep, shipped_configs

Write = Callable[[str, str], Path]

SWEEP = """\
name: small
base: _base/small_lesion.yaml
losses: [dice, focal]
seeds: [0, 1]
overrides:
  - trainer.max_epochs=2
"""
DICE = "loss: {activation: softmax, terms: [{name: dice}]}\n"
FOCAL = "loss: {activation: sigmoid, terms: [{name: focal, params: {gamma: 1}}]}\n"


@pytest.fixture
def write_sweep(write: Write) -> Write:
    write("loss/dice.yaml", DICE)
    write("loss/focal.yaml", FOCAL)
    write("sweeps/small.yaml", SWEEP)
    return write


def lines_of(config: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_sweep(config, overrides)
    return str(caught.value).splitlines()


@pytest.mark.usefixtures("write_sweep")
class TestLoadSweep:
    def test_every_loss_meets_every_seed(self) -> None:
        sweep = load_sweep("small")
        assert sweep.name == "small"
        assert [(point.loss, point.seed) for point in sweep.points] == [("dice", 0), ("dice", 1), ("focal", 0), ("focal", 1)]
        assert [point.config.seed for point in sweep.points] == [0, 1, 0, 1]
        assert sweep.points[2].config.loss.activation == "sigmoid"

    def test_points_differ_in_nothing_but_loss_and_seed(self) -> None:
        points = load_sweep("small").points
        assert all(point.config.data == points[0].config.data for point in points)
        assert all(point.config.trainer.max_epochs == 2 for point in points)
        assert points[0].config.loss == points[1].config.loss
        assert [point.config.name for point in points] == ["dice", "dice", "focal", "focal"]

    def test_overrides_reach_the_sweep_and_its_own_overrides(self) -> None:
        sweep = load_sweep("configs/sweeps/small.yaml", ["seeds=[5]", "overrides=[trainer.max_epochs=7, data.fold=1]"])
        assert [point.seed for point in sweep.points] == [5, 5]
        assert {(point.config.trainer.max_epochs, point.config.data.fold) for point in sweep.points} == {(7, 1)}

    def test_of_a_whole_config_only_the_loss_counts(self, write_sweep: Write) -> None:
        write_sweep("other.yaml", "extends: focal_tversky\ntrainer: {max_epochs: 99}\n")
        point = load_sweep("small", ["losses=[configs/other.yaml]", "seeds=[0]"]).points[0]
        assert (point.loss, point.config.trainer.max_epochs, len(point.config.loss.terms)) == ("other", 2, 2)


@pytest.mark.usefixtures("write_sweep")
class TestErrors:
    def test_of_the_sweep_file_are_told_together(self) -> None:
        lines = lines_of("small", "seeds=3", "loses=[a]", "losses=x")
        assert [line.partition(";")[0] for line in lines] == [
            "command line: seeds: expected a list (each item a whole number), got the number 3",
            "command line: losses: expected a list (each item text), got the text 'x'",
            "command line: loses: unknown key",
        ]

    def test_of_the_points_are_told_once_each_with_their_own_file(self, write_sweep: Write) -> None:
        write_sweep("loss/dice.yaml", "loss:\n  activation: softmax\n  terms: [{name: dise}]\n")
        write_sweep("sweeps/small.yaml", SWEEP.replace("max_epochs", "max_epoch"))
        assert [line.split(": ")[:2] for line in lines_of("small")] == [
            ["configs/loss/dice.yaml:3", "loss.terms[0].name"],
            ["configs/sweeps/small.yaml:5", "trainer.max_epoch"],
        ]

    @pytest.mark.parametrize(
        ("override", "says"),
        [
            ("losses=[loss/dic]", "losses[0]: no such config: loss/dic; did you mean loss/dice?"),
            ("overrides=[sed=1]", "sed: unknown key; did you mean seed?"),
            ("base=zzz", "base: no such config: zzz"),
            ("losses=[_base/small_lesion]", "losses[0]: _base/small_lesion has no section `loss`"),
            ("losses=[]", "losses: needs at least one item"),
            ("seeds=[]", "seeds: needs at least one item"),
            ("seeds=[1, 2, 1]", "seeds: names 1 twice"),
            ("losses=[loss/dice, configs/loss/dice.yaml]", "losses: names dice twice"),
            ("name=../x", "name: is the name of a folder"),
            ("seeds=[-1]", "seed: must be at least 0"),
        ],
    )
    def test_of_single_keys_name_the_command_line_that_set_them(self, override: str, says: str) -> None:
        lines = lines_of("small", override)
        assert len(lines) == 1
        assert lines[0].startswith("command line: " + says)

    def test_an_unknown_sweep_is_answered_with_what_exists(self) -> None:
        assert "did you mean sweeps/small?" in lines_of("sweeps/smal")[0]
        assert "no such config" in lines_of("zzz")[0]


@pytest.mark.parametrize("path", sorted((shipped_configs() / "sweeps").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_sweeps_load(path: Path) -> None:
    assert load_sweep(str(path)).points
