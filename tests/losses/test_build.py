"""From config to loss: defaults, and every fault at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medseg.config.errors import ConfigError
from medseg.config.schema import LossConfig, TermConfig, WeightSchedule
from medseg.losses import TERMS, LossConfigError, build_loss
from medseg.losses.setting import Setting
from tests.losses.problems import problem

GOOD: dict[str, Any] = {"activation": "softmax", "terms": [{"name": "dice"}]}


def messages(config: Any, num_classes: int = 3) -> list[str]:
    with pytest.raises(LossConfigError) as caught:
        build_loss(config, num_classes)
    return str(caught.value).splitlines()


class TestBuildLoss:
    def test_only_activation_and_terms_are_needed(self) -> None:
        loss = build_loss(GOOD, 3)
        assert loss.setting == Setting(3, "softmax", include_background=False, reduce_over="batch", empty="smooth")
        assert loss.ignore_index is None
        assert loss.weights == {"dice": 1.0}

    def test_the_defaults_are_those_of_the_schema(self) -> None:
        schema = LossConfig("softmax", [])
        setting = Setting(3, "softmax")
        assert all(getattr(setting, key) == getattr(schema, key) for key in ("include_background", "reduce_over", "empty"))

    def test_a_dataclass_is_as_good_as_a_mapping(self) -> None:
        logits, target = problem("softmax")
        config = LossConfig("softmax", [TermConfig("tversky", 0.5, {"fn_weight": 0.8}), TermConfig("dice")], reduce_over="sample")
        plain = {
            "activation": "softmax",
            "terms": [{"name": "tversky", "weight": 0.5, "params": {"fn_weight": 0.8}}, {"name": "dice"}],
            "reduce_over": "sample",
        }
        assert build_loss(config, 3)(logits, target) == build_loss(plain, 3)(logits, target)

    def test_settings_reach_the_terms(self) -> None:
        loss = build_loss({**GOOD, "include_background": True, "reduce_over": "sample", "empty": "volume", "ignore_index": 9}, 3)
        assert all(term.setting == Setting(3, "softmax", True, "sample", "volume") for term in loss.terms.values())
        assert loss.ignore_index == 9

    def test_a_schedule_as_a_mapping_or_a_dataclass(self) -> None:
        schedule = {"schedule": "linear", "start": 0, "end": 1, "epochs": 2}
        for weight in (schedule, WeightSchedule("linear", 0, 1, 2)):
            loss = build_loss({"activation": "softmax", "terms": [{"name": "dice", "weight": weight}]}, 3)
            loss.set_epoch(1)
            assert loss.weights == {"dice": 0.5}

    @pytest.mark.parametrize("name", TERMS)
    def test_every_term_is_documented_by_the_house_pattern(self, name: str) -> None:
        text = TERMS[name].__doc__
        parts = ["$$", "Shape:", "Empty foreground:", "Precision:", "Args:", "Source:", "Example:", ">>> "]
        places = [text.index(part) for part in parts]
        assert places == sorted(places)


class TestFaults:
    def test_the_error_is_a_config_error_and_a_value_error(self) -> None:
        assert issubclass(LossConfigError, ConfigError)
        assert issubclass(LossConfigError, ValueError)

    def test_all_at_once(self) -> None:
        config = {
            "activation": "softmax",
            "reduce_ovr": "batch",
            "empty": "skipped",
            "ignore_index": "none",
            "terms": [{"name": "dise"}, {"name": "focal", "params": {"gama": 2.0}}, {"name": "dice", "weight": -1.0}, {"weight": 1.0}, 3],
        }
        assert messages(config) == [
            "build_loss: loss.reduce_ovr: unknown key; did you mean reduce_over?",
            "build_loss: loss.empty: must be smooth or skip or volume or batch, got 'skipped'; did you mean skip?",
            "build_loss: loss.ignore_index: must be an integer or null, got 'none'",
            "build_loss: loss.terms[0].name: there is no loss term 'dise'; did you mean dice?",
            "build_loss: loss.terms[1].params.gama: focal has no such parameter; did you mean gamma?",
            "build_loss: loss.terms[2].weight: must be finite and at least 0, got -1.0",
            "build_loss: loss.terms[3].name: is missing",
            "build_loss: loss.terms[4]: must be a mapping with a name, got 3",
        ]

    def test_missing_sections(self) -> None:
        assert messages({}) == ["build_loss: loss.activation: is missing", "build_loss: loss.terms: is missing"]
        assert messages({**GOOD, "terms": []}) == ["build_loss: loss.terms: must be a list of at least one term"]
        assert messages([]) == ["build_loss: loss: must be a mapping, got []"]

    def test_a_schedule(self) -> None:
        terms = [{"name": "dice", "weight": {"schedule": "lineal", "start": -1, "end": 1, "epochs": 0}}, {"name": "dice", "weight": "1"}]
        assert messages({**GOOD, "terms": terms}) == [
            "build_loss: loss.terms[0].weight.schedule: must be linear or cosine, got 'lineal'",
            "build_loss: loss.terms[0].weight.start: must be a finite number, at least 0, got -1",
            "build_loss: loss.terms[0].weight.epochs: must be an integer, at least 1, got 0",
            "build_loss: loss.terms[1].weight: must be a number or a schedule, got '1'",
        ]

    def test_an_incomplete_schedule(self) -> None:
        terms = [{"name": "dice", "weight": {"schedule": "linear", "start": 0.0, "end": 1.0}}]
        assert messages({**GOOD, "terms": terms}) == ["build_loss: loss.terms[0].weight.epochs: is missing"]

    @pytest.mark.parametrize(
        ("activation", "name", "params", "message"),
        [
            ("softmax", "focal", {"alpha": 0.25}, "alpha must be a list of one weight a class with softmax, got 0.25"),
            ("sigmoid", "focal", {"alpha": 2.0}, "alpha must lie in [0, 1] with sigmoid, got 2.0"),
            ("softmax", "focal", {"gamma": -1.0}, "gamma must be at least 0, got -1.0"),
            ("softmax", "cross_entropy", {"class_weights": [1.0]}, "class_weights must have one value a class, 3, got 1"),
            ("sigmoid", "bce", {"pos_weight": -1.0}, "pos_weight must be finite and not negative, got [-1.0, -1.0, -1.0]"),
            ("softmax", "tversky", {"fn_weight": 0, "fp_weight": 0}, "fn_weight and fp_weight must not both be 0"),
            (
                "softmax", "focal_tversky", {"exponent": 0.75, "paper_gamma": 1.333},
                "exponent and paper_gamma are the same thing (exponent = 1 / paper_gamma); give one",
            ),
            ("softmax", "focal_tversky", {"exponent": 0}, "exponent must be above 0, got 0"),
            ("softmax", "combo", {"ce_share": 1.5}, "ce_share must be at least 0 and at most 1, got 1.5"),
            ("softmax", "dice", {"smooth": float("nan")}, "smooth must be at least 0, got nan"),
            ("softmax", "generalized_dice", {"weighting": "cubic"}, "weighting must be one of square, simple, uniform, got 'cubic'"),
        ],
    )  # fmt: skip
    def test_parameters(self, activation: str, name: str, params: dict[str, Any], message: str) -> None:
        config = {"activation": activation, "terms": [{"name": name, "params": params}]}
        assert messages(config) == [f"build_loss: loss.terms[0].params: {message}"]

    @pytest.mark.parametrize(
        ("activation", "name", "params", "message"),
        [
            ("softmax", "dice", {"smooth": "1"}, ": smooth must be a number, got '1'"),
            ("softmax", "dice", {"smooth": True}, ": smooth must be a number, got True"),
            ("softmax", "dice", {"smooth": None}, ": smooth must be a number, got None"),
            ("softmax", "cross_entropy", {"class_weights": "123"}, ": class_weights must be a number or a list of numbers, got '123'"),
            ("softmax", "cross_entropy", {"class_weights": {1: 1, 2: 2, 3: 3}}, ": class_weights must be a number or a list of"),
            ("softmax", "cross_entropy", {"class_weights": [1, "2", 3]}, ": class_weights must be a number or a list of"),
            ("sigmoid", "bce", {"pos_weight": True}, ": pos_weight must be a number or a list of numbers, got True"),
            ("softmax", "combo", {"shift": "no"}, ".shift: must be true or false, got 'no'"),
        ],
    )  # fmt: skip
    def test_parameters_of_another_type(self, activation: str, name: str, params: dict[str, Any], message: str) -> None:
        (line,) = messages({"activation": activation, "terms": [{"name": name, "params": params}]})
        assert line.startswith(f"build_loss: loss.terms[0].params{message}")

    @pytest.mark.parametrize("weights", [[1.0, 2, 3], (1, 2, 3), torch.tensor([1, 2, 3]), np.array([1, 2, 3], np.float32)])
    def test_numbers_of_a_class_each_in_any_sequence(self, weights: Any) -> None:
        terms = [{"name": "cross_entropy", "params": {"class_weights": weights, "label_smoothing": np.float32(0.25)}}]
        logits, target = problem("softmax")
        plain = [{"name": "cross_entropy", "params": {"class_weights": [1, 2, 3], "label_smoothing": 0.25}}]
        assert build_loss({**GOOD, "terms": terms}, 3)(logits, target) == build_loss({**GOOD, "terms": plain}, 3)(logits, target)

    @pytest.mark.parametrize("value", ["no", 1, None])
    def test_include_background_is_true_or_false(self, value: Any) -> None:
        assert messages({**GOOD, "include_background": value}) == [
            f"build_loss: loss.include_background: must be true or false, got {value!r}"
        ]

    @pytest.mark.parametrize(
        ("wrong", "right", "name", "sibling"),
        [("softmax", "sigmoid", "bce", "cross_entropy"), ("sigmoid", "softmax", "cross_entropy", "bce")],
    )
    def test_a_term_of_the_other_activation(self, wrong: str, right: str, name: str, sibling: str) -> None:
        assert messages({"activation": wrong, "terms": [{"name": name}]}) == [
            f"build_loss: loss.terms[0].name: {name} needs loss.activation: {right}, got {wrong}; with {wrong} take {sibling}"
        ]

    def test_softmax_over_one_channel(self) -> None:
        assert messages(GOOD, 1) == ["build_loss: loss.activation: softmax over one channel is always 1; use sigmoid, or two classes"]

    def test_no_channels(self) -> None:
        assert messages({"activation": "sigmoid", "terms": [{"name": "dice"}]}, 0) == [
            "build_loss: num_classes: must be a positive integer, got 0"
        ]

    def test_a_good_config_beside_a_bad_one_is_not_harmed(self) -> None:
        logits, target = problem("softmax")
        messages({**GOOD, "terms": [{"name": "none"}]})
        assert torch.isfinite(build_loss(GOOD, 3)(logits, target))
