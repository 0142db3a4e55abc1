"""Gradient shares: what they are, that measuring changes nothing, and that ranks agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor

from medseg.losses import LossInputError, WeightedLoss, build_loss
from medseg.losses.shares import gradient_norms, shares
from tests.losses.problems import ACTIVATIONS, certain, problem, single, value_and_gradient
from tests.losses.problems import CASES as PROBLEMS
from tests.losses.two_ranks_shares import CASES, make_loss, measure, measure_rank


def both(activation: str, **settings: Any) -> WeightedLoss:
    terms = [{"name": "dice", "weight": 0.25}, {"name": "focal", "weight": 2.0}]
    return build_loss({"activation": activation, "terms": terms, **settings}, 3)


def shares_of(loss: WeightedLoss, logits: Tensor | list[Tensor], target: Tensor) -> dict[str, float]:
    levels = [level.detach().requires_grad_() for level in ([logits] if isinstance(logits, Tensor) else logits)]
    return {name: value.item() for name, value in loss.with_shares(levels, target)[2].items()}


class TestGradientNorms:
    def test_outputs_that_a_term_does_not_use_count_as_nothing(self) -> None:
        a, b = (torch.ones(4, requires_grad=True) for _ in range(2))
        norms = gradient_norms([a.sum(), (3 * b).sum(), a.sum() + b.sum()], [a, b])
        torch.testing.assert_close(norms, torch.tensor([2.0, 6.0, 8**0.5]))

    def test_a_value_without_a_gradient_has_none(self) -> None:
        a = torch.ones(4, requires_grad=True)
        assert gradient_norms([a.sum(), torch.tensor(3.0)], [a, torch.ones(2)]).tolist() == [2.0, 0.0]

    def test_norms_whose_squares_float32_cannot_hold(self) -> None:
        a = torch.ones(4, requires_grad=True)
        torch.testing.assert_close(gradient_norms([1e-30 * a.sum()], [a]), torch.tensor([2e-30]), rtol=1e-6, atol=0)

    def test_without_any_gradient_it_says_so(self) -> None:
        with pytest.raises(LossInputError, match="no_grad"):
            gradient_norms([torch.ones(())], [torch.ones(3)])


class TestShares:
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_each_is_the_weighted_norm_of_the_terms_own_gradient_over_the_sum_of_all(self, activation: str) -> None:
        logits, target = problem(activation)
        dice, focal = (value_and_gradient(single(name, activation, 3), logits, target)[1].norm() for name in ("dice", "focal"))
        found = shares_of(both(activation), logits, target)
        assert found["dice"] == pytest.approx((0.25 * dice / (0.25 * dice + 2 * focal)).item(), rel=1e-9)
        assert sum(found.values()) == pytest.approx(1)

    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_norms_run_over_all_levels(self, activation: str) -> None:
        fine, target = problem(activation, (2, 3, 8, 12))
        levels = [fine, problem(activation, (2, 3, 4, 6), 1)[0]]
        sizes = {}
        for name, weight in (("dice", 0.25), ("focal", 2.0)):
            leaves = [level.clone().requires_grad_() for level in levels]
            gradients = torch.autograd.grad(single(name, activation, 3)(leaves, target), leaves)
            sizes[name] = weight * torch.cat([gradient.flatten() for gradient in gradients]).norm()
        assert shares_of(both(activation), levels, target)["dice"] == pytest.approx((sizes["dice"] / sum(sizes.values())).item(), rel=1e-9)

    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_measuring_changes_neither_value_nor_gradient(self, activation: str) -> None:
        logits, target = problem(activation)
        plain, measured = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        total, terms = both(activation).with_terms(plain, target)
        total.backward()
        again, terms_again, _ = both(activation).with_shares(measured, target)
        again.backward()
        assert torch.equal(total, again)
        assert terms == terms_again
        assert plain.grad is not None
        assert measured.grad is not None
        assert torch.equal(plain.grad, measured.grad)

    def test_weights_of_the_epoch_count(self) -> None:
        schedule = {"schedule": "linear", "start": 0.0, "end": 1.0, "epochs": 10}
        loss = build_loss({"activation": "softmax", "terms": [{"name": "dice"}, {"name": "cross_entropy", "weight": schedule}]}, 3)
        logits, target = problem("softmax")
        assert shares_of(loss, logits, target) == {"dice": 1.0, "cross_entropy": 0.0}
        loss.set_epoch(10)
        assert 0 < shares_of(loss, logits, target)["cross_entropy"] < 1

    def test_without_a_gradient_anywhere_all_are_zero(self) -> None:
        assert shares(torch.zeros(2), [1.0, 1.0]).tolist() == [0.0, 0.0]
        assert shares(torch.ones(2), [0.0, 0.0]).tolist() == [0.0, 0.0]

    def test_the_gradient_of_a_mean_over_many_voxels_does_not_drown_in_float16(self) -> None:
        _, target = problem("sigmoid", (1, 1, 512, 512))
        logits = certain(target, "sigmoid", 1, 4.0)
        loss = build_loss({"activation": "sigmoid", "terms": [{"name": "bce"}, {"name": "dice"}]}, 1)
        assert (logits.sigmoid() - target).abs().max() / logits.numel() < 1e-7  # the gradient of BCE: 0 or one bit in float16
        expected = shares_of(loss, logits, target)
        assert expected["bce"] > 0.1
        assert shares_of(loss, logits.half(), target) == pytest.approx(expected, rel=1e-3)

    def test_dice_beside_a_voxelwise_mean_over_a_nearly_solved_background(self) -> None:
        """The silent collapse: BCE's value is not small beside its weight, its share is."""
        target = torch.zeros(1, 1, 64, 64, dtype=torch.long)
        target[..., :2, :2] = 1
        logits = torch.where(target == 1, 0.0, -9.0)
        loss = build_loss({"activation": "sigmoid", "terms": [{"name": "bce"}, {"name": "dice"}]}, 1)
        assert shares_of(loss, logits, target)["bce"] < 0.01


