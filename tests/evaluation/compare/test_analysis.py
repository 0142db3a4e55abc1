from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from medseg.evaluation.compare import Comparison, compare
from medseg.evaluation.compare.runs import ScoredRun
from medseg.evaluation.compare.verdicts import cautions, repetitions, sentences, signed, verdict
from medseg.metrics import MetricOptions, Row, aggregate

from .conftest import MakeRun

FOCAL = ("loss.terms=[{name: focal}]",)
CASES = tuple(f"case{at:02d}" for at in range(40))
PHRASE = "difference between two trained models, not between losses"


def words(comparison: Comparison) -> str:
    return " ".join([*sentences(comparison), *(verdict(comparison, pair) for pair in comparison.tests)])


class TestMeans:
    def test_intervals_end_where_the_metric_ends(self, make_run: MakeRun) -> None:
        runs = [make_run(name, seed, overrides=loss, run_sd=0.5, level=0.5) for name, loss in (("a", ()), ("b", FOCAL)) for seed in (0, 1)]
        comparison = compare(runs)
        dice = [comparison.mean(method, "dice", None).interval for method in (0, 1)]
        assert min(one.low for one in dice) == 0
        assert max(one.high for one in dice) == 1
        assert min(comparison.mean(method, "hd95", None).interval.low for method in (0, 1)) == 0

    def test_one_run_has_the_mean_and_interval_of_its_own_summary(self, make_run: MakeRun) -> None:
        runs = [make_run("a", per_patient=2), make_run("b", overrides=FOCAL, per_patient=2)]
        comparison = compare(runs)
        for method, run in enumerate(runs):
            alone = aggregate(ScoredRun.read(run).rows)
            for name in (None, "lesion", "organ"):
                one, other = comparison.mean(method, "dice", name), alone["dice" if name is None else f"dice/{name}"]
                assert one.interval.estimate == pytest.approx(other.mean)
                assert (one.interval.low, one.interval.high) == pytest.approx((other.low, other.high))
                assert (one.sd, one.median, one.q25, one.q75, one.p5) == pytest.approx(
                    (other.sd, other.median, other.q25, other.q75, other.p5)
                )
                assert one.values == other.n_valid
                assert one.t is not None  # 20 patients
                assert (one.t.low, one.t.high) == pytest.approx((other.t_low, other.t_high))

    def test_runs_are_averaged_and_told(self, two_losses: list[Path]) -> None:
        one = compare(two_losses).mean(0, "dice")
        runs = [aggregate(ScoredRun.read(run).rows)["dice"].mean for run in two_losses[:3]]
        assert one.runs == pytest.approx(runs)
        assert one.interval.estimate == pytest.approx(np.mean(runs))
        assert (one.cases, one.values, one.patients, one.t) == (40, 240, 40, None)


