"""The hardest voxels, and the hinge."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from medseg.losses import LossConfigError, LossInputError
from tests.losses.problems import ACTIVATIONS, certain, golden, problem, single, value_and_gradient
from tests.losses.reference_distribution import hinge, topk

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def of_losses(losses: list[float], percent: float, weights: list[float] | None = None) -> tuple[float, list[float]]:
    """topk of voxels with these binary cross entropies, and how much each voxel counts (its gradient over that of its loss)."""
    n = torch.tensor(losses, dtype=torch.float64)
    logits = -torch.log(torch.expm1(n)).reshape(1, 1, -1)
    map_ = None if weights is None else torch.tensor(weights, dtype=torch.float64).reshape(1, 1, -1)
    loss = single("topk", "sigmoid", 1, {"percent": percent})
    value, gradient = value_and_gradient(loss, logits, torch.ones_like(logits), map_)
    return value.item(), (gradient / torch.expm1(-n)).flatten().tolist()


class TestTopK:
    @each_activation
    def test_the_golden_value(self, activation: str) -> None:
        loss = single("topk", activation, 1 if activation == "sigmoid" else 2, {"percent": 50})
        assert loss(*golden(activation)).item() == pytest.approx(0.569717, abs=6e-7)

    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("ignored", [False, True])
    @pytest.mark.parametrize("percent", [0.1, 1.0, 10.0, 33.3, 100.0])
    @each_activation
    def test_the_reference(self, activation: str, percent: float, ignored: bool, weighted: bool) -> None:
        logits, target = problem(activation, (2, 3, 7, 5))
        generator = torch.Generator().manual_seed(1)
        if ignored:
            target[torch.rand(target.shape, generator=generator) < 0.3] = 255
        weights = torch.randint(0, 3, (2, 7, 5), generator=generator) if weighted else None
        settings = {"ignore_index": 255} if ignored else {}
        value = single("topk", activation, 3, {"percent": percent}, **settings)(logits, target, weights)
        map_ = None if weights is None else weights.numpy()
        expected = topk(logits.numpy(), target.numpy(), activation=activation, percent=percent, weight_map=map_, **settings)
        assert value.item() == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("percent", [10.0, 50.0])
    def test_soft_labels(self, percent: float) -> None:
        for activation in ACTIVATIONS:
            logits, _ = problem(activation)
            other = problem(activation, seed=3)[0]
            soft = other.softmax(1) if activation == "softmax" else other.sigmoid()
            value = single("topk", activation, 3, {"percent": percent})(logits, soft)
            expected = topk(logits.numpy(), soft.numpy(), activation=activation, percent=percent)
            assert value.item() == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize(("voxels", "percent", "number"), [(9, 10, 1), (10, 10, 1), (11, 10, 2), (3000, 0.1, 3), (700, 0.7, 5)])
    def test_the_number_of_voxels_is_rounded_up(self, voxels: int, percent: float, number: int) -> None:
        """Exactly: 0.7 % of 700 are 4.9, and 0.1 % of 3000 are 3, although 0.1 is a little more than that in binary."""
        logits, target = problem("sigmoid", (1, 1, voxels))
        for ignored in ({}, {"ignore_index": 255}):
            _, gradient = value_and_gradient(single("topk", "sigmoid", 1, {"percent": percent}, **ignored), logits, target)
            assert int((gradient != 0).sum()) == number

    def test_only_the_hardest_have_a_gradient(self) -> None:
        assert of_losses([0.1, 3.0, 2.0, 0.2], 50) == (pytest.approx(2.5), pytest.approx([0, 0.5, 0.5, 0]))

    def test_ties_share_the_last_places(self) -> None:
        _, counts = of_losses([3.0, 1.0, 1.0, 1.0, 0.5], 40)
        assert counts == pytest.approx([1 / 2, 1 / 6, 1 / 6, 1 / 6, 0])

    def test_nothing_but_ties(self) -> None:
        value, gradient = value_and_gradient(single("topk", "sigmoid", 1), torch.zeros(1, 1, 30), torch.zeros(1, 1, 30))
        assert value.item() == pytest.approx(math.log(2))
        assert gradient.flatten().tolist() == pytest.approx([0.5 / 30] * 30)

    def test_all_are_cross_entropy(self) -> None:
        for activation, name in (("softmax", "cross_entropy"), ("sigmoid", "bce")):
            logits, target = problem(activation)
            weights = torch.rand(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
            for map_ in (None, weights):
                one, other = single("topk", activation, 3, {"percent": 100}), single(name, activation, 3)
                torch.testing.assert_close(
                    value_and_gradient(one, logits, target, map_),
                    value_and_gradient(other, logits, target, map_),
                    rtol=1e-9,
                    atol=1e-14,
                )

    def test_ignored_voxels_leave_the_pool(self) -> None:
        """However hard they are; ten of twenty remain, of which one."""
        logits = torch.linspace(-3, 3, 20, dtype=torch.float64).reshape(1, 1, 20)
        target = torch.ones(1, 1, 20, dtype=torch.long)
        target[..., :10] = 255
        value, gradient = value_and_gradient(single("topk", "sigmoid", 1, ignore_index=255), logits, target)
        assert value.item() == pytest.approx(torch.nn.functional.softplus(-logits[0, 0, 10]).item())
        assert gradient.flatten().nonzero().flatten().tolist() == [10]

    def test_one_pool_for_all_channels_and_samples(self) -> None:
        logits, target = torch.full((2, 2, 10), 5.0), torch.ones(2, 2, 10)
        logits[1, 0, :4] = -5
        _, gradient = value_and_gradient(single("topk", "sigmoid", 2), logits, target)
        assert [tuple(place) for place in gradient.nonzero().tolist()] == [(1, 0, voxel) for voxel in range(4)]

    def test_each_level_of_deep_supervision_has_its_own_pool(self) -> None:
        logits, target = problem("softmax", (2, 3, 8, 8))
        loss = single("topk", "softmax", 3)
        both = loss([logits, logits[..., 1::2, 1::2]], target)
        alone = 2 / 3 * loss(logits, target) + 1 / 3 * loss(logits[..., 1::2, 1::2], target[..., 1::2, 1::2])
        torch.testing.assert_close(both, alone, rtol=1e-9, atol=0)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    @each_activation
    def test_saturated_logits(self, activation: str, dtype: torch.dtype) -> None:
        _, target = problem(activation)
        loss = single("topk", activation, 3)
        for strength, expected in ((1e4, 0.0), (-1e4, 1e4)):
            value, gradient = value_and_gradient(loss, certain(target, activation, 3, strength).to(dtype), target)
            assert value.item() == pytest.approx(expected, rel=2e-3)
            assert gradient.isfinite().all()

    @pytest.mark.parametrize("percent", [0, 101])
    def test_a_share_out_of_range_is_refused(self, percent: float) -> None:
        with pytest.raises(LossConfigError, match="percent must be at least 1e-06 and at most 100"):
            single("topk", "softmax", 2, {"percent": percent})


class TestTopKWithWeights:
    def test_the_last_voxel_counts_for_what_is_missing(self) -> None:
        """Half of 7, rounded up to whole smallest weights, are 4: 3 of the hardest, 1 of the 2 of the next."""
        value, counts = of_losses([3.0, 2.0, 0.5, 0.1], 50, [3.0, 2.0, 1.0, 1.0])
        assert value == pytest.approx((3 * 3.0 + 2.0) / 4)
        assert counts == pytest.approx([3 / 4, 1 / 4, 0, 0])

    def test_the_unit_of_the_weights_does_not_matter(self) -> None:
        weights = torch.rand(50, generator=torch.Generator().manual_seed(0)) + 0.1
        losses = torch.rand(50, generator=torch.Generator().manual_seed(1)) + 0.1
        values = [of_losses(losses.tolist(), 10, (factor * weights).tolist())[0] for factor in (1.0, 1e-4, 64.0)]
        assert values[1:] == pytest.approx([values[0]] * 2, rel=1e-6)

    @pytest.mark.parametrize("weight", [0.001, 0.3, 1.0, 7.0])
    def test_equal_weights_are_none(self, weight: float) -> None:
        losses = (torch.rand(37, generator=torch.Generator().manual_seed(1)) + 0.1).tolist()
        value, counts = of_losses(losses, 10)
        assert of_losses(losses, 10, [weight] * 37) == (pytest.approx(value), pytest.approx(counts, abs=1e-9))

    def test_a_voxel_without_weight_is_none(self) -> None:
        value, counts = of_losses([9.0, 3.0, 2.0, 1.0], 50, [0.0, 1.0, 1.0, 1.0])
        assert value == pytest.approx(2.5)
        assert counts == pytest.approx([0, 0.5, 0.5, 0])

    def test_no_weight_at_all_is_a_zero_with_a_graph(self) -> None:
        assert of_losses([3.0, 2.0], 50, [0.0, 0.0]) == (0, [0, 0])

    @each_activation
    def test_gradcheck(self, activation: str) -> None:
        logits, target = problem(activation, (2, 3, 9))
        target[0, ..., 0] = 255
        weights = torch.rand(2, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        loss = single("topk", activation, 3, {"percent": 25}, ignore_index=255)
        for map_ in (None, weights):
            assert torch.autograd.gradcheck(lambda z, map_=map_: loss(z, target, map_), logits.requires_grad_())


class TestTopKOfRanks:
    def test_pools_are_averaged_by_what_they_chose(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """This rank has 20 voxels, of which 2; the other's sums are said to be 3 voxels with a loss of 1 each."""
        logits, target = problem("sigmoid", (1, 1, 20))
        loss = single("topk", "sigmoid", 1)
        alone = loss(logits, target).item()
        monkeypatch.setattr("medseg.losses.view.world_size", lambda: 2)
        monkeypatch.setattr("medseg.losses.view.sum_over_ranks", lambda local: local + torch.tensor([3.0, 3.0], dtype=local.dtype))
        assert loss(logits, target).item() == pytest.approx((2 * alone + 3) / 5)

    def test_a_rank_without_voxels_leaves_it_to_the_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loss = single("topk", "sigmoid", 1, ignore_index=255)
        monkeypatch.setattr("medseg.losses.view.world_size", lambda: 2)
        monkeypatch.setattr("medseg.losses.view.sum_over_ranks", lambda local: local + torch.tensor([6.0, 3.0], dtype=local.dtype))
        value, gradient = value_and_gradient(loss, torch.zeros(1, 1, 4), torch.full((1, 1, 4), 255))
        assert value == 2
        assert gradient.abs().max() == 0


