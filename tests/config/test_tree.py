from __future__ import annotations

from pathlib import Path

from medseg.config.tree import COMMAND_LINE, Node, key_text, merge, plain, wrap


def merged(parent: object, child: object, child_origin: str = "child") -> object:
    return plain(merge(wrap(parent, "parent"), wrap(child, child_origin)))


class TestMerge:
    def test_sections_merge_key_by_key_and_the_child_wins(self) -> None:
        assert merged({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 5, "z": 6}}) == {"a": {"x": 1, "y": 5, "z": 6}, "b": 3}

    def test_lists_are_replaced(self) -> None:
        assert merged({"terms": [1, 2, 3]}, {"terms": [4]}) == {"terms": [4]}

    def test_a_section_replaces_a_scalar_and_back(self) -> None:
        assert merged({"weight": 1.0}, {"weight": {"start": 0}}) == {"weight": {"start": 0}}
        assert merged({"weight": {"start": 0}}, {"weight": 1.0}) == {"weight": 1.0}

    def test_a_new_name_drops_the_params_of_the_old_component(self) -> None:
        parent = {"name": "unet", "params": {"channels": [8]}, "weight": 2}
        assert merged(parent, {"name": "segresnet"}) == {"name": "segresnet", "params": {}, "weight": 2}
        assert merged(parent, {"name": "segresnet", "params": {"filters": 4}})["params"] == {"filters": 4}  # type: ignore[index]

    def test_the_same_name_keeps_the_params(self) -> None:
        parent = {"name": "unet", "params": {"channels": [8]}}
        assert merged(parent, {"name": "unet", "params": {"norm": "batch"}}) == {
            "name": "unet",
            "params": {"channels": [8], "norm": "batch"},
        }

    def test_params_from_the_command_line_survive_a_new_name(self) -> None:
        params = Node({"channels": wrap([8], "base"), "filters": wrap(4, COMMAND_LINE)}, "base")
        parent = Node({"name": wrap("unet", "base"), "params": params}, "base")
        assert plain(merge(parent, wrap({"name": "segresnet"}, COMMAND_LINE)))["params"] == {"filters": 4}

    def test_every_value_remembers_who_set_it(self) -> None:
        node = merge(wrap({"a": {"x": 1, "y": 2}}, "parent"), wrap({"a": {"y": 5}}, "child"))
        assert node.value["a"].value["x"].origin == "parent"
        assert node.value["a"].value["y"].origin == "child"

    def test_inputs_stay_as_they_were(self) -> None:
        parent, child = wrap({"a": {"x": 1}}, "parent"), wrap({"a": {"y": 5}}, "child")
        merge(parent, child)
        assert (plain(parent), plain(child)) == ({"a": {"x": 1}}, {"a": {"y": 5}})


class TestWrap:
    def test_is_the_inverse_of_plain_and_makes_plain_types(self) -> None:
        assert plain(wrap({"a": (1, 2), "b": [{"c": None}], "d": Path("x/y")}, "o")) == {"a": [1, 2], "b": [{"c": None}], "d": "x/y"}


def test_key_text_is_what_users_write() -> None:
    assert key_text(("loss", "terms", 0, "params", "x")) == "loss.terms[0].params.x"