class TestEmptyMasks:
    def test_a_false_alarm_counts_against_a_right_nothing(self, make_run: MakeRun) -> None:
        empty = ("case00", "case01")
        silent = make_run("silent", ref_empty=empty, pred_empty=empty)
        alarmed = make_run("alarmed", overrides=FOCAL, ref_empty=empty, pred_empty=("case01",))
        comparison = compare([silent, alarmed])
        one, other = comparison.mean(0, "dice", "lesion"), comparison.mean(1, "dice", "lesion")
        assert (one.both_empty, one.rewarded, one.cases) == (2, 1, 39)  # case00; in case01 no run has a value
        assert (other.both_empty, other.rewarded, other.invented, other.cases) == (1, 0, 1, 39)
        values = comparison.tables["dice"].values
        assert (values[0][0, 0, 0], values[1][0, 0, 0]) == (1.0, 0.0)
        assert np.isnan(values[0][0, 1, 0])
        assert comparison.tables["hd95"].values[0][0, 0, 0] == 0.0  # the best distance

    def test_the_own_mean_is_that_of_the_own_report(self, make_run: MakeRun) -> None:
        empty = ("case00", "case01")
        runs = [make_run("silent", ref_empty=empty, pred_empty=empty), make_run("alarmed", overrides=FOCAL, ref_empty=empty)]
        comparison = compare(runs)
        for name in (None, "lesion"):
            alone = aggregate(ScoredRun.read(runs[0]).rows)["dice" if name is None else "dice/lesion"]
            one = comparison.mean(0, "dice", name)
            assert one.own == pytest.approx(alone.mean)
            assert one.interval.estimate > one.own
        assert (comparison.mean(0, "dice", "lesion").own_cases, comparison.mean(1, "dice", "lesion").own_cases) == (38, 40)

    def test_the_rule_of_the_comparison_is_said(self, make_run: MakeRun) -> None:
        said = compare([make_run("a"), make_run("b", overrides=FOCAL)]).definitions["empty"]
        assert "excluded only where all compared runs are empty" in said
        assert "excluded from the mean" not in said
        assert "distances the diagonal" in said
        best = MetricOptions(both_empty="best")
        said = compare([make_run("a", options=best), make_run("b", overrides=FOCAL, options=best)]).definitions["empty"]
        assert "excluded" not in said

    def test_a_failed_prediction_of_an_empty_class_counts_as_it_stands(self, make_run: MakeRun) -> None:
        def fail(rows: list[Row]) -> list[Row]:
            hit = ("case00", "lesion")
            return [
                replace(row, value=0.0, penalised=row.metric == "dice") if (row.case_id, row.class_name) == hit else row for row in rows
            ]

        empty = ("case00",)
        failed = make_run("failed", ref_empty=empty, pred_empty=empty, change=fail)
        right = make_run("right", overrides=FOCAL, ref_empty=empty, pred_empty=empty)
        comparison = compare([failed, right])
        one, other = comparison.mean(0, "dice", "lesion"), comparison.mean(1, "dice", "lesion")
        assert (one.both_empty, one.rewarded, one.penalised, one.missed, one.cases) == (0, 0, 1, 0, 40)
        assert (other.both_empty, other.rewarded) == (1, 1)
        assert (comparison.tables["dice"].values[0][0, 0, 0], comparison.tables["dice"].values[1][0, 0, 0]) == (0.0, 1.0)

    def test_missed_structures_and_penalties_are_counted(self, make_run: MakeRun) -> None:
        comparison = compare([make_run("a", pred_empty=("case04", "case05")), make_run("b", overrides=FOCAL)])
        assert comparison.mean(0, "dice").missed == 2
        assert comparison.mean(0, "dice").penalised == 0
        assert comparison.mean(0, "hd95").penalised == 2
        assert comparison.mean(0, "dice", "organ").missed == 0
        assert comparison.mean(0, "dice").failed == 2

    def test_a_value_that_one_method_lacks_is_left_out_of_all_and_said(self, make_run: MakeRun) -> None:
        comparison = compare([make_run("a", undefined=("case07",)), make_run("b", overrides=FOCAL)])
        assert [comparison.mean(method, "dice", "lesion").cases for method in (0, 1)] == [39, 39]
        assert any("left out of all methods" in warning for warning in comparison.warnings)


