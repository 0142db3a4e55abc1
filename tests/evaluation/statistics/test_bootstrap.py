from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medseg.evaluation.statistics import bootstrap_difference, bootstrap_mean, paired_differences


class TestMean:
    def test_it_agrees_with_scipy(self) -> None:
        values = np.random.default_rng(0).normal(0.8, 0.1, 60)
        ours = bootstrap_mean(values, [f"{i}" for i in range(60)], resamples=20_000)
        theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
        assert ours.estimate == pytest.approx(values.mean())
        assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=8e-4)

    def test_patients_are_drawn_with_all_their_cases(self) -> None:
        person = np.random.default_rng(0).normal(size=20)
        cases, groups = np.repeat(person, 10), [f"{i}" for i in np.repeat(np.arange(20), 10)]
        by_patient, by_case = bootstrap_mean(cases, groups), bootstrap_mean(cases, [f"{i}" for i in range(200)])
        once = bootstrap_mean(person, [f"{i}" for i in range(20)])
        assert (by_patient.low, by_patient.high) == pytest.approx((once.low, once.high))
        assert by_patient.high - by_patient.low > 2.5 * (by_case.high - by_case.low)

    def test_the_level_and_the_seed_matter(self) -> None:
        values, groups = np.random.default_rng(0).normal(size=40), [f"{i}" for i in range(40)]
        wide, narrow = bootstrap_mean(values, groups, level=0.99), bootstrap_mean(values, groups, level=0.5)
        assert wide.low < narrow.low < narrow.high < wide.high
        assert bootstrap_mean(values, groups) == bootstrap_mean(values, groups)
        assert bootstrap_mean(values, groups) != bootstrap_mean(values, groups, seed=1)

    def test_undefined_cases_are_left_out(self) -> None:
        values = np.array([0.1, np.nan, 0.3])
        assert bootstrap_mean(values, list("abc")).estimate == pytest.approx(0.2)
        assert np.isnan(bootstrap_mean(np.array([0.1, np.nan]), list("ab")).low)

    def test_95_percent_of_intervals_hold_the_mean(self) -> None:
        generator, groups = np.random.default_rng(0), [f"{i}" for i in range(60)]
        held = [not bootstrap_mean(generator.beta(8, 2, 60), groups, 300).excludes(0.8) for _ in range(200)]
        assert 0.9 < np.mean(held) < 0.985


class TestDifference:
    def test_pairing_takes_the_case_out(self) -> None:
        generator, groups = np.random.default_rng(0), [f"{i}" for i in range(50)]
        case = generator.normal(0.7, 0.2, 50)
        one, other = case + generator.normal(0.02, 0.02, 50), case + generator.normal(0, 0.02, 50)
        paired, alone = bootstrap_difference(one, other, groups), bootstrap_mean(one, groups)
        assert paired.estimate == pytest.approx((one - other).mean())
        assert paired.high - paired.low < 0.2 * (alone.high - alone.low)

    def test_other_shapes_cannot_be_paired(self) -> None:
        with pytest.raises(ValueError, match="paired"):
            paired_differences(np.ones(3), np.ones(4))
