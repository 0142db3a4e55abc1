"""Unified focal."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from medseg.losses import LossConfigError
from tests.losses import reference_region as reference
from tests.losses.problems import ACTIVATIONS, golden, problem, single, value_and_gradient
from tests.losses.terms.agreement import check_agreement, soft_labels

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
each_variant = pytest.mark.parametrize("variant", ["asymmetric", "symmetric"])


class TestGoldenValues:
    @pytest.mark.parametrize(("variant", "value"), [("asymmetric", 0.271954), ("symmetric", 0.313190)])
    @each_activation
    def test_golden(self, variant: str, value: float, activation: str) -> None:
        loss = single("unified_focal", activation, 1 if activation == "sigmoid" else 2, {"variant": variant, "smooth": 0.0})
        assert loss(*golden(activation)).item() == pytest.approx(value, abs=6e-7)

    @each_variant
    @each_activation
    def test_each_part_with_an_exponent_whose_complement_is_another(self, activation: str, variant: str) -> None:
        """At gamma 0.5 a swap of gamma and 1 - gamma does not show."""
        params = {"variant": variant, "gamma": 0.25, "fn_weight": 0.7, "smooth": 0.0}
        focal, region = (
            single("unified_focal", activation, 1 if activation == "sigmoid" else 2, {**params, "focal_share": share})
            for share in (1.0, 0.0)
        )
        factor = (0.1**0.25, 0.6**0.25) if variant == "symmetric" else (1, 1)
        lesion = 0.7 * -(factor[0] * math.log(0.9) + factor[1] * math.log(0.4))
        rest = 0.3 * -(0.2**0.25 * math.log(0.8) + 0.1**0.25 * math.log(0.9))
        assert focal(*golden(activation)).item() == pytest.approx((lesion + rest) / 4)
        of_lesion, of_rest = 0.58 / 1.88, 0.42 / 2.12  # 0.7 FN + 0.3 FP: TP 1.3, FP 0.3, FN 0.7; TP 1.7, FP 0.7, FN 0.3
        by_hand = (of_lesion**0.75 + of_rest ** (0.75 if variant == "symmetric" else 1)) / 2
        assert region(*golden(activation)).item() == pytest.approx(by_hand)


class TestReference:
    @pytest.mark.parametrize(
        "params", [{}, {"focal_share": 0.2, "fn_weight": 0.8, "gamma": 0.3, "smooth": 0.5}, {"gamma": 0.0}, {"focal_share": 1.0}]
    )
    @each_variant
    @each_activation
    def test_hard_labels(self, activation: str, variant: str, params: dict[str, Any]) -> None:
        check_agreement(reference.unified_focal, "unified_focal", activation, {"variant": variant, **params})

    @each_variant
    @each_activation
    def test_soft_labels(self, activation: str, variant: str) -> None:
        check_agreement(reference.unified_focal, "unified_focal", activation, {"variant": variant}, soft=True)


class TestIdentities:
    @each_variant
    def test_two_classes_are_the_sigmoid_of_their_difference(self, variant: str) -> None:
        logits, target = problem("softmax", (2, 2, 7, 3))
        softmax = single("unified_focal", "softmax", 2, {"variant": variant, "gamma": 0.3})(logits, target)
        sigmoid = single("unified_focal", "sigmoid", 1, {"variant": variant, "gamma": 0.3})
        torch.testing.assert_close(softmax, sigmoid(logits[:, 1:] - logits[:, :1], target.unsqueeze(1)), rtol=1e-9, atol=0)

    def test_without_focus_both_variants_are_half_a_cross_entropy(self) -> None:
        logits, target = problem("sigmoid")
        params = {"gamma": 0.0, "fn_weight": 0.5, "focal_share": 1.0}
        half = single("bce", "sigmoid", 3)(logits, target) / 2
        for variant in ("asymmetric", "symmetric"):
            torch.testing.assert_close(single("unified_focal", "sigmoid", 3, {**params, "variant": variant})(logits, target), half)

    @each_activation
    def test_the_background_counts_whatever_the_setting_says(self, activation: str) -> None:
        logits, target = problem(activation)
        with_background, without = (
            value_and_gradient(single("unified_focal", activation, 3, include_background=background), logits, target)
            for background in (True, False)
        )
        torch.testing.assert_close(with_background, without, rtol=0, atol=0)


class TestEmpty:
    """One channel at p = 1/2 over 8 voxels without a lesion: FP = TN = 4; the background has TP 4, FN 4."""

    background = 0.6 * 4 / (4 + 0.6 * 4)

    @pytest.mark.parametrize(
        ("empty", "expected"),
        [("smooth", (background + math.sqrt(1.6 / 2.6)) / 2), ("skip", background), ("volume", (background + 4 / 8) / 2)],
    )
    def test_the_background_goes_on(self, empty: str, expected: float) -> None:
        """Smoothed by a voxel where it is the ratio."""
        smooth = 1.0 if empty == "smooth" else 0.0
        loss = single("unified_focal", "sigmoid", 1, {"focal_share": 0.0, "smooth": smooth}, empty=empty)
        value, gradient = value_and_gradient(loss, torch.zeros(1, 1, 8, dtype=torch.float64), torch.zeros(1, 1, 8, dtype=torch.uint8))
        if empty == "smooth":
            expected += (0.6 * 4 / (4 + 0.6 * 4 + 1) - self.background) / 2
        assert value.item() == pytest.approx(expected)
        assert (gradient > 1e-3).all()

    def test_a_full_image_is_an_empty_background(self) -> None:
        loss = single("unified_focal", "sigmoid", 1, {"focal_share": 0.0, "smooth": 0.0}, empty="skip")
        value = loss(torch.zeros(1, 1, 8), torch.ones(1, 1, 8, dtype=torch.uint8))
        assert value.item() == pytest.approx(math.sqrt(0.6 * 4 / (4 + 0.6 * 4)))


class TestGradient:
    @each_variant
    @each_activation
    def test_gradcheck(self, activation: str, variant: str) -> None:
        logits, target = problem(activation, (2, 3, 5))
        target[0] = 0
        for labels in (target, soft_labels(activation, (2, 3, 5))):
            for empty in ("smooth", "skip", "volume", "batch"):
                loss = single("unified_focal", activation, 3, {"variant": variant, "gamma": 0.7}, empty=empty, reduce_over="sample")
                assert torch.autograd.gradcheck(lambda z, loss=loss, labels=labels: loss(z, labels), logits.requires_grad_())

    @each_activation
    def test_saturated_logits_train(self, activation: str) -> None:
        """Where an implementation on clamped probabilities is dead: a miss pulls as a cross entropy does."""
        logits, target = (torch.tensor([[[-50.0, 30.0]]]), torch.tensor([[[1, 1]]]))
        if activation == "softmax":
            logits, target = torch.cat([torch.zeros_like(logits), logits], 1), target[:, 0]
        gradient = value_and_gradient(single("unified_focal", activation, logits.shape[1]), logits, target)[1]
        assert gradient[0, -1, 0].item() == pytest.approx(-0.5 * 0.6 / 2, rel=1e-3)


class TestRefusals:
    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"variant": "both"}, "variant must be asymmetric or symmetric"),
            ({"focal_share": 1.5}, "focal_share must be at least 0 and at most 1"),
            ({"fn_weight": -0.1}, "fn_weight must be at least 0 and at most 1"),
            ({"gamma": 1.0}, "gamma must be at least 0 and below 1"),
            ({"gamma": -0.5}, "gamma must be at least 0 and below 1"),
            ({"smooth": -1.0}, "smooth must be at least 0"),
        ],
    )
    def test_values_out_of_range(self, params: dict[str, Any], message: str) -> None:
        with pytest.raises(LossConfigError, match=message):
            single("unified_focal", "sigmoid", 1, params)
