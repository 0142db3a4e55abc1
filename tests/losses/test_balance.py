"""Weights that mean shares of the gradient."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from medseg.losses import LossConfigError, WeightedLoss, build_loss
from medseg.losses.balance import GradientBalance
from tests.losses.problems import problem

SCHEDULE = {"schedule": "linear", "start": 0.0, "end": 4.0, "epochs": 4}


def balanced(*weights: Any, balance: str = "gradient") -> WeightedLoss:
    names = ("dice", "cross_entropy", "focal")
    terms = [{"name": name, "weight": weight} for name, weight in zip(names, weights, strict=False)]
    return build_loss({"activation": "softmax", "terms": terms, "balance": balance}, 3)


def measured(loss: WeightedLoss, seed: int = 0, scale: float = 2.0) -> dict[str, float]:
    logits, target = problem("softmax", seed=seed, scale=scale)
    return {name: share.item() for name, share in loss.with_shares(logits.requires_grad_(), target)[2].items()}


def filled(*norms: Tensor) -> GradientBalance:
    balance = GradientBalance(len(norms[0]))
    for one in norms:
        balance.update(one)
    return balance


class TestBalance:
    def test_the_first_measurement_is_the_average(self) -> None:
        torch.testing.assert_close(filled(torch.tensor([4.0, 1.0])).effective([1.0, 1.0]), torch.tensor([0.625, 2.5]))

    def test_the_mean_is_geometric_forgets_and_is_unbiased(self) -> None:
        norms = torch.tensor([[4.0, 1.0], [2.0, 1.0], [8.0, 1.0]])
        average = 2 ** ((0.49 * 2 + 0.7 * 1 + 3) / (0.49 + 0.7 + 1))  # of all measurements, each 0.7 of the next
        effective = filled(*norms).effective([1.0, 1.0])
        torch.testing.assert_close(effective[1] / effective[0], torch.tensor(average))

    def test_shares_are_as_the_weights_and_the_size_of_the_gradient_stays(self) -> None:
        norms, weights = torch.tensor([0.5, 30.0, 2.0]), [3.0, 1.0, 0.5]
        sizes = filled(norms).effective(weights) * norms
        torch.testing.assert_close(sizes / sizes.sum(), torch.tensor(weights) / 4.5)
        torch.testing.assert_close(sizes.sum(), (torch.tensor(weights) * norms).sum())

    def test_equal_norms_change_nothing(self) -> None:
        torch.testing.assert_close(filled(torch.full((3,), 7.0)).effective([3.0, 1.0, 0.0]), torch.tensor([3.0, 1.0, 0.0]))

    def test_large_gradients_of_the_first_steps_are_soon_forgotten(self) -> None:
        balance = filled(*[torch.tensor([100.0, 1.0])] * 3, *[torch.tensor([0.1, 1.0])] * 12)
        sizes = balance.effective([0.3, 0.7]) * torch.tensor([0.1, 1.0])
        assert sizes[0] / sizes.sum() == pytest.approx(0.3, abs=0.03)

    @pytest.mark.parametrize("nothing", [0.0, float("nan"), float("inf")])
    def test_a_norm_that_is_none_is_passed_over(self, nothing: float) -> None:
        norms = torch.tensor([4.0, 1.0])
        with_gap = filled(norms, torch.tensor([4.0, nothing]), norms)
        torch.testing.assert_close(with_gap.effective([1.0, 1.0]), filled(norms, norms).effective([1.0, 1.0]))

    def test_a_term_that_was_never_measured_keeps_its_weight(self) -> None:
        effective = filled(torch.tensor([4.0, 1.0, 0.0])).effective([1.0, 1.0, 0.5])
        torch.testing.assert_close(effective, torch.tensor([0.625, 2.5, 0.5]))

    def test_before_any_measurement_weights_are_weights(self) -> None:
        assert GradientBalance(2).effective([3.0, 0.25]).tolist() == [3.0, 0.25]

    def test_a_weight_of_zero_stays_zero_and_counts_for_nothing(self) -> None:
        torch.testing.assert_close(filled(torch.tensor([4.0, 1.0, 100.0])).effective([1.0, 1.0, 0.0]), torch.tensor([0.625, 2.5, 0.0]))
        assert filled(torch.tensor([4.0, 1.0])).effective([0.0, 0.0]).tolist() == [0.0, 0.0]

    def test_between_the_bounds_shares_follow_the_weights_and_beyond_them_only_the_bound(self) -> None:
        weights, bound = [2.0, 1.0], GradientBalance.BOUND
        for small, kept in ((0.01, True), (1e-4, False)):
            norms = torch.tensor([1.0, small])
            factors = filled(norms).effective(weights) / torch.tensor(weights)
            assert (factors <= bound * (1 + 1e-6)).all()
            sizes = factors * torch.tensor(weights) * norms
            assert (sizes[0] / sizes[1] == pytest.approx(2.0, rel=1e-5)) is kept
        assert factors.tolist() == pytest.approx([(2 + 1e-4) / 3, bound])
        low = filled(torch.tensor([1e6, 1.0])).effective([1e-6, 1.0])
        assert low.tolist() == pytest.approx([1e-8, 2.0], rel=1e-5)

    def test_vanishing_norms_move_no_weight_beyond_the_bounds(self) -> None:
        for norms in ([1e-3, 1e-8], [1e-38, 1.0], [1e-45, 1e-45], [3e38, 1e-30]):
            effective = filled(*[torch.tensor(norms)] * 100).effective([1.0, 1.0])
            assert ((effective >= 0.01 * (1 - 1e-6)) & (effective <= 100 * (1 + 1e-6))).all(), norms

    def test_norms_near_zero_stay_finite(self) -> None:
        assert filled(torch.tensor([1e-30, 1.0])).effective([1.0, 1.0]).isfinite().all()


class TestInTheSum:
    @pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 3.0), (2.0, 0.5, 1.5)])
    def test_the_shares_of_a_measured_step_are_the_wanted_ones_from_the_first_on(self, weights: tuple[float, ...]) -> None:
        shares = measured(balanced(*weights))
        assert list(shares.values()) == pytest.approx([weight / sum(weights) for weight in weights])

    def test_they_follow_slowly(self) -> None:
        loss = balanced(1.0, 1.0)
        measured(loss)
        assert measured(loss, scale=0.5)["dice"] != pytest.approx(0.5, abs=1e-3)
        for _ in range(200):
            last = measured(loss, scale=0.5)
        assert last["dice"] == pytest.approx(0.5, abs=1e-4)

    def test_other_steps_use_the_last_measurement_and_leave_it(self) -> None:
        loss = balanced(1.0, 3.0)
        measured(loss)
        before = {name: value.clone() for name, value in loss.state_dict().items()}
        logits, target = problem("softmax", seed=1)
        total, terms = loss.with_terms(logits, target)
        assert loss.balance is not None
        expected = sum(weight * value for weight, value in zip(loss.balance.effective([1.0, 3.0]), terms.values(), strict=True))
        torch.testing.assert_close(total, expected, rtol=1e-6, atol=0, check_dtype=False)
        assert all(torch.equal(before[name], value) for name, value in loss.state_dict().items())

    def test_reported_values_stay_unweighted(self) -> None:
        loss, plain = balanced(1.0, 3.0), balanced(1.0, 3.0, balance="none")
        logits, target = problem("softmax")
        assert loss.with_shares(logits.requires_grad_(), target)[1] == plain.with_terms(logits, target)[1]

    def test_scheduled_weights_are_wanted_shares_of_their_epoch(self) -> None:
        loss = balanced(1.0, SCHEDULE)
        for epoch, share in ((0, 0.0), (1, 0.5), (3, 0.75)):
            loss.set_epoch(epoch)
            for _ in range(2):
                assert measured(loss)["cross_entropy"] == pytest.approx(share)

    def test_the_gradient_is_that_of_the_weighted_sum(self) -> None:
        """The weights are constants to it."""
        logits, target = problem("softmax")
        loss, plain = balanced(1.0, 3.0), balanced(1.0, 3.0, balance="none")
        z = logits.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss.with_shares(z, target)[0], z)
        assert loss.balance is not None
        first, second = loss.balance.effective([1.0, 3.0]).tolist()
        plain.weights = {"dice": first, "cross_entropy": second}
        z = logits.clone().requires_grad_()
        torch.testing.assert_close(gradient, torch.autograd.grad(plain(z, target), z)[0], rtol=1e-6, atol=1e-12)


class TestPlateau:
    def test_a_hard_batch_between_measurements_does_not_explode(self) -> None:
        """Nearly solved, where focal's gradient is a millionth of Dice's, then a batch that is not."""
        loss, plain = balanced(1.0, 0.0, 1.0), balanced(1.0, 0.0, 1.0, balance="none")
        _, target = problem("softmax")
        solved = torch.nn.functional.one_hot(target, 3).movedim(-1, 1).double()
        for _ in range(100):
            loss.with_shares((12 * solved).requires_grad_(), target)
        assert loss.balance is not None
        assert loss.balance.average[0] > math.log(1e5) + loss.balance.average[2]
        z = (-5 * solved).requires_grad_()
        steps = [torch.autograd.grad(one(z, target), z)[0].norm().item() for one in (loss, plain)]
        assert 0 < steps[0] <= GradientBalance.BOUND * steps[1] * (1 + 1e-6)


class TestState:
    def test_a_copy_from_the_state_goes_on_the_same(self) -> None:
        loss, copy = balanced(1.0, 3.0), balanced(1.0, 3.0)
        for seed in range(3):
            measured(loss, seed)
        copy.load_state_dict(loss.state_dict())
        assert measured(copy, 9) == measured(loss, 9)

    def test_without_balance_there_is_none(self) -> None:
        assert balanced(1.0, 3.0, balance="none").state_dict() == {}


class TestFaults:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"share_every": 0},
                "loss.balance: gradient needs loss.share_every above 0, since it lives on those measurements; set it to 10",
            ),
            ({"terms": [{"name": "dice"}]}, "loss.balance: gradient has no effect on a single term; set it to none, or add a term"),
            ({"balance": "gradients"}, "loss.balance: must be none or gradient, got 'gradients'; did you mean gradient?"),
            ({"balance": "none", "share_every": -1}, "loss.share_every: must be an integer, at least 0, got -1"),
        ],
    )
    def test_are_named(self, changes: dict[str, Any], message: str) -> None:
        terms = [{"name": "dice"}, {"name": "cross_entropy"}]
        with pytest.raises(LossConfigError) as caught:
            build_loss({"activation": "softmax", "terms": terms, "balance": "gradient", **changes}, 3)
        assert str(caught.value) == f"build_loss: {message}"
