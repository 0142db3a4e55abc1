"""Terms of a `boxes` head: by hand, at their edges, and trained until the boxes fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medseg.losses import LossInputError, WeightedLoss, build_loss
from medseg.losses.heads import Boxes
from tests.losses.test_heads import blobs, view_of

NAMES = ("giou", "diou", "ciou")
each_term = pytest.mark.parametrize("name", NAMES)
each_dimension = pytest.mark.parametrize(("name", "axes"), [("giou", 2), ("giou", 3), ("diou", 2), ("diou", 3), ("ciou", 2)])


def make(name: str, classes: int = 1, **settings: Any) -> WeightedLoss:
    config = {"activation": "sigmoid", "terms": [{"name": name, "head": "box"}], **settings}
    return build_loss(config, classes, {"box": {"name": "boxes", "params": {"scale": 1.0}}})


def value_of(loss: WeightedLoss, output: Tensor, target: Tensor, weight_map: Tensor | None = None) -> Tensor:
    logits = torch.zeros(len(output), target.shape[1], *output.shape[2:], dtype=output.dtype)
    return loss({"segmentation": logits, "box": output}, target, weight_map)


def value_and_gradient(loss: WeightedLoss, output: Tensor, target: Tensor, weight_map: Tensor | None = None) -> tuple[Tensor, Tensor]:
    output = output.clone().requires_grad_()
    value = value_of(loss, output, target, weight_map)
    (gradient,) = torch.autograd.grad(value, output)
    return value.detach(), gradient


def exact(target: Tensor) -> Tensor:
    """Outputs that give each lesion voxel its lesion's box, for a scale of 1."""
    axes = target.ndim - 2
    output = torch.zeros(len(target), 2 * axes, *target.shape[2:], dtype=torch.float64)
    sides = Boxes("x").sides(view_of(target, output))
    output.movedim(1, -1)[target[:, 0] > 0] = sides.target.double().expm1().log().flatten(1)
    return output


class TestByHand:
    @pytest.mark.parametrize(
        ("name", "value"),
        # A box of 1 x 3 for a lesion of 3 x 1: overlap 1 of 5, hull 9, same centre, angles arctan 3 and arctan 1 / 3.
        [("giou", 0.8 + 4 / 9), ("diou", 0.8), ("ciou", 0.8 + 0.3484948 * 0.3484948 / (0.8 + 0.3484948))],
    )
    def test_a_box_across_its_lesion(self, name: str, value: float) -> None:
        target = torch.zeros(1, 1, 5, 5, dtype=torch.uint8)
        target[0, 0, 1:4, 2] = 1
        weight = torch.zeros(1, 1, 5, 5)
        weight[0, 0, 2, 2] = 1
        output = torch.tensor([0.5, 1.5, 0.5, 1.5], dtype=torch.float64).expm1().log().view(1, 4, 1, 1).expand(1, 4, 5, 5)
        loss = make(name)
        lesions = {"lesions": loss.derive(target)["lesions"]}  # with the voxels that the weight removes
        outputs = {"segmentation": torch.zeros(1, 1, 5, 5), "box": output}
        assert loss(outputs, target, weight, maps=lesions).item() == pytest.approx(value, abs=1e-6)

    @each_term
    def test_lesions_count_alike_whatever_their_size(self, name: str) -> None:
        target = torch.zeros(1, 1, 6, 12, dtype=torch.uint8)
        target[..., 0, 0] = target[..., 1:5, 4:9] = 1
        right, wrong = exact(target), torch.full((1, 4, 6, 12), 2.0, dtype=torch.float64)
        small = torch.zeros(6, 12, dtype=torch.bool)
        small[0, 0] = True
        values = [value_of(make(name), output, target) for output in (torch.where(small, wrong, right), torch.where(small, right, wrong))]
        alone = torch.zeros_like(target)
        alone[..., 0, 0] = 1
        assert values[0].item() == pytest.approx(value_of(make(name), wrong, alone).item() / 2)
        alone = target - alone
        assert values[1].item() == pytest.approx(value_of(make(name), wrong, alone).item() / 2)


