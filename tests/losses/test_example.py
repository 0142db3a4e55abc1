"""Lines of a config to copy."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import yaml

from medseg.config.losses import COMMON_NAMES, meant
from medseg.losses import HEADS, TERMS, WEIGHT_MAPS, build_loss
from medseg.losses.example import example, written

ENTRIES: dict[str, Any] = {**TERMS, **HEADS, **WEIGHT_MAPS}


class TestExample:
    @pytest.mark.parametrize("name", [name for name in ENTRIES if name != "perceptual"])  # which needs a file
    def test_it_builds_with_the_defaults(self, name: str) -> None:
        config = yaml.safe_load(example(name))
        section = config["loss"]
        terms = section.setdefault("terms", [{"name": "dice"}])
        section["activation"] = getattr(TERMS[terms[0]["name"]], "activation", None) or "softmax"
        heads = config.get("network", {}).get("heads", {})
        build_loss(section, 2, heads)
        entries = [*terms, *heads.values(), *([section["weight_map"]] if "weight_map" in section else [])]
        (entry,) = [entry for entry in entries if entry["name"] == name]
        parameters = inspect.signature(ENTRIES[name]).parameters
        for key, value in entry.get("params", {}).items():
            assert value == parameters[key].default

    def test_small_numbers_are_numbers_in_yaml(self) -> None:
        assert yaml.safe_load(written(1e-5)) == 1e-5
        assert yaml.safe_load(written((3, 8))) == [3, 8]


class TestCommonNames:
    def test_each_stands_for_something_that_there_is(self) -> None:
        for common, ours in COMMON_NAMES.items():
            assert common not in ENTRIES, common
            assert meant(common, ENTRIES) == f"did you mean {ours}?"

    def test_case_and_signs_do_not_matter(self) -> None:
        assert meant("Smooth-L1 Loss", TERMS) == "did you mean huber?"
        assert meant("clDice", TERMS) == "did you mean cl_dice?"

    def test_nothing_is_proposed_that_is_no_choice(self) -> None:
        assert meant("iou", WEIGHT_MAPS) is None
