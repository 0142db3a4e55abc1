"""Weights that mean shares of the gradient."""

from __future__ import annotations

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

    def test_the_average_forgets_by_a_tenth_and_is_unbiased(self) -> None:
        norms = torch.tensor([[4.0, 1.0], [2.0, 1.0], [8.0, 1.0]])
        average = (0.81 * 4 + 0.9 * 2 + 8) / (0.81 + 0.9 + 1)  # of all measurements, each 0.9 of the next
        effective = filled(*norms).effective([1.0, 1.0])
        torch.testing.assert_close(effective[1] / effective[0], torch.tensor(average))

    def test_shares_are_as_the_weights_and_the_size_of_the_gradient_stays(self) -> None:
        norms, weights = torch.tensor([0.5, 30.0, 2.0]), [3.0, 1.0, 0.5]
        sizes = filled(norms).effective(weights) * norms
        torch.testing.assert_close(sizes / sizes.sum(), torch.tensor(weights) / 4.5)
        torch.testing.assert_close(sizes.sum(), (torch.tensor(weights) * norms).sum())

    def test_equal_norms_change_nothing(self) -> None:
        torch.testing.assert_close(filled(torch.full((3,), 7.0)).effective([3.0, 1.0, 0.0]), torch.tensor([3.0, 1.0, 0.0]))

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
