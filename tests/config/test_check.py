from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from medseg.config.check import check
from medseg.config.tree import wrap

pytestmark = pytest.mark.usefixtures("package")

GOOD: dict[str, Any] = {
    "name": "x",
    "data": {"format": {"name": "phantom", "params": {"cases": 3, "contrast": [0.1, 1]}}, "patch_size": [64, 64]},
    "network": {"name": "unet", "params": {"channels": [8, 16], "norm": "batch"}},
    "loss": {
        "activation": "softmax",
        "terms": [
            {"name": "dice", "weight": 2, "params": {"class_weights": None}},
            {"name": "focal", "weight": {"schedule": "linear", "start": 0, "end": 1, "epochs": 5}},
        ],
    },
}


def with_value(key: tuple[str | int, ...], value: object) -> dict[str, Any]:
    values = copy.deepcopy(GOOD)
    place: Any = values
    for part in key[:-1]:
        place = place.setdefault(part, {}) if isinstance(place, dict) else place[part]
    place[key[-1]] = value
    return values


def problems_of(values: dict[str, Any], partial: bool = False) -> list[str]:
    """The problems without their source."""
    return [str(problem).removeprefix("x.yaml: ") for problem in check(wrap(values, "x.yaml"), partial=partial)]


def only_problem(key: tuple[str | int, ...], value: object) -> str:
    found = problems_of(with_value(key, value))
    assert len(found) == 1, found
    return found[0]


class TestGoodConfigs:
    def test_have_no_problems(self) -> None:
        assert problems_of(GOOD) == []

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            (("data", "format"), {"name": "folders", "params": {"labels": {"lesion": 1, "any": [1, 2]}}}),
            (("data", "spacing"), [1, 0.5]),
            (("inference",), {}),
            (("loss", "ignore_index"), None),
            (("optimizer",), {"name": "sgd"}),
        ],
    )
    def test_may_hold_every_allowed_form(self, key: tuple[str, ...], value: object) -> None:
        assert problems_of(with_value(key, value)) == []


class TestKeys:
    @pytest.mark.parametrize(
        ("key", "says"),
        [
            (("sed",), "sed: unknown key; did you mean seed?"),
            (("extend",), "extend: unknown key; did you mean extends?"),
            (("trainer", "max_epoch"), "trainer.max_epoch: unknown key; did you mean trainer.max_epochs?"),
            (("max_epochs",), "max_epochs: unknown key; it belongs to trainer: trainer.max_epochs"),
            (("data", "seed"), "data.seed: unknown key; it belongs to the top level"),
            (
                ("trainer", "batch_size"),
                "trainer.batch_size: unknown key; it belongs to data: data.batch_size or inference: inference.batch_size",
            ),
            (("validation", "zzz"), "validation.zzz: unknown key; it takes every_epochs, monitor"),
            (("loss", "terms", 0, "wieght"), "loss.terms[0].wieght: unknown key; did you mean loss.terms[0].weight?"),
            (("loss", "terms", 0, "smooth"), "loss.terms[0].smooth: unknown key; it belongs to params: loss.terms[0].params.smooth"),
            (("network", "norm"), "network.norm: unknown key; it belongs to params: network.params.norm"),
        ],
    )
    def test_unknown_ones_are_told_with_what_was_meant(self, key: tuple[str, ...], says: str) -> None:
        assert only_problem(key, 1) == says

    @pytest.mark.parametrize(
        "key", [("name",), ("network",), ("data", "patch_size"), ("loss", "activation"), ("loss", "terms"), ("loss", "terms", 0, "name")]
    )
    def test_required_ones_are_missed_unless_it_is_a_fragment(self, key: tuple[str | int, ...]) -> None:
        values = copy.deepcopy(GOOD)
        place: Any = values
        for part in key[:-1]:
            place = place[part]
        del place[key[-1]]
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key)[1:]
        assert [problem.partition(";")[0] for problem in problems_of(values)] == [f"{text}: missing"]
        assert problems_of(values, partial=True) == []

    def test_three_question_marks_mean_must_be_set(self) -> None:
        assert only_problem(("data", "root"), "???").startswith("data.root: must be set")
        assert problems_of(with_value(("data", "root"), "???"), partial=True) == []