class TestTests:
    def test_a_clear_difference_of_repeated_runs_is_claimed(self, two_losses: list[Path]) -> None:
        comparison = compare(two_losses)
        (pair,) = comparison.tests
        assert pair.repeated
        assert pair.claimed
        assert pair.p_holm == pair.p_hierarchical < 0.05
        assert pair.difference.estimate == pytest.approx(-0.04, abs=0.01)
        assert (pair.wins, pair.ties) == (0, 0)
        assert pair.effect == -1
        assert 0 <= pair.training <= 1
        assert "focal is significantly better than bce_dice" in words(comparison)

    def test_one_run_each_is_never_called_so(self, two_losses: list[Path]) -> None:
        comparison = compare([two_losses[0], two_losses[3]])
        (pair,) = comparison.tests
        assert pair.p_holm == pair.p_sign_flip < 0.05
        assert np.isnan(pair.p_hierarchical)
        assert PHRASE in words(comparison)
        assert "significan" not in words(comparison).lower()

    def test_neither_is_one_run_against_three(self, two_losses: list[Path]) -> None:
        comparison = compare(two_losses[:4])
        assert not comparison.tests[0].repeated
        assert PHRASE in words(comparison)
        assert "significan" not in words(comparison).lower()

    def test_folds_are_repetitions(self, make_run: MakeRun) -> None:
        folds = [tuple(f"case{at:02d}" for at in range(start, start + 8)) for start in range(0, 40, 8)]
        runs = [
            make_run(name, cases=fold, level=level, overrides=(*more, f"data.fold={at}"))
            for name, level, more in (("a", 0.8, ()), ("b", 0.85, FOCAL))
            for at, fold in enumerate(folds)
        ]
        comparison = compare(runs)
        assert (comparison.folds, len(comparison.cases.ids), len(comparison.mean(0, "dice").runs)) == (5, 40, 5)
        assert comparison.tests[0].claimed
        assert comparison.mean(0, "dice").values == 80

    def test_runs_that_scatter_more_than_methods_differ_are_not_told_apart(self, make_run: MakeRun) -> None:
        levels = ((0.80, 0.84, 0.82), (0.83, 0.81, 0.85))
        runs = [
            make_run(name, seed, level=level, run_sd=0.0, overrides=more)
            for name, more, of in (("a", (), levels[0]), ("b", FOCAL, levels[1]))
            for seed, level in enumerate(of)
        ]
        (pair,) = compare(runs).tests
        assert pair.p_sign_flip < 0.05 < pair.p_hierarchical
        assert pair.training > 0.8
        assert not pair.differs

    def test_equal_methods_within_the_margin_are_practically_equal(self, make_run: MakeRun) -> None:
        runs = [make_run(name, seed, overrides=more) for name, more in (("a", ()), ("b", FOCAL)) for seed in range(3)]
        assert "practically equal" in words(compare(runs, margin=0.03))
        assert "practically equal" not in words(compare(runs, margin=0.0001))

    def test_differences_of_shares_are_cut_at_one_and_then_said_to_be_unusable(self, make_run: MakeRun) -> None:
        runs = [
            make_run(name, seed, level=0.1 + 0.8 * seed, overrides=more, cases=CASES[:6])
            for name, more in (("a", ()), ("b", FOCAL))
            for seed in (0, 1)
        ]
        comparison = compare(runs)
        (pair,) = comparison.tests
        assert pair.t is not None
        for one in (pair.difference, pair.narrow, pair.t):
            assert -1 <= one.low <= one.high <= 1
        assert (pair.difference.low, pair.difference.high) == (-1, 1)
        assert "no usable interval from 2 runs" in words(comparison)
        assert "[-1.000, 1.000]" not in words(comparison)
        assert "2 runs of a method are too few to give an interval of the difference." in cautions(comparison)
        distances = [one for one in comparison.explored if one.metric == "hd95"]
        assert max(one.difference.high for one in distances) > 1  # mm have no such end

    def test_the_same_predictions_are_identical(self, make_run: MakeRun) -> None:
        runs = [make_run("same", config=False) for _ in range(2)]
        comparison = compare(runs)
        assert comparison.tests[0].identical
        assert verdict(comparison, comparison.tests[0]) == "identical in every case"
        assert signed(comparison, comparison.tests[0]).endswith(": 0.000 [0.000, 0.000]")
        equal = compare(runs, margin=0.01)
        assert "identical in every case, and practically equal" in verdict(equal, equal.tests[0])
        other = compare([runs[0], make_run("other", config=False)])
        assert not other.tests[0].identical

    def test_folders_are_called_folders(self, make_run: MakeRun) -> None:
        comparison = compare([make_run("a", config=False), make_run("b", config=False, level=0.85)])
        said = " ".join([words(comparison), *cautions(comparison)])
        assert "difference between two folders" in said
        assert "train" not in said.replace("no training is known", "").replace("before training", "")
        assert repetitions(comparison, 0) == "a folder"
        mixed = compare([make_run("a"), make_run("b", config=False)])
        assert any("One training run of a:" in one for one in cautions(mixed))

    def test_the_correction_is_over_all_pairs(self, make_run: MakeRun) -> None:
        runs = [make_run(name, 0, overrides=(f"optimizer.params.lr=0.{at}",)) for at, name in enumerate("abcd", 1)]
        comparison = compare(runs)
        assert len(comparison.tests) == 6
        smallest = min(comparison.tests, key=lambda pair: pair.p)
        assert smallest.p_holm == pytest.approx(min(1, 6 * smallest.p))

    def test_patients_are_the_unit(self, make_run: MakeRun) -> None:
        comparison = compare([make_run("a", per_patient=10), make_run("b", overrides=FOCAL, per_patient=10, level=0.85)])
        (pair,) = comparison.tests
        assert comparison.patients == 4
        assert pair.wins + pair.ties + pair.losses == 4
        assert pair.p_sign_flip == 2 / 16  # all four differ the same way
        assert pair.t is not None

    def test_other_metrics_are_explored_without_tests(self, two_losses: list[Path]) -> None:
        comparison = compare(two_losses)
        assert {(pair.metric, pair.class_name) for pair in comparison.explored} == {
            ("dice", "lesion"),
            ("dice", "organ"),
            ("hd95", None),
            ("hd95", "lesion"),
            ("hd95", "organ"),
        }
        assert all(np.isnan(pair.p_sign_flip) for pair in comparison.explored)

    def test_lower_distances_win(self, two_losses: list[Path]) -> None:
        comparison = compare(two_losses, metric="hd95")
        assert comparison.order() == [1, 0]
        assert comparison.tests[0].losses == 40
        assert "focal is significantly better" in words(comparison)


