"""Center loss: by hand, its centres through training, and what becomes of an embedding that follows it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from medseg.losses import LossConfigError, LossInputError, WeightedLoss, build_loss
from tests.losses.problems import ACTIVATIONS, problem


def make(
    activation: str = "softmax", classes: int = 3, dimensions: int = 2, params: dict[str, Any] | None = None, **settings: Any
) -> WeightedLoss:
    config = {"activation": activation, "terms": [{"name": "center", "head": "features", "params": params or {}}], **settings}
    return build_loss(config, classes, {"features": {"name": "embedding", "params": {"dimensions": dimensions}}})


def centres(loss: WeightedLoss) -> Tensor:
    return loss.state_dict()["terms.center.centres"]


def data(activation: str, dimensions: int = 2) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Outputs, target, and each voxel's class as the term sees it."""
    logits, target = problem(activation, (2, 3, 6, 5))
    features = torch.randn(2, dimensions, 6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return {"segmentation": logits, "features": features}, target, target if activation == "softmax" else (target > 0).any(1).long()


def direct(features: Tensor, classes: Tensor, at: Tensor, margin: float = 0.0, weight: Tensor | None = None) -> float:
    """The formula, voxel by voxel."""
    total = whole = 0.0
    for sample in range(len(features)):
        for place in torch.cartesian_prod(*(torch.arange(n) for n in features.shape[2:])).tolist():
            f, own = features[(sample, slice(None), *place)], int(classes[(sample, *place)])
            w = 1.0 if weight is None else float(weight[(sample, *place)])
            apart = [float((f - c).square().sum()) for c in at]
            total += w / 2 * (apart[own] + sum(max(0.0, margin**2 - d) for k, d in enumerate(apart) if k != own))
            whole += w
    return total / whole


class TestValue:
    @pytest.mark.parametrize("margin", [0.0, 1.5])
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_is_the_formula(self, activation: str, margin: float) -> None:
        outputs, target, classes = data(activation)
        loss = make(activation, params={"margin": margin}).double()
        weight = 3 * torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        for _ in range(2):  # with centres at 0, then with others
            at = centres(loss).clone()
            assert loss(outputs, target, weight).item() == pytest.approx(direct(outputs["features"], classes, at, margin, weight))
        assert at.abs().min() > 0

    def test_ignored_voxels_do_not_count(self) -> None:
        outputs, target, classes = data("softmax")
        loss = make(ignore_index=255).double()
        blind = target.clone()
        blind[:, 2:4] = 255
        weight = torch.ones(2, 6, 5)
        weight[:, 2:4] = 0
        assert loss(outputs, blind).item() == pytest.approx(direct(outputs["features"], classes, torch.zeros(3, 2), weight=weight))
        moved = centres(loss).clone()
        other = make().double()
        other(outputs, target, weight)
        torch.testing.assert_close(moved, centres(other))

    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_all_ignored_is_a_connected_zero_and_moves_nothing(self, activation: str) -> None:
        outputs, target, _ = data(activation)
        loss = make(activation, ignore_index=255)
        value = loss({**outputs, "features": outputs["features"].requires_grad_()}, torch.full_like(target, 255))
        assert value == 0
        (gradient,) = torch.autograd.grad(value, outputs["features"])
        assert (gradient == 0).all()
        assert (centres(loss) == 0).all()

    @pytest.mark.parametrize("margin", [0.0, 1.5])
    def test_gradients_are_right(self, margin: float) -> None:
        outputs, target, _ = data("softmax")
        loss = make(params={"margin": margin}).double()
        loss(outputs, target)
        loss.eval()
        features = outputs["features"].requires_grad_()
        assert torch.autograd.gradcheck(lambda x: loss({**outputs, "features": x}, target), features)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_computed_in_single(self, dtype: torch.dtype) -> None:
        outputs, target, _ = data("softmax")
        half = {name: output.to(dtype) for name, output in outputs.items()}
        exact = {name: output.float() for name, output in half.items()}
        torch.testing.assert_close(make()(half, target), make()(exact, target))

    def test_autocast_changes_neither_value_nor_centres(self) -> None:
        outputs, target, _ = data("softmax")
        outputs = {name: output.float() for name, output in outputs.items()}
        plain, cast = make(params={"margin": 1.0}), make(params={"margin": 1.0})
        for _ in range(2):
            value = plain(outputs, target)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                torch.testing.assert_close(cast(outputs, target), value)
        torch.testing.assert_close(centres(cast), centres(plain))

    def test_large_features_are_finite(self) -> None:
        outputs, target, _ = data("softmax")
        outputs["features"] = torch.full((2, 2, 6, 5), 1e4, dtype=torch.float16, requires_grad=True)
        loss = make(params={"margin": 1.0})
        for _ in range(2):
            value = loss(outputs, target)
            (gradient,) = torch.autograd.grad(value, outputs["features"])
            assert value.isfinite()
            assert gradient.isfinite().all()


class TestCentres:
    @pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
    def test_move_by_the_rate_towards_the_means_after_the_loss(self, rate: float) -> None:
        outputs, target, classes = data("softmax")
        loss = make(params={"rate": rate}).double()
        expected = torch.zeros(3, 2, dtype=torch.float64)
        for _ in range(3):
            loss(outputs, target)
            for number in range(3):
                mean = outputs["features"].movedim(1, -1)[classes == number].mean(0)
                expected[number] += rate * (mean - expected[number])
        torch.testing.assert_close(centres(loss), expected)

    def test_an_absent_class_stays(self) -> None:
        outputs, target, _ = data("softmax")
        loss = make()
        loss(outputs, target)
        before = centres(loss).clone()
        loss(outputs, torch.where(target == 2, 0, target))
        assert torch.equal(centres(loss)[2], before[2])
        assert not torch.equal(centres(loss)[1], before[1])

    @pytest.mark.parametrize("bad", [float("inf"), float("nan")])
    def test_stay_where_features_overflow_and_go_on_after(self, bad: float) -> None:
        outputs, target, _ = data("softmax")
        loss, spared = make(params={"margin": 1.0}), make(params={"margin": 1.0})
        overflowed = outputs["features"].clone()
        overflowed[0, 0, 2, 3] = bad
        for one in (loss, spared):
            one(outputs, target)
        assert not loss({**outputs, "features": overflowed}, target).isfinite()  # so that the step is skipped
        assert torch.equal(centres(loss), centres(spared))
        assert loss(outputs, target) == spared(outputs, target)
        assert torch.equal(centres(loss), centres(spared))

    def test_rest_in_evaluation_mode(self) -> None:
        outputs, target, _ = data("softmax")
        loss = make().eval()
        loss(outputs, target)
        assert (centres(loss) == 0).all()

    def test_take_no_gradient_and_spoil_none(self) -> None:
        outputs, target, _ = data("softmax")
        loss = make(params={"margin": 1.0})
        features = outputs["features"].requires_grad_()
        total = loss({**outputs, "features": features}, target)
        total.backward()  # after the centres were moved in place
        assert features.grad is not None
        assert not list(loss.parameters())

    def test_a_restored_loss_goes_on_exactly(self) -> None:
        outputs, target, _ = data("sigmoid")
        unbroken, first, second = make("sigmoid"), make("sigmoid"), make("sigmoid")
        values = [unbroken(outputs, target).item() for _ in range(4)]
        halves = [first(outputs, target).item() for _ in range(2)]
        second.load_state_dict(first.state_dict())
        halves += [second(outputs, target).item() for _ in range(2)]
        assert values == halves


class TestLearning:
    def distance(self, margin: float) -> tuple[float, float]:
        """Spread within the classes, and between their means, after a descent on free features."""
        outputs, target, classes = data("softmax")
        features = (0.1 * outputs["features"].float()).requires_grad_()
        loss, optimizer = make(params={"margin": margin}), torch.optim.SGD([features], lr=10.0)
        for _ in range(200):
            optimizer.zero_grad()
            loss({**outputs, "features": features}, target).backward()
            optimizer.step()
        rows = features.detach().movedim(1, -1)
        means = torch.stack([rows[classes == number].mean(0) for number in range(3)])
        within = max((rows[classes == number] - means[number]).norm(dim=1).max().item() for number in range(3))
        return within, torch.pdist(means).min().item()

    def test_classes_gather_and_a_margin_keeps_them_apart(self) -> None:
        within, between = self.distance(1.0)
        assert within < 0.1
        assert between > 0.9

    def test_without_a_margin_nothing_pushes_them(self) -> None:
        within, between = self.distance(0.0)
        assert within < 0.1
        assert between < 0.1


class TestRefusals:
    @pytest.mark.parametrize(("params", "says"), [({"rate": 1.5}, "rate must be"), ({"margin": -1.0}, "margin must be at least 0")])
    def test_parameters_out_of_range(self, params: dict[str, Any], says: str) -> None:
        with pytest.raises(LossConfigError, match=says):
            make(params=params)

    def test_soft_labels(self) -> None:
        outputs, _, _ = data("softmax")
        with pytest.raises(LossInputError, match="takes no soft labels"):
            make()(outputs, torch.full((2, 3, 6, 5), 1 / 3))

    def test_the_value_by_hand(self) -> None:
        outputs = {"segmentation": torch.zeros(1, 2, 1), "features": torch.tensor([[[3.0], [4.0]]])}
        assert make(classes=2)(outputs, torch.tensor([[1]])).item() == pytest.approx(25 / 2)
        assert math.isclose(make(classes=2, params={"margin": 6.0})(outputs, torch.tensor([[1]])).item(), (25 + 36 - 25) / 2)