class TestHinge:
    def test_by_hand(self) -> None:
        logits, target = torch.tensor([[[3.0, -0.5, 0.5, -2.0]]]), torch.tensor([[[1, 1, 0, 0]]])
        value, gradient = value_and_gradient(single("hinge", "sigmoid", 1), logits, target)
        assert value.item() == 0.75
        assert gradient.flatten().tolist() == [0, -0.25, 0.25, 0]

    @pytest.mark.parametrize("params", [{}, {"margin": 0.2}, {"margin": 20.0}])
    def test_the_reference(self, params: dict[str, Any]) -> None:
        logits, target = problem("sigmoid")
        target[..., 0] = 255
        weights = 3 * torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        value = single("hinge", "sigmoid", 3, params, ignore_index=255)(logits, target, weights)
        expected = hinge(logits.numpy(), target.numpy(), ignore_index=255, weight_map=weights.numpy(), **params)
        assert value.item() == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    def test_saturated_logits(self, dtype: torch.dtype) -> None:
        _, target = problem("sigmoid")
        loss = single("hinge", "sigmoid", 3)
        assert loss(certain(target, "sigmoid", 3, 1e4).to(dtype), target) == 0
        value, gradient = value_and_gradient(loss, certain(target, "sigmoid", 3, -1e4).to(dtype), target)
        assert value.item() == pytest.approx(10001, rel=2e-3)
        assert (gradient.abs() > 0).all()

    def test_masks_as_floats_are_fine_and_soft_labels_are_not(self) -> None:
        logits, target = problem("sigmoid")
        loss = single("hinge", "sigmoid", 3)
        assert loss(logits, target.float()) == loss(logits, target)
        with pytest.raises(LossInputError, match="hinge takes no soft labels"):
            loss(logits, torch.full(target.shape, 0.5))

    def test_a_margin_of_nothing_is_refused(self) -> None:
        with pytest.raises(LossConfigError, match="margin must be above 0"):
            single("hinge", "sigmoid", 1, {"margin": 0})
