"""Binary, balanced and categorical cross entropy, with all options."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from medseg.losses import LossConfigError
from medseg.losses.voxels import Voxels
from tests.losses.problems import certain, problem, single, value_and_gradient
from tests.losses.reference_distribution import balanced_bce, cross_entropy

OPTIONS: list[dict[str, Any]] = [
    {"label_smoothing": 0.2},
    {"label_smoothing": 0.2, "class_weights": [0.2, 1.0, 3.0]},
    {"class_priors": [0.9, 0.07, 0.03]},
    {"class_priors": [900, 70, 30], "adjustment": 0.5, "class_weights": [0.2, 1.0, 3.0]},
    {"class_priors": [0.9, 0.07, 0.03], "label_smoothing": 0.1, "class_weights": [1.0, 0.0, 2.0]},
]


def with_holes(activation: str) -> tuple[Tensor, Tensor, Tensor]:
    """A problem with ignored voxels (255) and a weight map."""
    logits, target = problem(activation)
    generator = torch.Generator().manual_seed(1)
    target[torch.rand(target.shape, generator=generator) < 0.3] = 255
    return logits, target, 3 * torch.rand(3, 5, 4, generator=generator, dtype=torch.float64)


class TestBalancedBinaryCrossEntropy:
    def test_by_hand(self) -> None:
        """beta = 3/4 of the one image: 3/4 (-log .9) + 1/4 (-log .6 - log .8 - log .9), over 4 voxels."""
        p = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]], dtype=torch.float64)
        value = single("balanced_bce", "sigmoid", 1)(p.logit(), torch.tensor([[[1, 0, 0, 0]]]))
        by_hand = (0.75 * -p[..., 0].log() + 0.25 * -torch.log1p(-p[..., 1:]).sum()) / 4
        assert value.item() == pytest.approx(by_hand.item(), rel=1e-12)

    @pytest.mark.parametrize("minimum", [0.0, 0.01, 0.45])
    def test_the_reference(self, minimum: float) -> None:
        logits, target, weights = with_holes("sigmoid")
        target[0] = 0
        target[1, 2] = 255
        loss = single("balanced_bce", "sigmoid", 3, {"minimum": minimum}, ignore_index=255)
        expected = balanced_bce(logits.numpy(), target.numpy(), minimum=minimum, ignore_index=255, weight_map=weights.numpy())
        assert loss(logits, target, weights).item() == pytest.approx(expected, rel=1e-9)

    def test_soft_labels(self) -> None:
        logits, target = problem("sigmoid")
        soft = torch.rand(target.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        assert single("balanced_bce", "sigmoid", 3)(logits, soft).item() == pytest.approx(balanced_bce(logits.numpy(), soft.numpy()))

    def test_both_sides_pull_equally_at_even_odds(self) -> None:
        target = torch.zeros(1, 1, 100)
        target[..., :7] = 1
        _, gradient = value_and_gradient(single("balanced_bce", "sigmoid", 1), torch.zeros(1, 1, 100), target)
        assert gradient[..., :7].sum().item() == pytest.approx(-gradient[..., 7:].sum().item())

    def test_each_image_has_its_own_balance(self) -> None:
        logits, target = problem("sigmoid", (2, 1, 40))
        target[0] = 0
        loss = single("balanced_bce", "sigmoid", 1)
        each = (loss(logits[:1], target[:1]) + loss(logits[1:], target[1:])) / 2
        torch.testing.assert_close(loss(logits, target), each, rtol=1e-12, atol=0)

    def test_false_positives_on_an_empty_image_have_a_gradient(self) -> None:
        """By the paper, with minimum 0, they have none: beta is 1."""
        logits, empty = torch.full((1, 1, 10), 3.0), torch.zeros(1, 1, 10)
        _, papers = value_and_gradient(single("balanced_bce", "sigmoid", 1, {"minimum": 0}), logits, empty)
        _, ours = value_and_gradient(single("balanced_bce", "sigmoid", 1), logits, empty)
        assert papers.abs().max() == 0
        assert ours.flatten().tolist() == pytest.approx([0.01 * torch.tensor(3.0).sigmoid().item() / 10] * 10)

    def test_a_minimum_of_half_is_half_the_plain_one(self) -> None:
        logits, target = problem("sigmoid")
        balanced, plain = single("balanced_bce", "sigmoid", 3, {"minimum": 0.5}), single("bce", "sigmoid", 3)
        torch.testing.assert_close(2 * balanced(logits, target), plain(logits, target), rtol=1e-12, atol=0)

    def test_a_minimum_above_half_is_refused(self) -> None:
        with pytest.raises(LossConfigError, match=r"minimum must be at least 0 and at most 0\.5"):
            single("balanced_bce", "sigmoid", 1, {"minimum": 0.6})


class TestCrossEntropy:
    @pytest.mark.parametrize("params", OPTIONS)
    def test_the_reference(self, params: dict[str, Any]) -> None:
        logits, target, weights = with_holes("softmax")
        loss = single("cross_entropy", "softmax", 3, params, ignore_index=255)
        expected = cross_entropy(logits.numpy(), target.numpy(), ignore_index=255, weight_map=weights.numpy(), **params)
        assert loss(logits, target, weights).item() == pytest.approx(expected, rel=1e-9)
        bare = cross_entropy(logits.numpy(), target.numpy(), ignore_index=255, **params)
        assert loss(logits, target).item() == pytest.approx(bare, rel=1e-9)

    @pytest.mark.parametrize("params", [{}, {"class_weights": [0.2, 1.0, 3.0]}, *OPTIONS])
    def test_soft_labels(self, params: dict[str, Any]) -> None:
        logits, ids, weights = with_holes("softmax")
        soft = problem("softmax", seed=5)[0].softmax(1)
        soft[(ids == 255).unsqueeze(1).expand_as(soft)] = 255
        loss = single("cross_entropy", "softmax", 3, params, ignore_index=255)
        expected = cross_entropy(logits.numpy(), soft.numpy(), ignore_index=255, weight_map=weights.numpy(), **params)
        assert loss(logits, soft, weights).item() == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("params", OPTIONS)
    def test_hard_labels_as_soft_ones_are_the_same(self, params: dict[str, Any]) -> None:
        logits, target = problem("softmax")
        loss = single("cross_entropy", "softmax", 3, params)
        soft = F.one_hot(target, 3).movedim(-1, 1).double()
        torch.testing.assert_close(value_and_gradient(loss, logits, soft), value_and_gradient(loss, logits, target), rtol=1e-9, atol=1e-14)

    def test_label_smoothing_is_that_of_torch(self) -> None:
        logits, target, _ = with_holes("softmax")
        weights = [0.5, 1.0, 4.0]
        ours = single("cross_entropy", "softmax", 3, {"class_weights": weights, "label_smoothing": 0.3}, ignore_index=255)
        theirs = F.cross_entropy(logits, target, torch.tensor(weights, dtype=torch.float64), ignore_index=255, label_smoothing=0.3)
        assert ours(logits, target).item() == pytest.approx(theirs.item(), rel=1e-12)

    def test_smoothed_labels_are_best_met_by_their_own_probabilities(self) -> None:
        """At p = (0.9, 0.1), which label smoothing of 0.2 over two classes asks for: no gradient, the value their entropy."""
        p = torch.tensor([0.9, 0.1], dtype=torch.float64)
        loss = single("cross_entropy", "softmax", 2, {"label_smoothing": 0.2})
        value, gradient = value_and_gradient(loss, p.log().reshape(1, 2, 1), torch.tensor([[0]]))
        assert value.item() == pytest.approx(-(p * p.log()).sum().item())
        assert gradient.abs().max() < 1e-15

    def test_priors_are_added_to_the_logits(self) -> None:
        logits, target = problem("softmax")
        priors = torch.tensor([0.9, 0.07, 0.03], dtype=torch.float64)
        adjusted = single("cross_entropy", "softmax", 3, {"class_priors": priors.tolist(), "adjustment": 1.5})
        plain = single("cross_entropy", "softmax", 3)
        shifted = logits + 1.5 * priors.log().view(3, 1, 1)
        torch.testing.assert_close(
            value_and_gradient(adjusted, logits, target), value_and_gradient(plain, shifted, target), rtol=1e-9, atol=1e-14
        )

    def test_even_logits_are_best_where_classes_are_as_frequent_as_the_priors(self) -> None:
        """So the plain logits speak for evenly frequent classes; without priors they would have to follow the frequencies."""
        target = torch.tensor([[0] * 90 + [1] * 10])
        zeros = torch.zeros(1, 2, 100, dtype=torch.float64)
        gradients = [
            value_and_gradient(single("cross_entropy", "softmax", 2, params), zeros, target)[1].sum(-1).abs().max()
            for params in ({"class_priors": [0.9, 0.1]}, {})
        ]
        assert gradients[0] < 1e-12
        assert gradients[1] > 0.1

    @pytest.mark.parametrize("params", [{"class_priors": [2, 2, 2]}, {"class_priors": [5, 1, 2], "adjustment": 0}, {"label_smoothing": 0}])
    def test_options_that_change_nothing(self, params: dict[str, Any]) -> None:
        logits, target, weights = with_holes("softmax")
        values = [
            value_and_gradient(single("cross_entropy", "softmax", 3, other, ignore_index=255), logits, target, weights)
            for other in (params, {})
        ]
        torch.testing.assert_close(*values, rtol=1e-9, atol=1e-14)

    def test_the_plain_one_makes_do_with_sums(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: Voxels) -> Tensor:
            raise RuntimeError("voxels")

        monkeypatch.setattr(Voxels, "logits", property(refuse))
        logits, target = problem("softmax")
        assert single("cross_entropy", "softmax", 3, {"class_weights": [1, 2, 3]})(logits, target) > 0
        with pytest.raises(RuntimeError, match="voxels"):
            single("cross_entropy", "softmax", 3, {"label_smoothing": 0.1})(logits, target)

    @pytest.mark.parametrize("params", OPTIONS)
    def test_gradcheck(self, params: dict[str, Any]) -> None:
        logits, target, weights = with_holes("softmax")
        loss = single("cross_entropy", "softmax", 3, params, ignore_index=255)
        logits = logits[:, :, :2, :2].clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda z: loss(z, target[:, :2, :2], weights[:, :2, :2]), logits)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    @pytest.mark.parametrize("params", OPTIONS)
    def test_saturated_logits(self, params: dict[str, Any], dtype: torch.dtype) -> None:
        _, target = problem("softmax")
        loss = single("cross_entropy", "softmax", 3, params)
        for strength in (-1e4, 1e4):
            value, gradient = value_and_gradient(loss, certain(target, "softmax", 3, strength).to(dtype), target)
            assert value.isfinite()
            assert gradient.isfinite().all()

    @pytest.mark.parametrize("params", OPTIONS)
    def test_everything_ignored(self, params: dict[str, Any]) -> None:
        loss = single("cross_entropy", "softmax", 3, params, ignore_index=255)
        value, gradient = value_and_gradient(loss, torch.zeros(1, 3, 4), torch.full((1, 4), 255))
        assert value == 0
        assert gradient.abs().max() == 0

    @pytest.mark.parametrize("params", [{"label_smoothing": 0.2}, {"label_smoothing": 0.2, "class_weights": [0.2, 1.0, 3.0]}])
    def test_the_mean_is_over_the_voxels_of_all_ranks(self, params: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        """The other rank's sums are said to be a loss of 5 over voxels of weight 4."""
        logits, target = problem("softmax")
        loss = single("cross_entropy", "softmax", 3, params)
        alone = loss(logits, target).item()
        number = torch.tensor(params.get("class_weights", [1.0, 1.0, 1.0]))[target].sum().item()
        monkeypatch.setattr("medseg.losses.view.world_size", lambda: 2)
        monkeypatch.setattr("medseg.losses.view.sum_over_ranks", lambda local: local + torch.tensor([5.0, 4.0], dtype=local.dtype))
        assert loss(logits, target).item() == pytest.approx((alone * number + 5) / (number + 4), rel=1e-6)

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"label_smoothing": 1.5}, "label_smoothing must be at least 0 and at most 1"),
            ({"class_priors": [0.5, 0.5]}, "class_priors must have one value a class, 3"),
            ({"class_priors": [0.5, 0.5, 0.0]}, "class_priors must be above 0"),
            ({"adjustment": 0.5}, "adjustment does nothing without class_priors"),
            ({"class_priors": [1, 1, 1], "adjustment": -1}, "adjustment must be at least 0"),
        ],
    )
    def test_options_out_of_range(self, params: dict[str, Any], message: str) -> None:
        with pytest.raises(LossConfigError, match=message):
            single("cross_entropy", "softmax", 3, params)