class TestEveryTerm:
    @pytest.mark.parametrize(("name", "activation"), PROBLEMS)
    def test_its_backward_can_run_more_than_once(self, name: str, activation: str) -> None:
        logits, target = problem(activation, (2, 3, 8, 6))
        z = logits.requires_grad_()
        total = single(name, activation, 3).with_shares(z, target)[0]
        (after,) = torch.autograd.grad(total, z)
        torch.testing.assert_close(after, value_and_gradient(single(name, activation, 3), logits, target)[1], rtol=1e-12, atol=0)


class TestHeads:
    def test_their_outputs_count_as_the_logits_do(self) -> None:
        heads = {"distance": {"name": "signed_distance"}}
        terms = [{"name": "dice"}, {"name": "mse", "weight": 2.0, "head": "distance"}]
        loss = build_loss({"activation": "sigmoid", "terms": terms}, 3, heads=heads)
        logits, target = problem("sigmoid", (2, 3, 8, 6))
        outputs = {"segmentation": logits.requires_grad_(), "distance": torch.zeros_like(logits).requires_grad_()}
        _, terms_of, found = loss.with_shares(outputs, target)
        dice = value_and_gradient(single("dice", "sigmoid", 3), logits, target)[1].norm()
        # Of a mean of squares of -y over N elements the gradient is -2 y / N, whose norm is 2 sqrt(value / N).
        mse = 2 * 2 * (terms_of["mse"] / logits.numel()).sqrt()
        torch.testing.assert_close(found["mse"], mse / (mse + dice), rtol=1e-5, atol=0)


class TestTwoProcesses:
    def test_shares_and_state_are_those_of_one_process(self, tmp_path: Path) -> None:
        mp.start_processes(measure_rank, args=(str(tmp_path),), nprocs=2, start_method="spawn")
        ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
        for index, case in enumerate(CASES):
            alone = measure(make_loss(*case), slice(0, 4), case[0])
            for rank in ranks:
                torch.testing.assert_close(rank[index][0], alone[0], rtol=1e-6, atol=0)
                torch.testing.assert_close(dict(rank[index][1]), dict(alone[1]), rtol=1e-6, atol=0)
            assert all(torch.equal(one, other) for one, other in zip(ranks[0][index][1].values(), ranks[1][index][1].values(), strict=True))