class TestTypes:
    @pytest.mark.parametrize(
        ("key", "value", "says"),
        [
            (("seed",), "5", "seed: expected a whole number, got the text '5'; write 5"),
            (("seed",), True, "seed: expected a whole number, got true"),
            (("seed",), 1.0, "seed: expected a whole number, got the number 1.0"),
            (("name",), False, 'name: expected text, got false; put it in quotes: "false"'),
            (("name",), None, "name: expected text, got null"),
            (("trainer",), None, "trainer: expected a section ("),
            (("trainer",), [1], "trainer: expected a section ("),
            (("trainer", "channels_last"), "off", "trainer.channels_last: expected true or false, got the text 'off'; write false"),
            (("data", "patch_size"), 64, "data.patch_size: expected a list (each item a whole number), got the number 64; write a list"),
            (("data", "patch_size"), [64, "x"], "data.patch_size[1]: expected a whole number, got the text 'x'"),
            (
                ("loss", "activation"),
                "softmx",
                "loss.activation: 'softmx' is not a choice; did you mean softmax? (choose from softmax, sigmoid)",
            ),
            (("loss", "activation"), True, "loss.activation: expected one of softmax, sigmoid, got true"),
            (
                ("loss", "terms", 0, "weight"),
                "a",
                "loss.terms[0].weight: expected a number or a section (schedule,",
            ),
            (
                ("loss", "terms", 1, "weight", "schedule"),
                "liner",
                "loss.terms[1].weight.schedule: 'liner' is not a choice",
            ),
            (
                ("loss", "terms"),
                {"name": "dice"},
                "loss.terms: expected a list (each item a section (name, weight, params, head)), got a section of keys",
            ),
            (("loss", "terms", 0), "dice", "loss.terms[0]: expected a section (name, weight, params, head), got the text 'dice'"),
            (("data", "cache_gib"), float("nan"), "data.cache_gib: expected a number, got the number nan"),
            (("data", "cache_gib"), np.ones(1), "data.cache_gib: expected a number, got an object of type ndarray"),
        ],
    )
    def test_wrong_ones_are_told_in_words(self, key: tuple[str | int, ...], value: object, says: str) -> None:
        assert only_problem(key, value).startswith(says)


class TestComponents:
    def test_unknown_names_are_told_with_suggestion_and_list(self) -> None:
        says = "network.name: unknown network 'unett'; did you mean unet? (there are unet, segresnet)"
        assert only_problem(("network",), {"name": "unett", "params": {"whatever": 1}}) == says

    @pytest.mark.parametrize(
        ("key", "value", "says"),
        [
            (
                ("loss", "terms", 0),
                {"name": "focal_tversky", "params": {"exponnet": 1}},
                "loss.terms[0].params.exponnet: unknown parameter of focal_tversky; did you mean exponent? "
                "(it takes fn_weight, fp_weight, exponent, smooth)",
            ),
            (
                ("loss", "terms", 0),
                {"name": "focal_tversky", "params": {"alhpa": 1}},
                "loss.terms[0].params.alhpa: unknown parameter of focal_tversky; it takes fn_weight, fp_weight, exponent, smooth",
            ),
            (
                ("data", "format"),
                {"name": "decathlon", "params": {"x": 1}},
                "data.format.params.x: unknown parameter of decathlon; it takes none",
            ),
            (("network", "params", "in_channels"), 1, "network.params.in_channels: not for a config to say: "),
            (("loss", "terms", 0, "params", "weight"), 1, "loss.terms[0].params.weight: unknown parameter of dice; it belongs one"),
            (("network",), {"name": "segresnet"}, "network.params.filters: missing parameter of segresnet; expected a whole number"),
            (("network", "params", "norm"), "bacth", "network.params.norm: 'bacth' is not a choice; did you mean batch?"),
            (("network", "params", "channels"), [8, 1.5], "network.params.channels[1]: expected a whole number, got the number 1.5"),
            (("network", "params", "residual"), 1, "network.params.residual: expected true or false, got the number 1"),
            (("network", "params"), None, "network.params: expected a section of keys, got null; remove the line if there are none"),
            (("optimizer",), {"name": "adamw", "params": {"betas": [0.9]}}, "optimizer.params.betas: expected 2 items, got 1"),
            (("data", "format"), {"name": "folders", "params": {"labels": {"a": "x"}}}, "data.format.params.labels.a: expected"),
            (("schedule",), {"name": "cosine", "params": {"warmup_epochs": "???"}}, "schedule.params.warmup_epochs: must be set"),
        ],
    )
    def test_parameters_are_checked_against_the_constructor(self, key: tuple[str | int, ...], value: object, says: str) -> None:
        assert only_problem(key, value).startswith(says)
