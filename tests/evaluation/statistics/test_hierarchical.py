"""Simulations of methods that are equal, or differ by a known gap: what the analysis says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from medseg.evaluation.statistics import Resampling, Scores, hierarchical_interval, sign_flip, standard_error, wilcoxon


@dataclass(frozen=True)
class World:
    """Two methods with Dice-like scores: case + method x case + training run + rest."""

    runs: int = 3
    patients: int = 60
    folds: int = 1
    run_sd: float = 0.008
    interaction_sd: float = 0.03
    rest_sd: float = 0.02
    gain: float = 0.0

    def draw(self, generator: np.random.Generator) -> tuple[Scores, Scores]:
        groups = [f"{at:03d}" for at in range(self.patients)]
        blocks = np.arange(self.patients) % self.folds
        case = generator.normal(0.8, 0.15, self.patients)
        methods = []
        for gain in (self.gain, 0.0):
            own = generator.normal(gain, self.interaction_sd, self.patients)
            run = generator.normal(0, self.run_sd, (self.runs, self.folds))[:, blocks]
            values = case + own + run + generator.normal(0, self.rest_sd, (self.runs, self.patients))
            methods.append(Scores.of(values[:, :, None], groups, blocks))
        return methods[0], methods[1]


def naive(a: Scores, b: Scores) -> bool:
    return wilcoxon(a.patient_means() - b.patient_means()).p < 0.05


def flipped(a: Scores, b: Scores) -> bool:
    return sign_flip(a.contributions() - b.contributions(), 400) < 0.05


def findings(world: World, times: int, *tests: Callable[[Scores, Scores], bool], seed: int = 0) -> list[float]:
    """How often each test finds a difference."""
    generator = np.random.default_rng(seed)
    return np.mean([[test(a, b) for test in tests] for a, b in (world.draw(generator) for _ in range(times))], axis=0).tolist()


def ours(a: Scores, b: Scores) -> bool:
    return bool(standard_error(a, b).p_value(a.means()[0] - b.means()[0])[0] < 0.05)


def coverage(world: World, times: int, seed: int = 0) -> tuple[float, float, float]:
    """How often the interval of the difference, its bare percentiles, and the interval of a mean hold the truth."""
    generator = np.random.default_rng(seed)
    held = []
    for at in range(times):
        a, b = world.draw(generator)
        draws = Resampling([a, b], 300, at).means([a, b])
        low, high = np.quantile((draws[0] - draws[1])[:, 0], [0.025, 0.975])
        held.append(
            (
                not hierarchical_interval(a, draws[0], b, draws[1])[0].excludes(world.gain),
                low <= world.gain <= high,
                not hierarchical_interval(a, draws[0])[0].excludes(0.8 + world.gain),
            )
        )
    difference, bare, mean = np.mean(held, axis=0)
    return float(difference), float(bare), float(mean)


class TestEqualMethods:
    def test_one_run_each_and_training_noise_make_the_naive_tests_wrong(self) -> None:
        wilcoxon_found, flip_found = findings(World(runs=1), 300, naive, flipped)
        assert wilcoxon_found > 0.15
        assert flip_found > 0.15

    def test_without_training_noise_the_tests_of_patients_hold_their_level(self) -> None:
        for share in findings(World(runs=1, run_sd=0.0), 300, naive, flipped):
            assert 0.02 < share < 0.09

    @pytest.mark.parametrize(("runs", "folds"), [(2, 1), (3, 1), (1, 5)])
    def test_repeated_training_brings_false_findings_back_to_5_percent(self, runs: int, folds: int) -> None:
        world = World(runs=runs, folds=folds, run_sd=0.03)
        wilcoxon_found, found = findings(world, 250, naive, ours)
        assert wilcoxon_found > 0.3
        assert 0.01 < found < 0.09
        difference, bare, _ = coverage(world, 100)
        assert 0.89 < difference < 0.99
        assert bare < difference

    @pytest.mark.slow
    @pytest.mark.parametrize("run_sd", [0.0, 0.008, 0.03])
    @pytest.mark.parametrize(("runs", "folds"), [(2, 1), (3, 1), (5, 1), (1, 3), (1, 5), (2, 5)])
    def test_the_level_holds_whatever_the_noise(self, runs: int, folds: int, run_sd: float) -> None:
        world = World(runs=runs, folds=folds, run_sd=run_sd)
        assert 0.02 < findings(world, 1500, ours)[0] < 0.075
        difference, _, mean = coverage(world, 800)
        assert 0.905 < difference < 0.985
        assert 0.89 < mean < 0.98

    @pytest.mark.slow
    def test_more_patients_make_one_run_worse(self) -> None:
        few, many = (findings(World(runs=1, patients=patients), 600, naive)[0] for patients in (30, 300))
        assert many > few + 0.15


class TestUnequalMethods:
    def test_a_gap_is_found(self) -> None:
        assert findings(World(gain=0.05), 100, ours)[0] > 0.95


class TestResampling:
    def test_patients_are_the_same_for_all_methods_and_runs_are_not(self) -> None:
        a, b = World().draw(np.random.default_rng(0))
        resampling = Resampling([a, b], 50)
        same = resampling.means([a, a])
        np.testing.assert_allclose(resampling.patients.sum(axis=1), a.patients)
        assert not np.allclose(same[0], same[1])  # same patients, other runs
        alone = Resampling([World(runs=1).draw(np.random.default_rng(0))[0]] * 2, 50)
        np.testing.assert_array_equal(alone.runs[0], alone.runs[1])

    def test_rows_of_run_weights_add_up_to_one(self) -> None:
        for runs in (1, 2, 3):
            a, b = World(runs=runs).draw(np.random.default_rng(0))
            for weights in Resampling([a, b], 50).runs:
                np.testing.assert_allclose(weights.sum(axis=1), 1)

    def test_folds_come_and_go_whole(self) -> None:
        a, b = World(runs=1, folds=5).draw(np.random.default_rng(0))
        weights = Resampling([a, b], 50).patients
        for fold in range(5):
            assert np.ptp(weights[:, a.blocks == fold], axis=1).max() == 0

    def test_one_run_gives_the_plain_percentile_interval(self) -> None:
        a, b = World(runs=1).draw(np.random.default_rng(0))
        draws = Resampling([a, b], 500).means([a, b])
        interval = hierarchical_interval(a, draws[0], b, draws[1], 0.9)[0]
        assert (interval.low, interval.high) == tuple(np.quantile((draws[0] - draws[1])[:, 0], [0.05, 0.95]))

    def test_the_seed_and_the_level_matter(self) -> None:
        a, b = World().draw(np.random.default_rng(0))
        first, again, other = (Resampling([a, b], 50, seed).means([a, b])[0] for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)
        wide, narrow = (hierarchical_interval(a, first, level=level)[0] for level in (0.95, 0.5))
        assert wide.low < narrow.low < narrow.high < wide.high
