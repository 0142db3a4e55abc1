"""Seats of batches: never a whole patch too many or too few."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from medseg.data.sampling.shares import Shares


def fractions_of(seed: int) -> list[float]:
    """Shares of up to eight samplers: small ratios, any numbers, or very unequal ones."""
    generator = np.random.default_rng(seed)
    count = int(generator.integers(1, 9))
    kinds = (generator.integers(1, 30, count), generator.random(count) + 1e-3, generator.choice([1, 1, 1, 50, 999], count))
    weights = kinds[seed % 3].astype(float)
    return (weights / weights.sum()).tolist()


def exact(fractions: list[float]) -> list[Fraction]:
    """The same as ratios that add up to 1."""
    ratios = [Fraction(fraction).limit_denominator(10**6) for fraction in fractions]
    return [ratio / sum(ratios) for ratio in ratios]


class TestShares:
    @pytest.mark.parametrize("seed", range(60))
    def test_any_shares_are_kept_in_each_batch_and_in_all_batches_so_far(self, seed: int) -> None:
        fractions, batch_size = fractions_of(seed), 1 + seed * 7 % 17
        shares = Shares(fractions, batch_size)
        given = [0] * len(fractions)
        for batch in range(150):
            seats = shares.seats(batch)
            assert sum(seats) == batch_size
            for index, share in enumerate(exact(fractions)):
                given[index] += seats[index]
                assert math.floor(batch_size * share) <= seats[index] <= math.ceil(batch_size * share)
                assert math.floor((batch + 1) * batch_size * share) <= given[index] <= math.ceil((batch + 1) * batch_size * share)

    @pytest.mark.parametrize("fractions", [(1 / 3, 2 / 3), (0.29, 0.71), (0.33, 0.67), (0.1,) * 10])
    def test_no_share_is_rounded_away_where_a_batch_is_one_patch(self, fractions: tuple[float, ...]) -> None:
        """Rounding the batch's due would give a third of one patch, and so of all patches, to no one."""
        shares = Shares(fractions, 1)
        given = np.sum([shares.seats(batch) for batch in range(1000)], axis=0)
        assert (np.abs(given - 1000 * np.array(fractions)) < 1).all()
        assert (given > 0).all()

    def test_decimals_that_nearly_add_up_are_taken_in_proportion(self) -> None:
        shares = Shares([0.333333, 0.333333, 0.333333], 3)
        assert [shares.seats(batch) for batch in (0, 1, 10**9)] == [(1, 1, 1)] * 3

    def test_a_batch_is_the_same_whichever_was_asked_for_before(self) -> None:
        fractions = [0.123456, 0.3, 0.576544]
        one, other = Shares(fractions, 3), Shares(fractions, 3)
        forward = [one.seats(batch) for batch in range(200)]
        assert [other.seats(batch) for batch in reversed(range(200))][::-1] == forward

    def test_a_share_of_nothing_gets_nothing(self) -> None:
        shares = Shares([0.0, 0.5, 0.5], 3)
        assert all(shares.seats(batch)[0] == 0 for batch in range(20))
