"""The references themselves, against values worked out elsewhere, hand calculations, torch, and each option's meaning."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tests.losses import reference as ref

P = np.array([0.9, 0.4, 0.2, 0.1])
Y = np.array([1, 1, 0, 0])
Z = np.log(P / (1 - P))
SIGMOID: dict[str, Any] = {"logits": Z.reshape(1, 1, 4), "target": Y.reshape(1, 1, 4), "activation": "sigmoid"}
# The same problem with two exclusive classes.
SOFTMAX: dict[str, Any] = {"logits": np.stack([np.zeros(4), Z])[None], "target": Y.reshape(1, 4), "activation": "softmax"}

SMOOTHLESS: dict[str, dict[str, Any]] = {
    "dice": {"smooth": 0},
    "tversky": {"smooth": 0},
    "focal_tversky": {"smooth": 0},
    "combo": {"smooth": 0},
    "exp_log": {"epsilon": 0},
    "generalized_dice": {"smooth": 0},
}
CASES = [(name, activation) for name in ref.TERMS for activation in ("softmax", "sigmoid") if (name, activation) != ("bce", "softmax")]
each_term = pytest.mark.parametrize(("name", "activation"), CASES)


def problem(activation: str, batch: int = 3, classes: int = 3, shape: tuple[int, ...] = (4, 5), seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    target_shape = (batch, *shape) if activation == "softmax" else (batch, classes, *shape)
    return {
        "logits": 2 * rng.standard_normal((batch, classes, *shape)),
        "target": rng.integers(0, classes if activation == "softmax" else 2, target_shape),
        "activation": activation,
    }


class TestGoldenValues:
    @pytest.mark.parametrize(
        ("name", "params", "expected"),
        [
            ("bce", {}, 0.337539),
            ("bce", {"pos_weight": 3}, 0.848364),
            ("focal", {"gamma": 2}, 0.085224),
            ("focal", {"gamma": 2, "alpha": 0.25}, 0.022554),
            ("dice", {"smooth": 0}, 0.277778),
            ("tversky", {"fn_weight": 0.7, "fp_weight": 0.3, "smooth": 0}, 0.308511),
            ("tversky", {"fn_weight": 1, "fp_weight": 1, "smooth": 0}, 0.434783),
            ("focal_tversky", {"exponent": 0.75, "smooth": 0}, 0.413955),
            ("focal_tversky", {"exponent": 4 / 3, "smooth": 0}, 0.208462),
            ("combo", {"smooth": 0}, 0.223274),
            ("combo", {"smooth": 0, "shift": False}, -0.276726),
        ],
    )
    def test_one_sigmoid_channel(self, name: str, params: dict[str, Any], expected: float) -> None:
        assert ref.TERMS[name](**SIGMOID, **params) == pytest.approx(expected, abs=5.1e-7)

    @pytest.mark.parametrize(
        ("name", "params", "expected"),
        [
            ("cross_entropy", {}, 0.337539),
            ("focal", {"gamma": 2}, 0.085224),
            ("focal", {"gamma": 2, "alpha": [0.75, 0.25]}, 0.022554),
            ("dice", {"smooth": 0}, 0.277778),
            ("focal_tversky", {"smooth": 0}, 0.413955),
            ("combo", {"smooth": 0}, 0.223274),
            ("combo", {"smooth": 0, "ce_form": "categorical"}, 0.223274),
            ("generalized_dice", {"include_background": True, "smooth": 0}, 0.25),
            ("exp_log", {"include_background": True, "epsilon": 0}, 0.737944),
        ],
    )
    def test_two_softmax_classes(self, name: str, params: dict[str, Any], expected: float) -> None:
        assert ref.TERMS[name](**SOFTMAX, **params) == pytest.approx(expected, abs=5.1e-7)

    def test_bce_plus_dice(self) -> None:
        assert ref.bce(**SIGMOID) + ref.dice(**SIGMOID, smooth=0) == pytest.approx(0.615317, abs=5.1e-7)


class TestSmooth:
    # TP = 1.3, FP = 0.3, FN = 0.7
    def test_dice_has_it_in_both_halves_of_the_score(self) -> None:
        assert ref.dice(**SIGMOID, smooth=2) == pytest.approx(1 - 4.6 / 5.6)

    def test_tversky_has_it_in_both_halves_of_the_score(self) -> None:
        assert ref.tversky(**SIGMOID, smooth=2) == pytest.approx(1 - 3.3 / (1.3 + 0.3 * 0.3 + 0.7 * 0.7 + 2))

    def test_exp_log_has_epsilon_in_its_dice_only(self) -> None:
        dice_part = (-math.log(3.6 / 4.6)) ** 0.3
        assert ref.exp_log(**SOFTMAX, ce_weight=0, epsilon=1) == pytest.approx(0.8 * dice_part)

    def test_generalized_dice_adds_it_to_normalised_weights(self) -> None:
        # Both classes have two voxels, so each weighs 1/2: (2 * (1.3 + 1.7) / 2 + s) / (8 / 2 + s).
        value = ref.generalized_dice(**SOFTMAX, include_background=True, smooth=2)
        assert value == pytest.approx(1 - 5 / 6)


class TestSeveralClassesByHand:
    """Four voxels, three classes, p = 0.5 for the true class and 0.25 for the others; class 2 is absent."""

    TARGET = np.array([[0, 0, 0, 1]])
    LOGITS = np.log(np.where(np.arange(3)[:, None] == TARGET, 0.5, 0.25))[None]
    PROBLEM: ClassVar[dict[str, Any]] = {"logits": LOGITS, "target": TARGET, "activation": "softmax"}
    # (TP, FP, FN): class 0 (1.5, .25, 1.5), class 1 (.5, .75, .5), class 2 (0, 1, 0)

    def test_dice_is_the_mean_over_the_foreground(self) -> None:
        assert ref.dice(**self.PROBLEM, smooth=0) == pytest.approx((1 - 1 / 2.25 + 1) / 2)

    def test_dice_takes_the_background_in_when_asked(self) -> None:
        assert ref.dice(**self.PROBLEM, smooth=0, include_background=True) == pytest.approx((1 - 3 / 4.75 + 1 - 1 / 2.25 + 1) / 3)

    def test_focal_tversky_takes_the_power_before_the_mean(self) -> None:
        first = (1 - 0.5 / (0.5 + 0.3 * 0.75 + 0.7 * 0.5)) ** 0.75
        assert ref.focal_tversky(**self.PROBLEM, smooth=0) == pytest.approx((first + 1) / 2)

    @pytest.mark.parametrize(("weighting", "weights"), [("square", (1 / 9, 1, 1)), ("simple", (1 / 3, 1, 1)), ("uniform", (1, 1, 1))])
    def test_generalized_dice_gives_an_absent_class_the_largest_weight(self, weighting: Any, weights: tuple[float, ...]) -> None:
        a, b, c = weights
        expected = 1 - 2 * (1.5 * a + 0.5 * b) / (4.75 * a + 2.25 * b + 1 * c)
        assert ref.generalized_dice(**self.PROBLEM, include_background=True, weighting=weighting, smooth=0) == pytest.approx(expected)

    def test_exp_log_weighs_by_the_root_of_inverse_frequency(self) -> None:
        ce = (3 * math.sqrt(4 / 3) + math.sqrt(4)) * math.log(2) ** 0.3 / 4
        assert ref.exp_log(**self.PROBLEM, dice_weight=0) == pytest.approx(0.2 * ce)

    def test_exp_log_takes_the_power_before_the_mean(self) -> None:
        scores = [(1 + 1) / (2.25 + 1), (0 + 1) / (1 + 1)]
        assert ref.exp_log(**self.PROBLEM, ce_weight=0) == pytest.approx(0.8 * sum((-math.log(d)) ** 0.3 for d in scores) / 2)

    def test_exp_log_has_an_exponent_for_each_part(self) -> None:
        dice_part = sum((-math.log(d)) ** 2 for d in (2 / 3.25, 1 / 2)) / 2
        ce_part = math.log(2) ** 0.5
        value = ref.exp_log(**self.PROBLEM, dice_exponent=2, ce_exponent=0.5, class_weights=[1, 1, 1])
        assert value == pytest.approx(0.8 * dice_part + 0.2 * ce_part)

    def test_combo_one_vs_rest_counts_every_foreground_class(self) -> None:
        log_half, log_rest = -math.log(0.5), -math.log(0.75)
        ce = (0.7 * log_half + 0.3 * 3 * log_rest + 0.3 * 4 * log_rest) / 8
        assert ref.combo(**self.PROBLEM, ce_share=1, fn_weight=0.7) == pytest.approx(ce)

    def test_combo_categorical_weighs_voxels_by_their_class(self) -> None:
        ce = (3 * 0.3 + 0.7) * math.log(2) / 4
        assert ref.combo(**self.PROBLEM, ce_share=1, fn_weight=0.7, ce_form="categorical") == pytest.approx(ce)

    def test_focal_divides_by_voxels_not_by_alpha(self) -> None:
        value = ref.focal(**self.PROBLEM, gamma=1, alpha=[0.2, 0.6, 0.9])
        assert value == pytest.approx((3 * 0.2 + 0.6) * 0.5 * math.log(2) / 4)


class TestAgainstTorch:
    def test_cross_entropy_with_weights_and_ignored_voxels(self) -> None:
        data = problem("softmax")
        data["target"][0, :2] = 255
        weights = [0.2, 1.0, 3.0]
        expected = F.cross_entropy(
            torch.tensor(data["logits"]), torch.tensor(data["target"]), torch.tensor(weights, dtype=torch.float64), ignore_index=255
        )
        assert ref.cross_entropy(**data, class_weights=weights, ignore_index=255) == pytest.approx(expected.item())

    def test_bce_with_a_weight_per_channel(self) -> None:
        data = problem("sigmoid")
        pos_weight = torch.tensor([0.5, 2.0, 7.0], dtype=torch.float64).reshape(3, 1, 1)
        logits, target = torch.tensor(data["logits"]), torch.tensor(data["target"], dtype=torch.float64)
        expected = F.binary_cross_entropy_with_logits(logits, target, pos_weight=pos_weight)
        assert ref.bce(**data, pos_weight=[0.5, 2.0, 7.0]) == pytest.approx(expected.item())


class TestIdentities:
    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_focal_without_gamma_is_cross_entropy(self, activation: str) -> None:
        data = problem(activation)
        assert ref.focal(**data, gamma=0) == pytest.approx(ref.cross_entropy(**data))

    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_tversky_with_halves_is_dice_with_twice_the_smooth(self, activation: str) -> None:
        data = problem(activation)
        assert ref.tversky(**data, fn_weight=0.5, fp_weight=0.5, smooth=1) == pytest.approx(ref.dice(**data, smooth=2))

    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_focal_tversky_with_exponent_one_is_tversky(self, activation: str) -> None:
        data = problem(activation)
        assert ref.focal_tversky(**data, exponent=1, smooth=1) == pytest.approx(ref.tversky(**data, smooth=1))

    def test_generalized_dice_of_one_channel_is_dice(self) -> None:
        data = problem("sigmoid", classes=1)
        assert ref.generalized_dice(**data, smooth=0) == pytest.approx(ref.dice(**data, smooth=0))

    def test_neutral_combo_is_half_bce_plus_dice(self) -> None:
        data = problem("sigmoid")
        assert ref.combo(**data, smooth=1) == pytest.approx(0.25 * ref.bce(**data) + 0.5 * ref.dice(**data, smooth=1))

    def test_exp_log_with_exponents_one_and_no_weights_contains_cross_entropy(self) -> None:
        for activation, weights in (("softmax", np.ones(3)), ("sigmoid", np.ones((3, 2)))):
            data = problem(activation)
            value = ref.exp_log(**data, dice_weight=0, ce_weight=1, ce_exponent=1, class_weights=weights)
            assert value == pytest.approx(ref.cross_entropy(**data))

    @pytest.mark.parametrize("name", [name for name in ref.TERMS if name != "bce"])
    def test_two_softmax_classes_equal_one_sigmoid_channel(self, name: str) -> None:
        soft = problem("softmax", classes=2)
        binary = {"logits": soft["logits"][:, 1:] - soft["logits"][:, :1], "target": soft["target"][:, None], "activation": "sigmoid"}
        assert ref.TERMS[name](**soft) == pytest.approx(ref.TERMS[name](**binary))


@pytest.mark.parametrize(("name", "without_dice"), [("combo", {"ce_share": 1}), ("exp_log", {"dice_weight": 0})])
def test_the_cross_entropy_of_a_compound_can_be_reduced_on_its_own(name: str, without_dice: dict[str, Any]) -> None:
    data = problem("softmax")
    data["target"][0, :3] = 255
    term = ref.TERMS[name]
    per_sample = term(**data, ignore_index=255, reduce_over="sample", **without_dice)
    pooled = term(**data, ignore_index=255, reduce_over="sample", ce_reduce_over="batch", **without_dice)
    assert pooled == pytest.approx(term(**data, ignore_index=255, reduce_over="batch", **without_dice))
    assert pooled != pytest.approx(per_sample)


@each_term
class TestEveryTerm:
    def test_is_zero_at_a_perfect_prediction(self, name: str, activation: str) -> None:
        data = problem(activation)
        one_hot = np.moveaxis(np.eye(3)[data["target"]], -1, 1) if activation == "softmax" else data["target"]
        data["logits"] = 1e4 * (2 * one_hot - 1)
        assert ref.TERMS[name](**data) == pytest.approx(0, abs=1e-12)

    def test_is_finite_and_positive_on_the_inverse(self, name: str, activation: str) -> None:
        data = problem(activation)
        one_hot = np.moveaxis(np.eye(3)[data["target"]], -1, 1) if activation == "softmax" else data["target"]
        data["logits"] = -1e4 * (2 * one_hot - 1)
        assert 0.1 < ref.TERMS[name](**data) < math.inf

    def test_ignored_voxels_have_no_say(self, name: str, activation: str) -> None:
        data = problem(activation)
        cut = {**data, "logits": data["logits"][..., :3], "target": data["target"][..., :3]}
        data["target"][..., 3:] = 255
        assert ref.TERMS[name](**data, ignore_index=255) == pytest.approx(ref.TERMS[name](**cut))

    def test_weight_zero_is_the_same_as_ignored(self, name: str, activation: str) -> None:
        data = problem(activation)
        weights = np.ones((3, 4, 5))
        weights[..., 3:] = 0
        cut = {**data, "logits": data["logits"][..., :3], "target": data["target"][..., :3]}
        assert ref.TERMS[name](**data, weight_map=weights) == pytest.approx(ref.TERMS[name](**cut))

    def test_weight_two_is_the_same_as_two_voxels(self, name: str, activation: str) -> None:
        data = problem(activation)
        weights = np.ones((3, 4, 5))
        weights[..., 3:] = 2
        twice = [0, 1, 2, 3, 3, 4, 4]
        repeated = {**data, "logits": data["logits"][..., twice], "target": data["target"][..., twice]}
        for reduce_over in ("batch", "sample"):
            value = ref.TERMS[name](**data, weight_map=weights, reduce_over=reduce_over)
            assert value == pytest.approx(ref.TERMS[name](**repeated, reduce_over=reduce_over))

    def test_sample_is_the_mean_of_single_samples(self, name: str, activation: str) -> None:
        data = problem(activation)
        single = [ref.TERMS[name](data["logits"][b : b + 1], data["target"][b : b + 1], activation=activation) for b in range(3)]
        assert ref.TERMS[name](**data, reduce_over="sample") == pytest.approx(np.mean(single))

    def test_batch_is_one_long_sample(self, name: str, activation: str) -> None:
        data = problem(activation)
        long = {
            "logits": np.concatenate(list(data["logits"]), axis=-1)[None],
            "target": np.concatenate(list(data["target"]), axis=-1)[None],
            "activation": activation,
        }
        assert ref.TERMS[name](**data) == pytest.approx(ref.TERMS[name](**long))

    def test_nothing_left_is_zero(self, name: str, activation: str) -> None:
        data = problem(activation)
        data["target"][:] = 255
        for params in ({}, SMOOTHLESS.get(name, {})):
            assert ref.TERMS[name](**data, ignore_index=255, **params) == 0

    def test_an_empty_foreground_is_finite(self, name: str, activation: str) -> None:
        data = problem(activation)
        data["target"][:] = 0
        assert 0 < ref.TERMS[name](**data) < math.inf

    def test_depth_one_changes_nothing(self, name: str, activation: str) -> None:
        data = problem(activation)
        deep = {**data, "logits": data["logits"][..., None], "target": data["target"][..., None]}
        assert ref.TERMS[name](**deep) == ref.TERMS[name](**data)

    def test_better_logits_have_a_lower_loss(self, name: str, activation: str) -> None:
        data = problem(activation)
        one_hot = np.moveaxis(np.eye(3)[data["target"]], -1, 1) if activation == "softmax" else data["target"]
        better = {**data, "logits": data["logits"] + (2 * one_hot - 1)}
        assert ref.TERMS[name](**better) < ref.TERMS[name](**data)


@pytest.mark.parametrize("name", [name for name in ref.TERMS if name != "bce"])
class TestSoftmax:
    def test_a_constant_added_to_the_logits_changes_nothing(self, name: str) -> None:
        data = problem("softmax")
        assert ref.TERMS[name](**{**data, "logits": data["logits"] + 5}) == pytest.approx(ref.TERMS[name](**data))

    def test_a_channel_axis_of_one_in_the_target_is_allowed(self, name: str) -> None:
        data = problem("softmax")
        assert ref.TERMS[name](**{**data, "target": data["target"][:, None]}) == ref.TERMS[name](**data)

    def test_an_unknown_id_is_refused(self, name: str) -> None:
        data = problem("softmax")
        data["target"][0, 0, 0] = 255
        with pytest.raises(ValueError, match="neither a class"):
            ref.TERMS[name](**data)
