"""Squared Dice, Dice++ and log-cosh Dice."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medseg.losses import LossConfigError, LossInputError
from tests.losses import reference_region as reference
from tests.losses.problems import ACTIVATIONS, golden, problem, single, value_and_gradient
from tests.losses.terms.agreement import check_agreement, soft_labels

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


class TestGoldenValues:
    @pytest.mark.parametrize(
        ("name", "params", "value"),
        [
            ("squared_dice", {}, 0.139073),
            ("squared_dice", {"smooth": 2.0}, 0.42 / 5.02),
            ("dice_plus_plus", {}, 0.139073),
            ("dice_plus_plus", {"exponent": 3.0}, 0.226 / 2.826),
            ("log_cosh_dice", {}, 0.038094),
        ],
    )
    @each_activation
    def test_golden(self, name: str, params: dict[str, Any], value: float, activation: str) -> None:
        loss = single(name, activation, 1 if activation == "sigmoid" else 2, {"smooth": 0.0, **params})
        assert loss(*golden(activation)).item() == pytest.approx(value, abs=6e-7)


class TestReference:
    @pytest.mark.parametrize(
        ("name", "params"),
        [
            ("squared_dice", {}),
            ("squared_dice", {"smooth": 3.0}),
            ("dice_plus_plus", {"exponent": 1.0}),
            ("dice_plus_plus", {"exponent": 2.5, "smooth": 0.0}),
            ("log_cosh_dice", {}),
            ("log_cosh_dice", {"smooth": 0.5}),
        ],
    )
    @each_activation
    def test_hard_labels(self, name: str, params: dict[str, Any], activation: str) -> None:
        check_agreement(getattr(reference, name), name, activation, params)

    @pytest.mark.parametrize("name", ["squared_dice", "log_cosh_dice"])
    @each_activation
    def test_soft_labels(self, name: str, activation: str) -> None:
        check_agreement(getattr(reference, name), name, activation, soft=True)


class TestIdentities:
    @pytest.mark.parametrize(("exponent", "same"), [(1.0, "dice"), (2.0, "squared_dice")])
    @each_activation
    def test_dice_plus_plus_bridges_dice_and_squared_dice(self, exponent: float, same: str, activation: str) -> None:
        logits, target = problem(activation)
        one = value_and_gradient(single("dice_plus_plus", activation, 3, {"exponent": exponent}), logits, target)
        other = value_and_gradient(single(same, activation, 3), logits, target)
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-14)

    def test_squared_dice_of_soft_labels_is_milletaris_ratio(self) -> None:
        logits, target = problem("sigmoid")[0], soft_labels("sigmoid")
        p = logits.sigmoid()
        by_hand = 1 - 2 * (p * target).sum((0, 2, 3)) / (p**2 + target**2).sum((0, 2, 3))
        torch.testing.assert_close(single("squared_dice", "sigmoid", 3, {"smooth": 0.0})(logits, target), by_hand.mean())

    @each_activation
    def test_squared_dice_of_masks_as_floats_is_that_of_integers(self, activation: str) -> None:
        logits, target = problem(activation)
        masks = target.double() if activation == "sigmoid" else torch.nn.functional.one_hot(target, 3).movedim(-1, 1).double()
        loss = single("squared_dice", activation, 3)
        torch.testing.assert_close(value_and_gradient(loss, logits, masks), value_and_gradient(loss, logits, target))

    def test_log_cosh_acts_on_each_class(self) -> None:
        logits, target = problem("sigmoid", (1, 2, 30))
        each = [single("dice", "sigmoid", 1)(logits[:, c : c + 1], target[:, c : c + 1]).cosh().log() for c in range(2)]
        torch.testing.assert_close(single("log_cosh_dice", "sigmoid", 2)(logits, target), sum(each) / 2)


class TestGradient:
    def test_a_missed_voxel_pulls_harder_than_in_dice(self) -> None:
        logits, target = torch.tensor([[[10.0, -14.0]]], dtype=torch.float64), torch.tensor([[[1, 1]]])
        slopes = [
            value_and_gradient(single(name, "sigmoid", 1, {"smooth": 0.0}), logits, target)[1][0, 0, 1].item()
            for name in ("squared_dice", "dice")
        ]
        # E = 1 of both at p = 0, hit 1: dL/dE = 2 / 9, dE/dp = -2 and -1; dL/d(2 TP) = -1 / 9 twice
        assert slopes[0] / slopes[1] == pytest.approx((2 * 2 + 2) / (2 + 2), rel=1e-3)

    def test_a_timid_false_positive_is_nearly_free(self) -> None:
        logits, target = torch.tensor([[[10.0, -7.0]]], dtype=torch.float64), torch.tensor([[[1, 0]]])
        squared, plain = (
            value_and_gradient(single(name, "sigmoid", 1, {"smooth": 0.0}), logits, target)[1][0, 0, 1].item()
            for name in ("squared_dice", "dice")
        )
        assert 0 < squared < 0.01 * plain

    @pytest.mark.parametrize("name", ["squared_dice", "log_cosh_dice"])
    @each_activation
    def test_gradcheck_of_soft_labels(self, name: str, activation: str) -> None:
        logits = problem(activation, (2, 3, 5))[0].requires_grad_()
        target = soft_labels(activation, (2, 3, 5))
        assert torch.autograd.gradcheck(lambda z: single(name, activation, 3, reduce_over="sample")(z, target), logits)

    @pytest.mark.parametrize("empty", ["smooth", "skip", "volume", "batch"])
    @each_activation
    def test_gradcheck_where_a_sample_lacks_a_class(self, empty: str, activation: str) -> None:
        logits, target = problem(activation, (2, 3, 5))
        target[0] = 0
        for reduce_over in ("batch", "sample"):
            loss = single("dice_plus_plus", activation, 3, {"exponent": 1.5}, empty=empty, reduce_over=reduce_over)
            assert torch.autograd.gradcheck(lambda z, loss=loss: loss(z, target), logits.requires_grad_())


class TestPrecision:
    def test_log_cosh_near_zero_is_half_a_square(self) -> None:
        """Where the logarithm of cosh in float64 is 0 or noise, of either sign."""
        logits, target = torch.tensor([[[25.0, -25.0]]], dtype=torch.float64), torch.tensor([[[1, 0]]])
        dice = single("dice", "sigmoid", 1)(logits, target).item()
        assert single("log_cosh_dice", "sigmoid", 1)(logits, target).item() == pytest.approx(dice**2 / 2, rel=1e-6, abs=0)


class TestRefusals:
    def test_dice_plus_plus_takes_no_soft_labels(self) -> None:
        with pytest.raises(LossInputError, match="dice_plus_plus takes no soft labels"):
            single("dice_plus_plus", "sigmoid", 3)(problem("sigmoid")[0], soft_labels("sigmoid"))

    @pytest.mark.parametrize(
        ("name", "params", "message"),
        [
            ("dice_plus_plus", {"exponent": 0.5}, "exponent must be at least 1"),
            ("dice_plus_plus", {"smooth": -1.0}, "smooth must be at least 0"),
            ("squared_dice", {"smooth": -1.0}, "smooth must be at least 0"),
            ("log_cosh_dice", {"smooth": -1.0}, "smooth must be at least 0"),
        ],
    )
    def test_values_out_of_range(self, name: str, params: dict[str, Any], message: str) -> None:
        with pytest.raises(LossConfigError, match=message):
            single(name, "sigmoid", 1, params)
