"""The weighted sum: names, weights, schedules, deep supervision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import MetaTensor

from medseg.losses import WeightedLoss, build_loss
from tests.losses.problems import ACTIVATIONS, problem, single, value_and_gradient


def both(activation: str, **settings: Any) -> WeightedLoss:
    terms = [{"name": "dice", "weight": 0.25}, {"name": "focal", "weight": 2.0}]
    return build_loss({"activation": activation, "terms": terms, **settings}, 3)


class TestSum:
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_it_is_the_weighted_sum_of_its_terms(self, activation: str) -> None:
        logits, target = problem(activation)
        dice, focal = (value_and_gradient(single(name, activation, 3), logits, target) for name in ("dice", "focal"))
        value, gradient = value_and_gradient(both(activation), logits, target)
        torch.testing.assert_close(value, 0.25 * dice[0] + 2 * focal[0], rtol=1e-12, atol=0)
        torch.testing.assert_close(gradient, 0.25 * dice[1] + 2 * focal[1], rtol=1e-9, atol=1e-14)

    def test_terms_are_named_unweighted_and_detached(self) -> None:
        logits, target = problem("softmax")
        total, terms = both("softmax").with_terms(logits.requires_grad_(), target)
        assert list(terms) == ["dice", "focal"]
        assert terms["dice"] == single("dice", "softmax", 3)(logits, target).detach()
        assert total.requires_grad
        assert not any(value.requires_grad for value in terms.values())
        assert total.shape == terms["dice"].shape == ()

    def test_names_that_repeat_are_numbered(self) -> None:
        terms = [{"name": "dice", "params": {"smooth": smooth}} for smooth in (0.0, 1.0, 10.0)]
        loss = build_loss({"activation": "softmax", "terms": terms}, 3)
        logits, target = problem("softmax")
        _, values = loss.with_terms(logits, target)
        assert list(values) == ["dice", "dice_2", "dice_3"]
        assert values["dice"] > values["dice_2"] > values["dice_3"]

    def test_scheduled_weights_follow_the_epoch(self) -> None:
        schedule = {"schedule": "linear", "start": 0.0, "end": 1.0, "epochs": 10}
        loss = build_loss({"activation": "softmax", "terms": [{"name": "dice"}, {"name": "cross_entropy", "weight": schedule}]}, 3)
        logits, target = problem("softmax")
        dice, cross_entropy = (single(name, "softmax", 3)(logits, target) for name in ("dice", "cross_entropy"))
        for epoch, weight in ((0, 0.0), (5, 0.5), (10, 1.0), (99, 1.0), (0, 0.0)):
            loss.set_epoch(epoch)
            torch.testing.assert_close(loss(logits, target), dice + weight * cross_entropy, rtol=1e-12, atol=0)

    def test_it_has_no_state(self) -> None:
        assert both("softmax").state_dict() == {}

    def test_tensors_with_metadata(self) -> None:
        logits, target = problem("softmax")
        plain = value_and_gradient(both("softmax"), logits, target)
        z = MetaTensor(logits).requires_grad_()
        value = both("softmax")(z, MetaTensor(target))
        (gradient,) = torch.autograd.grad(value, z)
        assert type(value) is torch.Tensor
        torch.testing.assert_close((value.detach(), gradient.as_subclass(torch.Tensor)), plain)

    def test_without_gradients(self) -> None:
        logits, target = problem("softmax")
        with torch.no_grad():
            value = both("softmax")(logits, target)
        assert not value.requires_grad
        assert value == both("softmax")(logits, target)

    def test_inference_mode(self) -> None:
        logits, target = problem("sigmoid")
        with torch.inference_mode():
            assert both("sigmoid")(logits, target).isfinite()


class TestDeepSupervision:
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_levels_weigh_half_of_the_finer_each(self, activation: str) -> None:
        logits, target = problem(activation, (2, 3, 8, 12))
        target[..., 0] = 255
        weights = torch.rand(2, 8, 12, generator=torch.Generator().manual_seed(0))
        levels = [logits, problem(activation, (2, 3, 4, 6), 1)[0], problem(activation, (2, 3, 2, 3), 2)[0]]
        loss = both(activation, ignore_index=255)
        half, quarter = target[..., 1::2, 1::2], target[..., 2::4, 2::4]
        values = [
            loss(*parts)
            for parts in zip(levels, (target, half, quarter), (weights, weights[:, 1::2, 1::2], weights[:, 2::4, 2::4]), strict=True)
        ]
        expected = (values[0] + values[1] / 2 + values[2] / 4) / 1.75
        torch.testing.assert_close(loss(levels, target, weights), expected, rtol=1e-12, atol=0)

    def test_terms_are_averaged_as_the_total_is(self) -> None:
        logits, target = problem("softmax", (2, 3, 8, 12))
        total, terms = both("softmax").with_terms((logits, problem("softmax", (2, 3, 4, 6), 1)[0]), target)
        torch.testing.assert_close(total, 0.25 * terms["dice"] + 2 * terms["focal"], rtol=1e-12, atol=0)

    def test_one_level_is_no_list(self) -> None:
        logits, target = problem("softmax")
        assert both("softmax")([logits], target) == both("softmax")(logits, target)

    def test_levels_of_equal_resolution(self) -> None:
        logits, target = problem("softmax")
        torch.testing.assert_close(both("softmax")([logits, logits], target), both("softmax")(logits, target), rtol=1e-12, atol=0)

    def test_every_level_gets_a_gradient(self) -> None:
        fine, target = problem("softmax", (2, 3, 8, 12))
        coarse = problem("softmax", (2, 3, 4, 6), 1)[0].requires_grad_()
        both("softmax")([fine.requires_grad_(), coarse], target).backward()
        assert fine.grad is not None
        assert coarse.grad is not None
        assert coarse.grad.abs().sum() > 0
