from __future__ import annotations

from typing import Any

import pytest

from medseg.config.errors import Problem
from medseg.config.overrides import apply_overrides
from medseg.config.tree import plain, wrap

BASE = {
    "name": "x",
    "data": {"patch_size": [64, 64], "root": None},
    "network": {"name": "unet", "params": {"channels": [8], "norm": "batch"}},
    "loss": {"terms": [{"name": "dice", "weight": 1.0, "params": {"smooth": 1.0}}, {"name": "focal"}]},
    "trainer": {"max_epochs": 3},
}


def override(*overrides: str) -> tuple[Any, list[Problem]]:
    problems: list[Problem] = []
    return plain(apply_overrides(wrap(BASE, "base.yaml:1"), overrides, problems)), problems


def changed(*overrides: str) -> Any:
    values, problems = override(*overrides)
    assert not problems
    return values


class TestValues:
    def test_reach_into_lists(self) -> None:
        terms = changed("loss.terms[1].weight=0.25", "loss.terms[0].params.smooth=1e-5", "data.patch_size[1]=32")
        assert terms["loss"]["terms"][1] == {"name": "focal", "weight": 0.25}
        assert terms["loss"]["terms"][0]["params"] == {"smooth": 1e-5}
        assert terms["data"]["patch_size"] == [64, 32]

    def test_replace_lists_and_merge_sections(self) -> None:
        values = changed("data.patch_size=[8, 8, 8]", "network={params: {norm: instance}}", "trainer={devices: 2}")
        assert values["data"]["patch_size"] == [8, 8, 8]
        assert values["network"]["params"] == {"channels": [8], "norm": "instance"}
        assert values["trainer"] == {"max_epochs": 3, "devices": 2}

    @pytest.mark.parametrize(
        ("text", "value"), [("/x/y=z", "/x/y=z"), ("null", None), ("", None), ("'5'", "5"), ("a: b", "a: b"), ("~/data", "~/data")]
    )
    def test_everything_after_the_first_equals_sign_is_the_value(self, text: str, value: object) -> None:
        assert changed(f"data.root={text}")["data"]["root"] == value

    def test_make_sections_that_are_not_there(self) -> None:
        assert changed("optimizer.params.lr=0.1")["optimizer"] == {"params": {"lr": 0.1}}

    def test_the_later_of_two_wins(self) -> None:
        assert changed("name=a", "name=b")["name"] == "b"

    @pytest.mark.parametrize("order", [1, -1])
    def test_a_new_name_drops_the_file_s_params_but_none_of_the_command_line_in_any_order(self, order: int) -> None:
        values = changed(*["network.name=segresnet", "network.params.filters=4"][::order])
        assert values["network"] == {"name": "segresnet", "params": {"filters": 4}}

    def test_leave_their_input_and_the_origin_of_sections_alone(self) -> None:
        root = wrap(BASE, "base.yaml:1")
        after = apply_overrides(root, ["trainer.max_epochs=5"], [])
        assert plain(root) == BASE
        assert after.value["trainer"].origin == "base.yaml:1"
        assert after.value["trainer"].value["max_epochs"].origin == "command line"


class TestFaults:
    @pytest.mark.parametrize(
        ("text", "key", "says"),
        [
            ("trainer.max_epochs", "trainer.max_epochs", "write trainer.max_epochs=VALUE"),
            ("loss.terms[2].weight=1", "loss.terms[2].weight", "its items are 0 to 1"),
            ("loss.terms[2]=1", "loss.terms[2]", "its items are 0 to 1"),
            ("loss.terms[-1].weight=1", "loss.terms[-1].weight=1", "not a key"),
            ("loss.term[0].weight=1", "loss.term[0].weight", "did you mean loss.terms?"),
            ("loss.terms.0.weight=1", "loss.terms.0.weight", "write loss.terms[0]"),
            ("loss.terms.weight=1", "loss.terms.weight", "write loss.terms[0].weight"),
            ("name.x=1", "name.x", "has no keys"),
            ("name[0]=1", "name[0]", "not a list"),
            ("--trainer.max_epochs=1", "--trainer.max_epochs=1", "write trainer.max_epochs=VALUE"),
            ("+trainer.max_epochs=1", "+trainer.max_epochs=1", "write trainer.max_epochs=VALUE"),
            ("=1", "=1", "write key=VALUE"),
            ("data.patch_size=[1,", "data.patch_size", "not valid YAML"),
            ("extends=x.yaml", "extends", "only stand in a file"),
        ],
    )
    def test_are_told_with_the_way_out_and_change_nothing(self, text: str, key: str, says: str) -> None:
        values, problems = override(text)
        assert values == BASE
        assert [(problem.source, problem.key) for problem in problems] == [("command line", key)]
        assert says in str(problems[0])

    def test_are_told_together_and_the_good_ones_still_apply(self) -> None:
        values, problems = override("a", "loss.terms[7]=1", "name=good")
        assert len(problems) == 2
        assert values["name"] == "good"
