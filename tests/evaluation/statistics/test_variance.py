from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medseg.evaluation.statistics import Scores, standard_error


def of(values: np.ndarray, blocks: np.ndarray | None = None) -> Scores:
    """Values (runs, cases): a patient a case."""
    return Scores.of(values[:, :, None], [f"{at:03d}" for at in range(values.shape[1])], blocks)


class TestPatients:
    def test_one_run_is_the_paired_t_test(self) -> None:
        one, other = np.random.default_rng(0).normal(size=(2, 1, 25))
        error = standard_error(of(one), of(other))
        theirs = stats.ttest_rel(one[0], other[0])
        difference = of(one).means()[0] - of(other).means()[0]
        assert error.p_value(difference)[0] == pytest.approx(theirs.pvalue)
        interval, ends = error.t_interval(difference, 0), theirs.confidence_interval()
        assert (interval.low, interval.high) == pytest.approx((ends.low, ends.high))
        assert np.isnan(error.training[0])

    def test_the_level_of_the_interval(self) -> None:
        values = np.random.default_rng(0).normal(size=(1, 25))
        ends = stats.ttest_1samp(values[0], 0).confidence_interval(0.9)
        interval = standard_error(of(values)).t_interval(of(values).means()[0], 0, 0.9)
        assert (interval.low, interval.high) == pytest.approx((ends.low, ends.high))

    def test_cases_of_a_patient_are_one_unit(self) -> None:
        person = np.random.default_rng(0).normal(size=(1, 12, 1))
        groups = [f"{at:02d}" for at in range(12)]
        single = standard_error(Scores.of(person, groups))
        tenfold = standard_error(Scores.of(np.repeat(person, 10, axis=1), [name for name in groups for _ in range(10)]))
        np.testing.assert_allclose(tenfold.error, single.error)


class TestRuns:
    def test_without_patients_it_is_welchs_test_of_the_runs(self) -> None:
        runs, others = np.random.default_rng(1).normal(size=(2, 4, 1))
        values, compared = np.repeat(runs, 8, axis=1), np.repeat(others[:3], 8, axis=1)
        error = standard_error(of(values), of(compared))
        theirs = stats.ttest_ind(runs[:, 0], others[:3, 0], equal_var=False)
        assert error.p_value(of(values).means()[0] - of(compared).means()[0])[0] == pytest.approx(theirs.pvalue)
        assert error.training[0] == pytest.approx(1.0)

    def test_patients_and_runs_add_up_without_counting_the_rest_twice(self) -> None:
        generator = np.random.default_rng(0)
        variances = []
        for _ in range(300):
            values, others = generator.normal(0, 0.02, (2, 3, 1)) + generator.normal(0, 0.05, (2, 3, 40))
            variances.append(standard_error(of(values), of(others)).error[0] ** 2)
        truth = 2 * (0.02**2 / 3 + 0.05**2 / 120)
        assert np.mean(variances) == pytest.approx(truth, rel=0.1)

    def test_equal_runs_leave_the_patients_alone(self) -> None:
        values, others = np.random.default_rng(0).normal(size=(2, 1, 20))
        repeated = standard_error(of(np.repeat(values, 3, axis=0)), of(np.repeat(others, 3, axis=0)))
        np.testing.assert_allclose(repeated.error, standard_error(of(values), of(others)).error)
        np.testing.assert_allclose(repeated.training, 0, atol=1e-12)


class TestFolds:
    def test_folds_of_equal_size_are_a_t_test_of_their_means(self) -> None:
        values, others = np.random.default_rng(0).normal(size=(2, 1, 30))
        blocks = np.repeat(np.arange(5), 6)
        error = standard_error(of(values, blocks), of(others, blocks))
        folds = (values - others).reshape(5, 6).mean(axis=1)
        p_value = error.p_value(of(values, blocks).means()[0] - of(others, blocks).means()[0])[0]
        assert p_value == pytest.approx(stats.ttest_1samp(folds, 0).pvalue)


class TestEdges:
    def test_no_difference_at_all_has_p_one(self) -> None:
        values = np.random.default_rng(0).normal(size=(2, 9))
        error = standard_error(of(values), of(values))
        assert error.p_value(np.zeros(2))[0] == 1.0

    def test_a_class_without_values_is_unknown(self) -> None:
        values = np.random.default_rng(0).normal(size=(2, 9, 2))
        values[:, :, 1] = np.nan
        error = standard_error(Scores.of(values, list("abcdefghi")))
        assert np.isnan(error.error[2])
        assert np.isnan(error.p_value(np.array([0.1, 0.1, np.nan]))[2])

    def test_other_patients_are_refused(self) -> None:
        with pytest.raises(ValueError, match="same patients"):
            standard_error(of(np.ones((1, 3))), of(np.ones((1, 4))))
