"""Losses of an error: of probabilities against the independent reference, of heads against their targets, and the functions themselves."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from medseg.losses import build_loss
from tests.losses import reference_instance as reference
from tests.losses.problems import ACTIVATIONS, golden, problem, single, value_and_gradient
from tests.losses.terms.agreement import check_agreement

VARIANTS: list[tuple[str, dict[str, Any]]] = [("mse", {}), ("mae", {}), ("huber", {}), ("huber", {"delta": 0.3}), ("log_cosh", {})]
each_term = pytest.mark.parametrize(("name", "params"), VARIANTS)
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def of_head(
    name: str, params: dict[str, Any], heads: dict[str, Any], activation: str = "sigmoid", classes: int = 1, **settings: Any
) -> Any:
    (head,) = heads
    config = {"activation": activation, "terms": [{"name": name, "head": head, "params": params}], **settings}
    return build_loss(config, classes, heads)


class TestProbabilities:
    @each_term
    @each_activation
    @pytest.mark.parametrize("soft", [False, True])
    def test_every_setting_agrees_with_the_reference(self, name: str, params: dict[str, Any], activation: str, soft: bool) -> None:
        def of_voxels(*data: Any, empty: str, **options: Any) -> float:
            """Without the setting that no voxelwise loss knows."""
            return reference.TERMS[name](*data, **options)

        check_agreement(of_voxels, name, activation, params, soft=soft)

    @each_activation
    @pytest.mark.parametrize(("name", "value"), [("mse", 0.105), ("mae", 0.25), ("huber", 0.0525), ("log_cosh", 0.049997)])
    def test_golden_voxels(self, name: str, value: float, activation: str) -> None:
        classes = 1 if activation == "sigmoid" else 2
        assert single(name, activation, classes)(*golden(activation)).item() == pytest.approx(value, abs=1e-6)

    @each_activation
    def test_torch_says_the_same(self, activation: str) -> None:
        logits, target = problem(activation)
        p = logits.sigmoid() if activation == "sigmoid" else logits.softmax(1)
        y = target.double() if activation == "sigmoid" else F.one_hot(target, 3).movedim(-1, 1).double()
        assert single("mse", activation, 3)(logits, target).item() == pytest.approx(F.mse_loss(p, y).item())
        assert single("mae", activation, 3)(logits, target).item() == pytest.approx(F.l1_loss(p, y).item())
        huber = single("huber", activation, 3, {"delta": 0.2})(logits, target).item()
        assert huber == pytest.approx(F.huber_loss(p, y, delta=0.2).item())
        assert huber / 0.2 == pytest.approx(F.smooth_l1_loss(p, y, beta=0.2).item())

    @each_term
    def test_a_perfect_prediction_has_a_gradient_of_zero_not_of_nan(self, name: str, params: dict[str, Any]) -> None:
        """Blogs' L2 is a square root, whose gradient at 0 is NaN."""
        target = torch.tensor([[[1, 0, 1]]])
        value, gradient = value_and_gradient(single(name, "sigmoid", 1, params), 200.0 * (2 * target - 1), target)
        assert value == 0
        assert (gradient == 0).all()


class TestErrors:
    """The functions, by a head whose target is 1 everywhere: an empty patch."""

    def value(self, name: str, errors: list[float], dtype: torch.dtype = torch.float64, **params: Any) -> Tensor:
        loss = of_head(name, params, {"distance": {"name": "signed_distance"}})
        output = (1 + torch.tensor(errors, dtype=dtype)).view(1, 1, -1).requires_grad_()
        value = loss({"segmentation": torch.zeros_like(output), "distance": output}, torch.zeros(1, 1, len(errors), dtype=torch.uint8))
        (gradient,) = torch.autograd.grad(value, output)
        assert gradient.isfinite().all()
        return value.detach()

    @pytest.mark.parametrize("error", [-3.0, -1.0, -1e-3, 0.0, 0.5, 1.0, 1.0001, 4.0])
    def test_log_cosh_is_the_logarithm_of_cosh(self, error: float) -> None:
        error = (1 + error) - 1  # as rounded
        assert self.value("log_cosh", [error]).item() == pytest.approx(math.log(math.cosh(error)), rel=1e-9, abs=1e-15)

    def test_log_cosh_does_not_overflow(self) -> None:
        assert self.value("log_cosh", [1e4], torch.float32).item() == pytest.approx(1e4 - math.log(2))

    def test_log_cosh_of_a_small_error_is_not_rounding_noise(self) -> None:
        error = 2.0**-12
        assert self.value("log_cosh", [error], torch.float32).item() == pytest.approx(error**2 / 2, rel=1e-5)

    def test_huber_joins_the_square_to_the_line(self) -> None:
        assert self.value("huber", [0.4, -2.0], delta=0.5).item() == pytest.approx((0.08 + 0.5 * 1.75) / 2)

    def test_mae_and_mse(self) -> None:
        assert self.value("mae", [0.5, -2.0]).item() == pytest.approx(1.25)
        assert self.value("mse", [0.5, -2.0]).item() == pytest.approx(2.125)

    def test_delta_must_be_above_zero(self) -> None:
        with pytest.raises(ValueError, match="delta must be above 0"):
            self.value("huber", [1.0], delta=0.0)


