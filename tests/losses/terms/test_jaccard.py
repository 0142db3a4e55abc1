"""Jaccard, and the metric forms for soft labels."""

from __future__ import annotations

import pytest
import torch

from medseg.losses import LossConfigError
from tests.losses import reference_region as reference
from tests.losses.problems import ACTIVATIONS, golden, problem, single, value_and_gradient
from tests.losses.terms.agreement import check_agreement, soft_labels

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
each_name = pytest.mark.parametrize("name", ["jaccard", "jaccard_metric", "dice_semimetric"])
METRICS = ["jaccard_metric", "dice_semimetric"]


class TestGoldenValues:
    @pytest.mark.parametrize(("name", "value"), [("jaccard", 0.434783), ("jaccard_metric", 0.434783), ("dice_semimetric", 0.277778)])
    @each_activation
    def test_hard_labels(self, name: str, value: float, activation: str) -> None:
        loss = single(name, activation, 1 if activation == "sigmoid" else 2, {"smooth": 0.0})
        assert loss(*golden(activation)).item() == pytest.approx(value, abs=6e-7)

    @pytest.mark.parametrize(("name", "value"), [("jaccard_metric", 0.4), ("dice_semimetric", 0.25)])
    def test_soft_labels(self, name: str, value: float) -> None:
        p, y = torch.tensor([[[0.5, 0.2]]], dtype=torch.float64), torch.tensor([[[0.8, 0.1]]], dtype=torch.float64)
        assert single(name, "sigmoid", 1, {"smooth": 0.0})(p.logit(), y).item() == pytest.approx(value)


class TestReference:
    @pytest.mark.parametrize("params", [{}, {"smooth": 2.0}])
    @pytest.mark.parametrize("soft", [False, True])
    @each_activation
    @each_name
    def test_every_setting(self, name: str, activation: str, soft: bool, params: dict[str, float]) -> None:
        check_agreement(getattr(reference, name), name, activation, params, soft=soft)


class TestIdentities:
    @each_activation
    def test_jaccard_is_tversky_of_ones(self, activation: str) -> None:
        logits, target = problem(activation)
        tversky = single("tversky", activation, 3, {"fn_weight": 1.0, "fp_weight": 1.0})
        jaccard = value_and_gradient(single("jaccard", activation, 3), logits, target)
        torch.testing.assert_close(jaccard, value_and_gradient(tversky, logits, target), rtol=1e-12, atol=0)

    def test_jaccard_follows_from_dice(self) -> None:
        logits, target = problem("sigmoid", (1, 1, 30))
        dice, jaccard = (single(name, "sigmoid", 1, {"smooth": 0.0})(logits, target) for name in ("dice", "jaccard"))
        torch.testing.assert_close(jaccard, 2 * dice / (1 + dice), rtol=1e-12, atol=0)

    @pytest.mark.parametrize(("metric", "plain"), [("jaccard_metric", "jaccard"), ("dice_semimetric", "dice")])
    @each_activation
    def test_on_hard_labels_the_metrics_are_the_plain_forms(self, metric: str, plain: str, activation: str) -> None:
        logits, target = problem(activation)
        masks = target.double() if activation == "sigmoid" else torch.nn.functional.one_hot(target, 3).movedim(-1, 1).double()
        expected = value_and_gradient(single(plain, activation, 3, {"smooth": 1e-3}), logits, target)
        for labels in (target, masks):
            torch.testing.assert_close(value_and_gradient(single(metric, activation, 3), logits, labels), expected, rtol=1e-9, atol=1e-12)


class TestSoftLabels:
    @pytest.mark.parametrize("name", METRICS)
    def test_the_metrics_are_zero_just_where_prediction_and_label_agree(self, name: str) -> None:
        y = soft_labels("sigmoid").clamp(0.1, 0.9)
        loss = single(name, "sigmoid", 3)
        assert loss(y.logit(), y).item() < 1e-12
        assert loss(y.logit() + 0.1, y).item() > 1e-3
        assert loss(y.logit() - 0.1, y).item() > 1e-3

    @pytest.mark.parametrize(("metric", "plain"), [("jaccard_metric", "jaccard"), ("dice_semimetric", "dice")])
    def test_the_plain_forms_drive_a_sure_enough_voxel_beyond_its_label(self, metric: str, plain: str) -> None:
        y = torch.full((1, 1, 8), 0.8, dtype=torch.float64)
        value, gradient = value_and_gradient(single(plain, "sigmoid", 1), y.logit(), y)
        assert value > 0.1
        assert (gradient < -1e-4).all()
        value, gradient = value_and_gradient(single(metric, "sigmoid", 1), y.logit() + 0.1, y)
        assert (gradient > 1e-4).all()

    @pytest.mark.parametrize("name", METRICS)
    @each_activation
    def test_gradcheck(self, name: str, activation: str) -> None:
        logits, target = problem(activation, (2, 3, 5))[0].requires_grad_(), soft_labels(activation, (2, 3, 5))
        weights = torch.rand(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        for reduce_over in ("batch", "sample"):
            loss = single(name, activation, 3, reduce_over=reduce_over)
            assert torch.autograd.gradcheck(lambda z, loss=loss: loss(z, target, weights), logits)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("strength", [1e4, -1e4])
    @pytest.mark.parametrize("name", METRICS)
    @each_activation
    def test_saturated_logits_stay_finite(self, name: str, activation: str, strength: float, dtype: torch.dtype) -> None:
        y = soft_labels(activation)
        value, gradient = value_and_gradient(single(name, activation, 3), (strength * (y - 0.5).sign()).to(dtype), y)
        assert value.isfinite()
        assert value >= 0
        assert gradient.isfinite().all()

    @pytest.mark.parametrize("name", METRICS)
    def test_a_small_structure_is_counted_in_a_large_image(self, name: str) -> None:
        """Where a difference of norms in float32 has lost it."""
        target = torch.zeros(1, 1, 2048, 1024)
        target[..., 0, 0] = 1.0
        logits = torch.full_like(target, -30.0)
        logits[..., 0, 0] = 0.0
        value = single(name, "sigmoid", 1, {"smooth": 0.0})(logits, target)
        assert value.item() == pytest.approx(0.5 if name == "jaccard_metric" else 0.5 / 1.5, rel=1e-5)


class TestRefusals:
    @each_name
    def test_a_negative_smoothing(self, name: str) -> None:
        with pytest.raises(LossConfigError, match="smooth must be at least 0"):
            single(name, "sigmoid", 1, {"smooth": -1.0})