@each_dimension
class TestEdges:
    def data(self, axes: int) -> tuple[Tensor, Tensor]:
        shape = (9, 8, 7)[:axes]
        target = blobs(2, 1, *shape, share=0.08)
        output = torch.randn(2, 2 * axes, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        return output, target

    def test_the_right_boxes_lose_nothing(self, name: str, axes: int) -> None:
        _, target = self.data(axes)
        value, gradient = value_and_gradient(make(name), exact(target), target)
        assert value.item() == pytest.approx(0, abs=1e-9)
        assert gradient.isfinite().all()

    def test_gradients_are_right_and_stay_within_lesions(self, name: str, axes: int) -> None:
        output, target = self.data(axes)
        value, gradient = value_and_gradient(make(name), output, target)
        assert value > 0
        assert torch.equal((gradient != 0).any(1), target[:, 0] > 0)
        if name != "ciou":  # whose alpha is a constant to the gradient
            place = tuple((target[:, 0] > 0).nonzero()[0].tolist())

            def of_one(sides: Tensor) -> Tensor:
                moved = output.movedim(1, -1).clone()
                moved[place] = sides
                return value_of(make(name), moved.movedim(-1, 1), target)

            assert torch.autograd.gradcheck(of_one, output.movedim(1, -1)[place].clone().requires_grad_())

    def test_no_lesion_is_a_connected_zero(self, name: str, axes: int) -> None:
        output, target = self.data(axes)
        loss = make(name, ignore_index=255)
        for nothing in (torch.zeros_like(target), torch.full_like(target, 255)):
            value, gradient = value_and_gradient(loss, output, nothing)
            assert value == 0
            assert (gradient == 0).all()
        value, gradient = value_and_gradient(loss, output, target, torch.zeros_like(target).float())
        assert value == 0
        assert (gradient == 0).all()

    def test_a_sample_without_lesions_is_not_in_the_mean(self, name: str, axes: int) -> None:
        output, target = self.data(axes)
        target[1] = 0
        torch.testing.assert_close(value_of(make(name), output, target), value_of(make(name), output[:1], target[:1]))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    @pytest.mark.parametrize("size", [1e4, -1e4])
    def test_saturated_outputs_are_finite(self, name: str, axes: int, dtype: torch.dtype, size: float) -> None:
        _, target = self.data(axes)
        output = torch.full((2, 2 * axes, *target.shape[2:]), size, dtype=dtype)
        value, gradient = value_and_gradient(make(name), output, target)
        assert value.isfinite()
        assert gradient.isfinite().all()

    def test_an_ignored_lesion_is_none_and_a_weight_of_two_is_the_voxel_twice(self, name: str, axes: int) -> None:
        output, target = self.data(axes)
        loss = make(name, ignore_index=255)
        blind = target.clone()
        blind[1][target[1] > 0] = 255
        cleared = target.clone()
        cleared[1] = 0
        torch.testing.assert_close(value_of(loss, output, blind), value_of(loss, output, cleared))
        everywhere = torch.full(target.shape, 2.0)
        torch.testing.assert_close(value_of(loss, output, target, everywhere), value_of(loss, output, target))

    def test_descent_reaches_the_boxes(self, name: str, axes: int) -> None:
        _, target = self.data(axes)
        output = torch.zeros(2, 2 * axes, *target.shape[2:], requires_grad=True)
        loss, optimizer = make(name), torch.optim.Adam([output], lr=0.1)
        values = []
        for _ in range(200):
            optimizer.zero_grad()
            value = value_of(loss, output, target)
            value.backward()
            optimizer.step()
            values.append(value.item())
        assert values[0] > 0.3
        assert values[-1] < 0.1 * values[0]


class TestDimensions:
    def test_ciou_refuses_volumes(self) -> None:
        with pytest.raises(LossInputError, match="take diou"):
            value_of(make("ciou"), torch.zeros(1, 6, 4, 4, 4), torch.ones(1, 1, 4, 4, 4, dtype=torch.uint8))

    @pytest.mark.parametrize("name", ["giou", "diou"])
    def test_signals_have_boxes_too(self, name: str) -> None:
        target = torch.tensor([[[0, 1, 1, 0]]], dtype=torch.uint8)
        assert value_of(make(name), exact(target), target).item() == pytest.approx(0, abs=1e-9)
