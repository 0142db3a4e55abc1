from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from medseg.evaluation.statistics import Interval, practically_equal, wilson
from medseg.evaluation.statistics.equivalence import LEVEL


class TestPracticallyEqual:
    def test_the_interval_must_lie_within_the_margin(self) -> None:
        assert practically_equal(Interval(0.001, -0.004, 0.006), 0.01)
        assert not practically_equal(Interval(0.001, -0.004, 0.012), 0.01)
        assert not practically_equal(Interval(0.001, -0.011, 0.006), 0.01)

    def test_what_is_unknown_is_not_equal(self) -> None:
        assert not practically_equal(Interval(0.0, math.nan, math.nan), 0.01)

    def test_it_is_two_one_sided_t_tests(self) -> None:
        for seed in range(20):
            values = np.random.default_rng(seed).normal(0.002, 0.02, 30)
            ends = stats.ttest_1samp(values, 0).confidence_interval(LEVEL)
            lower = stats.ttest_1samp(values, -0.01, alternative="greater").pvalue
            upper = stats.ttest_1samp(values, 0.01, alternative="less").pvalue
            assert practically_equal(Interval(values.mean(), ends.low, ends.high), 0.01) == (max(lower, upper) < 0.05)


class TestWilson:
    @pytest.mark.parametrize(("hits", "trials"), [(0, 5), (3, 7), (40, 41), (12, 12)])
    def test_it_agrees_with_scipy(self, hits: int, trials: int) -> None:
        for level in (0.9, 0.95):
            theirs = stats.binomtest(hits, trials).proportion_ci(level, method="wilson")
            ours = wilson(hits, trials, level)
            assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
            assert ours.estimate == hits / trials

    def test_no_trials_say_nothing(self) -> None:
        assert math.isnan(wilson(0, 0).low)
