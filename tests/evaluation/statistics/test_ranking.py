from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medseg.evaluation.statistics import Ranking, rank_by_case_ranks, rank_by_mean, rank_by_tests


class TestRules:
    def test_by_mean(self) -> None:
        means = np.array([[0.7, 0.9, 0.8], [0.5, 0.5, 0.1]])
        np.testing.assert_array_equal(rank_by_mean(means, higher_is_better=True), [[3, 1, 2], [1, 1, 3]])
        np.testing.assert_array_equal(rank_by_mean(means, higher_is_better=False), [[1, 3, 2], [2, 2, 1]])

    def test_by_tests_only_shown_gaps_make_an_order(self) -> None:
        # Pairs 01, 02, 12: the first beats the third, and nothing else is shown.
        p_values, gaps = np.array([[0.5, 0.001, 0.04]]), np.array([[0.1, 0.3, 0.2]])
        np.testing.assert_array_equal(rank_by_tests(p_values, gaps, higher_is_better=True), [[1, 2, 2]])
        np.testing.assert_array_equal(rank_by_tests(p_values, gaps, higher_is_better=False), [[2, 2, 1]])
        np.testing.assert_array_equal(rank_by_tests(p_values, gaps, higher_is_better=True, alpha=0.2), [[1, 1, 3]])

    def test_by_case_ranks_one_disaster_does_not_decide(self) -> None:
        values = np.array([[[0.9, 0.8], [0.9, 0.8], [0.0, 0.8]]])
        np.testing.assert_array_equal(rank_by_case_ranks(values, np.ones((1, 3)), higher_is_better=True), [[1, 2]])
        np.testing.assert_array_equal(rank_by_mean(values.mean(axis=1), higher_is_better=True), [[2, 1]])
        np.testing.assert_array_equal(rank_by_case_ranks(values, np.array([[0.0, 1, 5]]), higher_is_better=True), [[2, 1]])
        np.testing.assert_array_equal(rank_by_case_ranks(values, np.ones((1, 3)), higher_is_better=False), [[2, 1]])

    def test_a_case_without_a_value_is_left_out(self) -> None:
        values = np.array([[[0.1, 0.2], [np.nan, 0.1], [0.5, 0.4], [0.1, 0.3]]])
        np.testing.assert_array_equal(rank_by_case_ranks(values, np.ones((1, 4)), higher_is_better=True), [[2, 1]])


class TestStability:
    def test_frequencies_are_shares_of_the_resamples(self) -> None:
        ranking = Ranking.of(np.array([1, 2]), np.array([[1, 2], [1, 2], [2, 1], [1, 1]]))
        np.testing.assert_allclose(ranking.frequency, [[0.75, 0.25], [0.5, 0.5]])
        assert (ranking.low.tolist(), ranking.high.tolist()) == ([1, 1], [2, 2])

    def test_tau_agrees_with_scipy(self) -> None:
        generator = np.random.default_rng(0)
        ranks, resampled = generator.integers(1, 5, 6), generator.integers(1, 5, (40, 6))
        expected = np.mean([stats.kendalltau(ranks, row).statistic for row in resampled])
        assert Ranking.of(ranks, resampled).tau == pytest.approx(expected)

    def test_an_order_that_never_changes_has_tau_one(self) -> None:
        ranks = np.array([3, 1, 2])
        assert Ranking.of(ranks, np.tile(ranks, (5, 1))).tau == pytest.approx(1.0)

    def test_ties_of_all_methods_have_no_tau(self) -> None:
        assert np.isnan(Ranking.of(np.ones(3, int), np.array([[1, 2, 3]])).tau)
        assert Ranking.of(np.array([1, 2, 3]), np.ones((4, 3), int)).tau == 0.0
