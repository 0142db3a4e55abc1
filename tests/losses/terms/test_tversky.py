"""F-beta."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medseg.losses import LossConfigError
from tests.losses import reference_region as reference
from tests.losses.problems import ACTIVATIONS, golden, problem, single, value_and_gradient
from tests.losses.terms.agreement import check_agreement

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


class TestFBeta:
    @pytest.mark.parametrize(("beta", "value"), [(2.0, 0.62 / 1.92), (1.0, 0.277778), (0.5, 0.38 / 1.68)])
    @each_activation
    def test_golden(self, beta: float, value: float, activation: str) -> None:
        loss = single("f_beta", activation, 1 if activation == "sigmoid" else 2, {"beta": beta, "smooth": 0.0})
        assert loss(*golden(activation)).item() == pytest.approx(value, abs=6e-7)

    @pytest.mark.parametrize("params", [{}, {"beta": 3.0, "smooth": 1.0}])
    @pytest.mark.parametrize("soft", [False, True])
    @each_activation
    def test_reference(self, params: dict[str, Any], soft: bool, activation: str) -> None:
        check_agreement(reference.f_beta, "f_beta", activation, params, soft=soft)

    @each_activation
    def test_it_is_tversky_with_weights_from_beta(self, activation: str) -> None:
        logits, target = problem(activation)
        tversky = single("tversky", activation, 3, {"fn_weight": 2.25 / 3.25, "fp_weight": 1 / 3.25})
        f_beta = value_and_gradient(single("f_beta", activation, 3), logits, target)
        torch.testing.assert_close(f_beta, value_and_gradient(tversky, logits, target), rtol=1e-12, atol=1e-16)

    def test_hard_predictions_give_the_score(self) -> None:
        # 2 hits, 1 invention, 3 misses
        target, predicted = torch.tensor([[[1, 1, 0, 1, 1, 1, 0]]]), torch.tensor([[[1, 1, 1, 0, 0, 0, 0]]])
        precision, recall, square = 2 / 3, 2 / 5, 1.5**2
        score = (1 + square) * precision * recall / (square * precision + recall)
        value = single("f_beta", "sigmoid", 1, {"smooth": 0.0})(100.0 * (2 * predicted - 1), target)
        assert value.item() == pytest.approx(1 - score)

    @pytest.mark.parametrize("params", [{"beta": 0.0}, {"beta": -1.0}])
    def test_a_beta_that_is_not_positive_is_refused(self, params: dict[str, float]) -> None:
        with pytest.raises(LossConfigError, match="beta must be above 0"):
            single("f_beta", "sigmoid", 1, params)
