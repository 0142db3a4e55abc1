from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.statistics import Scores


def example(runs: int = 2, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Values (runs, 9 cases, 2 classes) of four patients, some left out."""
    values = np.random.default_rng(seed).random((runs, 9, 2))
    values[:, 3, 1] = values[:, 7, 0] = np.nan
    return values, list("aabbbccdd")


class TestMeans:
    def test_they_are_means_over_classes_of_means_over_cases(self) -> None:
        values, groups = example()
        classes = [np.nanmean(values[:, :, k]) for k in range(2)]
        np.testing.assert_allclose(Scores.of(values, groups).means()[0], [np.mean(classes), *classes])

    def test_weights_are_repetitions(self) -> None:
        values, groups = example()
        drawn = np.concatenate([np.flatnonzero(np.array(groups) == name) for name in "aacd"])
        classes = [np.nanmean(values[1][drawn, k]) for k in range(2)]
        means = Scores.of(values, groups).means(np.array([[2.0, 0, 1, 1]]), np.array([[0.0, 1.0]]))
        np.testing.assert_allclose(means[0], [np.mean(classes), *classes])

    def test_a_class_without_values_is_left_out(self) -> None:
        values, groups = example()
        values[:, :, 1] = np.nan
        means = Scores.of(values, groups).means()[0]
        assert np.isnan(means[2])
        assert means[0] == means[1]

    def test_patients_differ_in_cases(self) -> None:
        values, groups = example(1)
        np.testing.assert_allclose(Scores.of(values, groups).patient_means()[1], np.nanmean(values[0, 2:5]))

    def test_contributions_add_up_to_the_mean(self) -> None:
        scores = Scores.of(*example())
        assert scores.contributions().sum() == pytest.approx(scores.means()[0, 0])


class TestInfluence:
    def test_it_is_the_derivative_of_the_mean_by_the_weights(self) -> None:
        scores = Scores.of(*example())
        step = 1e-6
        for patient in range(4):
            weights = np.ones((1, 4))
            weights[0, patient] += step
            slope = (scores.means(weights) - scores.means())[0] / step
            np.testing.assert_allclose(scores.influence().mean(axis=0)[patient], slope, atol=1e-5)

    def test_summed_over_patients_it_is_the_deviation_of_a_run(self) -> None:
        scores = Scores.of(*example())
        for run in range(2):
            only = scores.means(runs=np.eye(2)[[run]])[0]
            np.testing.assert_allclose(scores.influence()[run].sum(axis=0), only - scores.means()[0], atol=1e-12)


class TestRefusals:
    def test_infinite_values(self) -> None:
        with pytest.raises(ValueError, match="finite"):
            Scores.of(np.array([[[np.inf]]]), ["a"])

    def test_a_value_that_only_some_runs_have(self) -> None:
        with pytest.raises(ValueError, match="alike"):
            Scores.of(np.array([[[np.nan]], [[1.0]]]), ["a"])

    def test_a_patient_in_two_folds(self) -> None:
        with pytest.raises(ValueError, match="two folds"):
            Scores.of(np.ones((1, 2, 1)), ["a", "a"], np.array([0, 1]))

    def test_repetitions_are_runs_or_folds(self) -> None:
        assert not Scores.of(np.ones((1, 2, 1)), ["a", "b"]).repeated
        assert Scores.of(np.ones((2, 2, 1)), ["a", "b"]).repeated
        assert Scores.of(np.ones((1, 2, 1)), ["a", "b"], np.array([0, 1])).repeated
