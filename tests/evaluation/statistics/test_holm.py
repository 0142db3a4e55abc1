from __future__ import annotations

import numpy as np

from medseg.evaluation.statistics import holm
from medseg.evaluation.statistics.holm import holm_rows


def by_hand(p_values: list[float]) -> list[float]:
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    result, worst = [0.0] * len(p_values), 0.0
    for place, at in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - place) * p_values[at]))
        result[at] = worst
    return result


class TestHolm:
    def test_the_example_of_the_docstring(self) -> None:
        np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])

    def test_it_equals_the_definition(self) -> None:
        for seed in range(20):
            p_values = np.random.default_rng(seed).beta(0.5, 2, 7).round(2).tolist()
            np.testing.assert_allclose(holm(p_values), by_hand(p_values))

    def test_one_test_stays_as_it_is(self) -> None:
        assert holm([0.2]) == [0.2]

    def test_undefined_tests_do_not_count(self) -> None:
        np.testing.assert_allclose(holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])

    def test_rows_are_corrected_apart(self) -> None:
        p_values = np.random.default_rng(0).random((4, 6))
        np.testing.assert_allclose(holm_rows(p_values), [holm(row) for row in p_values])

    def test_families_of_true_nulls_hold_5_percent(self) -> None:
        p_values = np.random.default_rng(0).random((4000, 10))
        assert 0.035 < (holm_rows(p_values) < 0.05).any(axis=1).mean() < 0.065