class TestRankings:
    def test_both_rules_and_the_mean_stand_side_by_side(self, make_run: MakeRun) -> None:
        runs = [
            make_run(name, seed, level=level, overrides=(f"optimizer.params.lr=0.{at}",))
            for at, (name, level) in enumerate((("low", 0.7), ("high", 0.9), ("middle", 0.8)), 1)
            for seed in range(2)
        ]
        rankings = compare(runs).rankings
        assert list(rankings) == ["mean", "tests", "cases"]
        for ranking in rankings.values():
            assert ranking.ranks.tolist() == [3, 1, 2]
            assert ranking.frequency.shape == (3, 3)
            np.testing.assert_allclose(ranking.frequency.sum(axis=1), 1)
        assert rankings["mean"].tau == pytest.approx(1, abs=0.05)

    def test_one_run_each_is_ranked_too(self, make_run: MakeRun) -> None:
        runs = [make_run(name, level=level, overrides=more) for name, level, more in (("a", 0.8, ()), ("b", 0.801, FOCAL))]
        rankings = compare(runs).rankings
        assert 0 < rankings["mean"].frequency[0, 0] < 1
        assert rankings["cases"].frequency.shape == (2, 2)


class TestSame:
    def test_the_order_of_the_runs_changes_nothing_but_the_order_of_methods(self, two_losses: list[Path]) -> None:
        forward = compare(two_losses)
        for shuffled in ([two_losses[at] for at in (2, 0, 1, 5, 4, 3)], two_losses):
            again = compare(shuffled)
            assert again.tests == forward.tests
            assert again.means == forward.means

    def test_the_best_comes_first(self, two_losses: list[Path]) -> None:
        comparison = compare(two_losses)
        estimates = [comparison.mean(at, "dice").interval.estimate for at in comparison.order()]
        assert all(a >= b for a, b in pairwise(estimates))

    def test_the_rule_for_empty_masks_is_kept(self, make_run: MakeRun) -> None:
        best = MetricOptions(both_empty="best")
        comparison = compare([make_run("a", options=best), make_run("b", overrides=FOCAL, options=best)])
        assert comparison.options["both_empty"] == "best"
