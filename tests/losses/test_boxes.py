"""Losses of pairs of boxes: against torchvision, an independent reference, by hand, and where the formulas as printed break."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor

from medseg.losses.boxes import complete_iou_loss, distance_iou_loss, generalized_iou_loss
from tests.losses import reference_instance as reference

Loss = Callable[..., Tensor]
LOSSES: dict[str, Loss] = {"giou": generalized_iou_loss, "diou": distance_iou_loss, "ciou": complete_iou_loss}
PEERS: dict[str, Any] = {
    "giou": torchvision.ops.generalized_box_iou_loss,
    "diou": torchvision.ops.distance_box_iou_loss,
    "ciou": torchvision.ops.complete_box_iou_loss,
}
REFERENCES = {"giou": reference.generalised_iou, "diou": reference.distance_iou, "ciou": reference.complete_iou}
each_loss = pytest.mark.parametrize("name", LOSSES)
each_dimension = pytest.mark.parametrize(("name", "axes"), [("giou", 1), ("giou", 2), ("giou", 3), ("diou", 2), ("diou", 3), ("ciou", 2)])


def boxes(count: int, axes: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lows = 3 * torch.rand(count, axes, generator=generator, dtype=torch.float64)
    return lows, lows + 0.1 + 3 * torch.rand(count, axes, generator=generator, dtype=torch.float64)


def value_and_gradients(loss: Loss, *corners: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    leaves = [corner.clone().requires_grad_() for corner in corners]
    value = loss(*leaves)
    return value.detach(), torch.autograd.grad(value.sum(), leaves)


class TestAgreement:
    @each_loss
    def test_with_torchvision_in_value_and_gradient(self, name: str) -> None:
        ours, peers = [torch.cat(boxes(200, 2, seed), 1).requires_grad_() for seed in (0, 1)], []
        for box in ours:
            peers.append(box.detach().clone().requires_grad_())
        value = LOSSES[name](ours[0][:, :2], ours[0][:, 2:], ours[1][:, :2], ours[1][:, 2:])
        expected = PEERS[name](*peers)
        torch.testing.assert_close(value, expected, atol=1e-6, rtol=0)
        value.sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(ours[0].grad, peers[0].grad, atol=1e-5, rtol=0)
        assert ((value > 1).sum() > 20) & ((value < 1).sum() > 20)  # disjoint and overlapping ones are among them

    @each_dimension
    def test_with_the_independent_reference(self, name: str, axes: int) -> None:
        first, second = boxes(40, axes, 2), boxes(40, axes, 3)
        values = LOSSES[name](*first, *second)
        for index, value in enumerate(values.tolist()):
            pair = [(box[0][index].tolist(), box[1][index].tolist()) for box in (first, second)]
            assert value == pytest.approx(1 - REFERENCES[name](*pair), abs=1e-12)

    @each_dimension
    def test_gradients_are_those_of_the_value(self, name: str, axes: int) -> None:
        first, second = boxes(8, axes, 4), boxes(8, axes, 5)
        leaves = [corner.requires_grad_() for corner in first]
        if name != "ciou":  # whose alpha is a constant to the gradient
            assert torch.autograd.gradcheck(lambda low, high: LOSSES[name](low, high, *second), leaves)


class TestByHand:
    @pytest.mark.parametrize(("name", "value"), [("giou", 1 + 56 / 64), ("diou", 1 + 72 / 128), ("ciou", 1 + 72 / 128)])
    def test_boxes_six_apart_share_nothing(self, name: str, value: float) -> None:
        """A side of -4 times a side of -4 is no intersection of 16."""
        low, high = torch.zeros(2), torch.full((2,), 2.0)
        assert LOSSES[name](low, high, low + 6, high + 6).item() == pytest.approx(value)

    def test_disjoint_boxes_are_pulled_together(self) -> None:
        low, high = torch.zeros(1, 2), torch.full((1, 2), 2.0)
        for loss in LOSSES.values():
            _, (of_low, of_high, *_) = value_and_gradients(loss, low, high, low + 6, high + 6)
            assert (of_high < 0).all()  # to grow or move towards the other lowers the loss
            assert (of_low + of_high < 0).all()

    def test_a_centred_box_inside_another_has_its_aspect_compared(self) -> None:
        target = torch.tensor([-4.0, -4.0]), torch.tensor([4.0, 4.0])
        square = torch.tensor([-2.0, -2.0]), torch.tensor([2.0, 2.0])
        flat = torch.tensor([-4.0, -1.0]), torch.tensor([4.0, 1.0])
        assert distance_iou_loss(*square, *target) == distance_iou_loss(*flat, *target)
        assert complete_iou_loss(*square, *target) < complete_iou_loss(*flat, *target)

    def test_more_than_two_axes_have_no_aspect(self) -> None:
        with pytest.raises(ValueError, match="take the distance IoU"):
            complete_iou_loss(*boxes(1, 3, 0), *boxes(1, 3, 1))


@each_dimension
class TestEdges:
    def test_equal_boxes_lose_nothing_and_rest(self, name: str, axes: int) -> None:
        """CIoU as printed is NaN here, at its optimum."""
        box = boxes(20, axes, 6)
        value, gradients = value_and_gradients(LOSSES[name], *box, *box)
        torch.testing.assert_close(value, torch.zeros_like(value), atol=1e-12, rtol=0)
        assert all(gradient.isfinite().all() for gradient in gradients)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_degenerate_boxes_are_finite(self, name: str, axes: int, dtype: torch.dtype) -> None:
        point, line, unit = torch.zeros(1, axes, dtype=dtype), torch.zeros(1, axes, dtype=dtype), torch.ones(1, axes, dtype=dtype)
        line[:, 0] = 1
        tiny = torch.full_like(point, 1e-30)
        for high, target_low, target_high in [
            (point, point, point), (point, point, unit), (point, unit, unit), (point, unit, 2 * unit), (line, point, unit),
            (line, unit, 2 * unit), (line, point, line), (tiny, point, tiny), (tiny, point, unit), (tiny, unit, 1e9 * unit),
        ]:  # fmt: skip
            value, gradients = value_and_gradients(LOSSES[name], point, high, target_low, target_high)
            assert value.isfinite().all()
            assert (value >= 0).all()
            assert all(gradient.isfinite().all() for gradient in gradients), (high, target_low, target_high)

    def test_bounds_and_symmetry(self, name: str, axes: int) -> None:
        first, second = boxes(200, axes, 7), boxes(200, axes, 8)
        value = LOSSES[name](*first, *second)
        assert (value > 0).all()
        assert (value < {"giou": 2, "diou": 2, "ciou": 3}[name]).all()
        torch.testing.assert_close(value, LOSSES[name](*second, *first))

    def test_neither_place_nor_unit_matters(self, name: str, axes: int) -> None:
        first, second = boxes(20, axes, 9), boxes(20, axes, 10)
        moved = [3 * corner + 5 for corner in (*first, *second)]
        torch.testing.assert_close(LOSSES[name](*moved), LOSSES[name](*first, *second))
