from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from medseg.evaluation.statistics import sign_flip


def brute_force(values: np.ndarray) -> float:
    hits = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True))) >= abs(values.sum()) - 1e-12
        for signs in itertools.product((-1, 1), repeat=len(values))
    ]
    return float(np.mean(hits))


class TestExact:
    @pytest.mark.parametrize("units", [1, 2, 5, 9])
    def test_it_equals_brute_force(self, units: int) -> None:
        for seed in range(5):
            values = np.random.default_rng(seed).normal(0.3, 1, units)
            assert sign_flip(values) == pytest.approx(brute_force(values))

    def test_equal_sums_count_despite_rounding(self) -> None:
        values = np.array([0.1, 0.2, 0.3, -0.1])
        assert sign_flip(values) == pytest.approx(brute_force(values))

    def test_it_agrees_with_scipy_up_to_fifteen_units(self) -> None:
        values = np.random.default_rng(0).normal(0.4, 1, 13)
        theirs = stats.permutation_test((values,), np.sum, permutation_type="samples", n_resamples=np.inf, vectorized=False)
        assert sign_flip(values) == pytest.approx(theirs.pvalue)

    def test_it_does_not_depend_on_the_seed(self) -> None:
        values = np.random.default_rng(0).normal(size=15)
        assert sign_flip(values, seed=0) == sign_flip(values, seed=1)


class TestRandom:
    def test_it_agrees_with_scipy(self) -> None:
        values = np.random.default_rng(0).normal(0.25, 1, 40)
        theirs = stats.permutation_test((values,), np.sum, permutation_type="samples", n_resamples=20_000, rng=0, vectorized=True)
        assert sign_flip(values, 20_000) == pytest.approx(theirs.pvalue, abs=0.012)

    def test_it_is_never_zero_and_seeded(self) -> None:
        values = np.random.default_rng(0).normal(9, 1, 40)
        assert sign_flip(values, flips=500) == pytest.approx(1 / 501)
        noise = np.random.default_rng(0).normal(size=40)
        assert sign_flip(noise, 500) == sign_flip(noise, 500)
        assert sign_flip(noise, 500) != sign_flip(noise, 500, seed=1)


class TestEdges:
    def test_no_difference_is_p_one(self) -> None:
        assert sign_flip(np.zeros(8)) == 1.0
        assert sign_flip(np.array([])) == 1.0

    def test_undefined_patients_are_left_out(self) -> None:
        values = np.array([0.4, 0.1, -0.2, 0.7])
        assert sign_flip(np.array([*values, np.nan])) == sign_flip(values)
