"""The focal and the polynomial loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medseg.losses import LossConfigError
from tests.losses.problems import ACTIVATIONS, certain, golden, problem, single, value_and_gradient
from tests.losses.reference_distribution import poly

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
PARAMS: list[dict[str, Any]] = [{}, {"epsilon": -0.5}, {"epsilon": 2.0, "gamma": 2.0}, {"epsilon": 3.0, "gamma": 0.5}]


def compare(one: tuple[str, dict[str, Any]], other: tuple[str, dict[str, Any]], activation: str) -> None:
    logits, target = problem(activation)
    values = [value_and_gradient(single(name, activation, 3, params), logits, target) for name, params in (one, other)]
    torch.testing.assert_close(*values, rtol=1e-9, atol=1e-14)


class TestFocal:
    def test_each_voxel_is_discounted_by_its_own_probability(self) -> None:
        """The version that discounts the mean of the cross entropy would leave the ratio of the gradients at 9."""
        logits = torch.tensor([[[0.9, 0.1]]], dtype=torch.float64).logit()
        target = torch.ones(1, 1, 2)
        _, plain = value_and_gradient(single("bce", "sigmoid", 1), logits, target)
        _, focal = value_and_gradient(single("focal", "sigmoid", 1), logits, target)
        assert (plain[..., 1] / plain[..., 0]).item() == pytest.approx(9)
        by_hand = [(1 - p) ** 2 * (2 * p * torch.tensor(p).log().item() + p - 1) for p in (0.9, 0.1)]
        assert (focal[..., 1] / focal[..., 0]).item() == pytest.approx(by_hand[1] / by_hand[0], rel=1e-6)

    def test_a_number_is_no_weight_of_exclusive_classes(self) -> None:
        with pytest.raises(LossConfigError, match="alpha must be a list of one weight a class with softmax"):
            single("focal", "softmax", 3, {"alpha": 0.25})

    def test_a_share_of_the_positives_lies_in_0_to_1(self) -> None:
        with pytest.raises(LossConfigError, match=r"alpha must lie in \[0, 1\] with sigmoid"):
            single("focal", "sigmoid", 1, {"alpha": 3})


class TestPoly:
    @each_activation
    def test_the_golden_value(self, activation: str) -> None:
        loss = single("poly", activation, 1 if activation == "sigmoid" else 2)
        assert loss(*golden(activation)).item() == pytest.approx(0.587539, abs=6e-7)

    @pytest.mark.parametrize("params", PARAMS)
    @each_activation
    def test_the_reference(self, activation: str, params: dict[str, Any]) -> None:
        logits, target = problem(activation)
        target[..., 0] = 255
        weights = 3 * torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        options: dict[str, Any] = {"activation": activation, "ignore_index": 255, "weight_map": weights.numpy(), **params}
        value = single("poly", activation, 3, params, ignore_index=255)(logits, target, weights)
        assert value.item() == pytest.approx(poly(logits.numpy(), target.numpy(), **options), rel=1e-9)

    @pytest.mark.parametrize("params", PARAMS)
    @each_activation
    def test_soft_labels(self, activation: str, params: dict[str, Any]) -> None:
        logits, _ = problem(activation)
        other = problem(activation, seed=4)[0]
        soft: Tensor = other.softmax(1) if activation == "softmax" else other.sigmoid()
        expected = poly(logits.numpy(), soft.numpy(), activation=activation, **params)
        assert single("poly", activation, 3, params)(logits, soft).item() == pytest.approx(expected, rel=1e-9)

    def test_without_the_extra_it_is_cross_entropy(self) -> None:
        compare(("poly", {"epsilon": 0}), ("cross_entropy", {}), "softmax")
        compare(("poly", {"epsilon": 0}), ("bce", {}), "sigmoid")

    @each_activation
    def test_without_the_extra_it_is_focal_loss(self, activation: str) -> None:
        compare(("poly", {"epsilon": 0, "gamma": 1.5}), ("focal", {"gamma": 1.5}), activation)

    def test_two_classes_are_the_sigmoid_of_their_difference(self) -> None:
        logits, target = problem("softmax", (2, 2, 7, 3))
        softmax = single("poly", "softmax", 2)(logits, target)
        sigmoid = single("poly", "sigmoid", 1)(logits[:, 1:] - logits[:, :1], target.unsqueeze(1))
        torch.testing.assert_close(softmax, sigmoid, rtol=1e-9, atol=0)

    def test_the_gradient_near_a_right_prediction_is_one_plus_epsilon_times_that_of_cross_entropy(self) -> None:
        target = torch.ones(1, 1, 1)
        gradients = [
            value_and_gradient(single(*term), torch.full((1, 1, 1), 12.0, dtype=torch.float64), target)[1].item()
            for term in (("poly", "sigmoid", 1, {"epsilon": 3.0}), ("bce", "sigmoid", 1))
        ]
        assert gradients[0] / gradients[1] == pytest.approx(4, rel=1e-4)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    @pytest.mark.parametrize("params", PARAMS)
    @each_activation
    def test_saturated_logits(self, activation: str, params: dict[str, Any], dtype: torch.dtype) -> None:
        _, target = problem(activation)
        loss = single("poly", activation, 3, params)
        value, gradient = value_and_gradient(loss, certain(target, activation, 3, 1e4).to(dtype), target)
        assert value == 0
        assert gradient.abs().max() == 0
        value, gradient = value_and_gradient(loss, certain(target, activation, 3, -1e4).to(dtype), target)
        assert value.isfinite()
        assert gradient.isfinite().all()

    @each_activation
    def test_rounding_makes_no_negative_values(self, activation: str) -> None:
        """With an epsilon of -1 two sums are left that agree to 1e-16 of a voxel and are rounded to 1e-8."""
        noise, target = problem(activation, (2, 3, 200), scale=0.1)
        loss = single("poly", activation, 3, {"epsilon": -1})
        for strength in range(10, 40):
            assert loss(certain(target, activation, 3, strength) + noise.float(), target) >= 0

    def test_an_epsilon_that_would_make_it_negative_is_refused(self) -> None:
        with pytest.raises(LossConfigError, match="epsilon must be at least -1"):
            single("poly", "softmax", 2, {"epsilon": -1.1})