@each_term
class TestHeads:
    def data(self, activation: str) -> tuple[dict[str, Tensor], Tensor]:
        generator = torch.Generator().manual_seed(3)
        logits, target = problem(activation, (2, 3, 7, 6))
        channels = 3 if activation == "sigmoid" else 2
        return {"segmentation": logits, "distance": torch.randn(2, channels, 7, 6, generator=generator, dtype=torch.float64)}, target

    @each_activation
    def test_ignored_voxels_and_weights_hold(self, name: str, params: dict[str, Any], activation: str) -> None:
        """Ignored is as good as of weight 0, and a voxel of weight 2 counts twice."""
        outputs, target = self.data(activation)
        loss = of_head(name, params, {"distance": {"name": "signed_distance", "params": {"limit": 2.0}}}, activation, 3, ignore_index=255)
        weight = torch.randint(0, 3, (2, 7, 6), generator=torch.Generator().manual_seed(4)).double()
        gone = weight == 0
        blind = target.clone()
        blind[gone.unsqueeze(1).expand_as(target) if activation == "sigmoid" else gone] = 255
        weighted = loss(outputs, target, weight)
        assert loss(outputs, blind, weight.clamp_min(1)).item() == pytest.approx(weighted.item())
        changed = torch.where(gone.unsqueeze(1), 1e3, outputs["distance"])
        assert loss({**outputs, "distance": changed}, target, weight).item() == pytest.approx(weighted.item())

    @each_activation
    def test_all_ignored_is_a_connected_zero(self, name: str, params: dict[str, Any], activation: str) -> None:
        outputs, target = self.data(activation)
        output = outputs["distance"].requires_grad_()
        loss = of_head(name, params, {"distance": {"name": "signed_distance"}}, activation, 3, ignore_index=255)
        value = loss(outputs, torch.full_like(target, 255))
        assert value == 0
        (gradient,) = torch.autograd.grad(value, output)
        assert (gradient == 0).all()

    @each_activation
    def test_the_target_itself_costs_nothing_and_gradients_are_right(self, name: str, params: dict[str, Any], activation: str) -> None:
        outputs, target = self.data(activation)
        loss = of_head(name, params, {"distance": {"name": "signed_distance", "params": {"limit": 2.0}}}, activation, 3)
        distance = loss.derive(target if activation == "sigmoid" else target.unsqueeze(1))["signed_distance"]
        assert loss({**outputs, "distance": (distance / 2).clamp(-1, 1)}, target) == 0
        output = outputs["distance"].requires_grad_()
        assert torch.autograd.gradcheck(lambda x: loss({**outputs, "distance": x}, target), output)

    def test_sides_of_boxes_count_a_lesion_as_much_as_another(self, name: str, params: dict[str, Any]) -> None:
        loss = of_head(name, params, {"box": {"name": "boxes", "params": {"scale": 1.0}}})
        target = torch.zeros(1, 1, 1, 9, dtype=torch.uint8)
        target[..., 0] = target[..., 2:8] = 1
        segmentation = torch.zeros(1, 1, 1, 9, dtype=torch.float64)
        right = torch.full((1, 4, 1, 9), 0.5, dtype=torch.float64)
        right[0, 1, 0, 2:8] = torch.arange(6) + 0.5
        right[0, 3, 0, 2:8] = 5.5 - torch.arange(6)
        exact = right.expm1().log()
        assert loss({"segmentation": segmentation, "box": exact}, target).item() == pytest.approx(0, abs=1e-12)
        wrong = []
        for first in (slice(0, 1), slice(2, 8)):
            sides = right.clone()
            sides[..., first] += 0.4
            wrong.append(loss({"segmentation": segmentation, "box": sides.expm1().log()}, target).item())
        assert wrong[0] == pytest.approx(wrong[1])
        assert wrong[0] > 0
