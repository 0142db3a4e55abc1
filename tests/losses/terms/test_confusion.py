"""Sensitivity-specificity and Matthews' correlation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from medseg.losses import LossConfigError
from tests.losses import reference_region as reference
from tests.losses.problems import ACTIVATIONS, certain, golden, problem, single, value_and_gradient
from tests.losses.terms.agreement import check_agreement, soft_labels

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


class TestGoldenValues:
    @pytest.mark.parametrize(
        ("name", "params", "value"),
        [
            ("sensitivity_specificity", {}, 0.033),
            ("sensitivity_specificity", {"sensitivity_weight": 1.0}, 0.37 / 2),
            ("sensitivity_specificity", {"sensitivity_weight": 0.0}, 0.05 / 2),
            ("mcc", {}, 0.489690),
        ],
    )
    @each_activation
    def test_golden(self, name: str, params: dict[str, Any], value: float, activation: str) -> None:
        loss = single(name, activation, 1 if activation == "sigmoid" else 2, params)
        assert loss(*golden(activation)).item() == pytest.approx(value, abs=6e-7)


class TestReference:
    @pytest.mark.parametrize(
        ("name", "params"), [("sensitivity_specificity", {}), ("sensitivity_specificity", {"sensitivity_weight": 0.6}), ("mcc", {})]
    )
    @pytest.mark.parametrize("soft", [False, True])
    @each_activation
    def test_every_setting(self, name: str, params: dict[str, float], activation: str, soft: bool) -> None:
        check_agreement(getattr(reference, name), name, activation, params, soft=soft)


class TestSensitivitySpecificity:
    def test_no_mean_over_no_voxels(self) -> None:
        logits = torch.zeros(1, 1, 8, dtype=torch.float64)
        empty, gradient = value_and_gradient(
            single("sensitivity_specificity", "sigmoid", 1), logits, torch.zeros(1, 1, 8, dtype=torch.uint8)
        )
        full = single("sensitivity_specificity", "sigmoid", 1)(logits, torch.ones(1, 1, 8, dtype=torch.uint8))
        assert (empty.item(), full.item()) == pytest.approx((0.95 / 4, 0.05 / 4))
        assert gradient[0, 0].tolist() == pytest.approx([2 * 0.95 * 0.5 / 8 / 4] * 8)  # dp/dz = 1/4

    @pytest.mark.parametrize("share", [-0.1, 1.1])
    def test_a_share_out_of_range_is_refused(self, share: float) -> None:
        with pytest.raises(LossConfigError, match="sensitivity_weight must be at least 0 and at most 1"):
            single("sensitivity_specificity", "sigmoid", 1, {"sensitivity_weight": share})


class TestMatthewsCorrelation:
    def test_it_is_one_minus_the_correlation_of_hard_predictions(self) -> None:
        y, predicted = np.random.default_rng(0).integers(0, 2, (2, 40))
        logits, target = torch.from_numpy(100.0 * (2 * predicted - 1)).view(1, 1, -1), torch.from_numpy(y).view(1, 1, -1)
        assert single("mcc", "sigmoid", 1)(logits, target).item() == pytest.approx(1 - np.corrcoef(y, predicted)[0, 1], rel=1e-12)

    @each_activation
    def test_from_perfect_to_opposite(self, activation: str) -> None:
        _, target = problem(activation, (2, 2, 30))
        loss = single("mcc", activation, 2)
        perfect, opposite = (loss(certain(target, activation, 2, strength), target).item() for strength in (1e4, -1e4))
        assert (perfect, opposite) == (0, pytest.approx(2))

    def test_a_class_and_its_complement_have_the_same_value(self) -> None:
        logits, target = problem("sigmoid", (2, 1, 30))
        loss = single("mcc", "sigmoid", 1)
        one, other = value_and_gradient(loss, logits, target), value_and_gradient(loss, -logits, 1 - target)
        torch.testing.assert_close((one[0], one[1]), (other[0], -other[1]), rtol=1e-12, atol=1e-16)

    @pytest.mark.parametrize("predicted", [0.0, -1e4, 1e4])
    @pytest.mark.parametrize("reference_is", [0, 1])
    def test_without_anything_to_correlate_with_it_is_one_without_gradient(self, reference_is: int, predicted: float) -> None:
        target = torch.full((1, 1, 8), reference_is)
        value, gradient = value_and_gradient(single("mcc", "sigmoid", 1), torch.full((1, 1, 8), predicted), target)
        assert value.item() == 1
        assert gradient.abs().max() == 0

    def test_volume_pushes_false_positives_down_where_the_reference_is_empty(self) -> None:
        value, gradient = value_and_gradient(single("mcc", "sigmoid", 1, empty="volume"), torch.zeros(1, 1, 8), torch.zeros(1, 1, 8).byte())
        assert value.item() == 0.5
        assert (gradient > 0).all()

    def test_near_a_perfect_prediction_it_is_no_rounding_noise(self) -> None:
        """One voxel of each label, wrong by e: 1 - MCC = 2 e, which one minus a score would round to a multiple of 1e-16."""
        logits, target = torch.tensor([[[30.0, -30.0]]], dtype=torch.float64), torch.tensor([[[1, 0]]])
        wrong = math.exp(-30) / (1 + math.exp(-30))
        assert single("mcc", "sigmoid", 1)(logits, target).item() == pytest.approx(2 * wrong, rel=1e-9, abs=0)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_half_precision_changes_nothing_but_the_logits(self, dtype: torch.dtype) -> None:
        """Where other libraries give NaN: products of four counts overflow."""
        logits, target = problem("sigmoid", (1, 1, 512, 512))
        rounded = logits.to(dtype)
        value, gradient = value_and_gradient(single("mcc", "sigmoid", 1), rounded, target)
        assert value.item() == pytest.approx(single("mcc", "sigmoid", 1)(rounded.double(), target).item(), rel=1e-5)
        assert gradient.isfinite().all()

    @pytest.mark.parametrize("level", [-5.0, -20.0, -60.0, -87.0, -100.0, 5.0, 20.0, 60.0])
    def test_nothing_overflows_where_almost_nothing_or_everything_is_predicted(self, level: float) -> None:
        target = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
        target[..., 0, 0] = 1
        value, gradient = value_and_gradient(single("mcc", "sigmoid", 1), torch.full((1, 1, 64, 64), level), target)
        assert value.item() == pytest.approx(1, abs=1e-2)
        assert gradient.isfinite().all()

    def test_gradcheck_of_soft_labels(self) -> None:
        for activation in ACTIVATIONS:
            logits, target = problem(activation, (2, 3, 5))[0].requires_grad_(), soft_labels(activation, (2, 3, 5))
            loss = single("mcc", activation, 3, reduce_over="sample")
            assert torch.autograd.gradcheck(lambda z, loss=loss, target=target: loss(z, target), logits)
