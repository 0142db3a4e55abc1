"""Heads and the terms that act on them, checked without importing torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from medseg.config import Component, ConfigError, NetworkConfig, from_dict, load_config, load_fragment, to_dict, to_yaml

GOOD: dict[str, Any] = {
    "name": "x",
    "data": {"format": {"name": "phantom", "params": {"kind": "lesions_2d"}}, "patch_size": [32, 32]},
    "network": {"name": "unet", "heads": {"distance": {"name": "signed_distance", "params": {"limit": 5}}, "box": {"name": "boxes"}}},
    "loss": {
        "activation": "softmax",
        "terms": [{"name": "dice"}, {"name": "mae", "head": "distance"}, {"name": "ciou", "head": "box"}, {"name": "huber", "head": "box"}],
    },
}


def problems(change: dict[str, Any], tmp_path: Path) -> str:
    """What is wrong after changes of single keys, given as overrides."""
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(GOOD))
    with pytest.raises(ConfigError) as caught:
        load_config(str(tmp_path / "x.yaml"), [f"{key}={value}" for key, value in change.items()])
    return str(caught.value)


class TestGood:
    def test_heads_become_components_and_survive_a_round_trip(self, tmp_path: Path) -> None:
        config = from_dict(GOOD)
        assert isinstance(config.network, NetworkConfig)
        assert config.network.heads == {"distance": Component("signed_distance", {"limit": 5}), "box": Component("boxes")}
        assert from_dict(to_dict(config)) == config
        (tmp_path / "y.yaml").write_text(to_yaml(config))
        assert load_config(str(tmp_path / "y.yaml")) == config

    def test_a_config_without_heads_has_none(self) -> None:
        config = from_dict({**GOOD, "network": {"name": "unet"}, "loss": {"activation": "softmax", "terms": [{"name": "dice"}]}})
        assert config.network.heads == {}

    def test_a_part_of_a_config_may_name_heads_that_another_part_defines(self, tmp_path: Path) -> None:
        (tmp_path / "part.yaml").write_text(yaml.safe_dump({"loss": GOOD["loss"]}))
        assert load_fragment(str(tmp_path / "part.yaml"))

    def test_a_term_without_head_may_leave_the_key_null(self) -> None:
        assert from_dict({**GOOD, "loss": {**GOOD["loss"], "terms": [*GOOD["loss"]["terms"], {"name": "mse", "head": None}]}})


class TestFaults:
    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (
                {"network.heads.distance.name": "signed_distanse"},
                "network.heads.distance.name: unknown head 'signed_distanse'; did you mean",
            ),
            ({"network.heads.distance.params.limits": 3}, "network.heads.distance.params.limits: unknown parameter of signed_distance"),
            ({"network.heads.distance.params.limit": "far"}, "network.heads.distance.params.limit: expected a number"),
            ({"network.heads.distance.params.name": "x"}, "not for a config to say"),
            ({"loss.terms[1].head": "distanse"}, "loss.terms[1].head: network.heads has no 'distanse'; did you mean distance?"),
            ({"loss.terms[0].head": "distance"}, "loss.terms[0].head: dice acts on the segmentation, not on a head; remove the line"),
            ({"loss.terms[2].head": "distance"}, "loss.terms[2].head: ciou cannot act on a head of kind signed_distance; it takes boxes"),
            ({"loss.terms[2].head": "null"}, "loss.terms[2].head: ciou needs a head; name one of kind boxes in network.heads"),
            ({"loss.terms[1].head": "null"}, "network.heads.distance: no term of the loss acts on it; add `head: distance` to one"),
            ({"network.heads.segmentation": "{name: embedding}"}, "network.heads.segmentation: is no name of a head"),
            ({"data.patch_size": "[32, 32, 32]"}, "loss.terms[2].name: ciou is 2-D only, data.patch_size has 3 items"),
            ({"loss.terms[1].heads": "distance"}, "loss.terms[1].heads: unknown key; did you mean loss.terms[1].head?"),
            ({"network.heads": "[1]"}, "network.heads: expected"),
        ],
    )
    def test_are_told_with_their_key_and_a_way_out(self, change: dict[str, Any], says: str, tmp_path: Path) -> None:
        assert says in problems(change, tmp_path)

    def test_each_is_told_once(self, tmp_path: Path) -> None:
        text = problems({"loss.terms[1].head": "nowhere"}, tmp_path)
        assert text.count("loss.terms[1].head") == 1

    def test_a_head_of_an_unknown_kind_is_not_told_of_its_terms_too(self, tmp_path: Path) -> None:
        assert "loss.terms" not in problems({"network.heads.distance.name": "signed_distanse"}, tmp_path)
