from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
from scipy import stats

from medseg.metrics import Row, aggregate


def row(case_id: str, class_name: str, value: float, group: str = "", metric: str = "dice") -> Row:
    empty = math.isnan(value)
    voxels = 0 if empty else 10
    return Row(case_id, group or case_id, class_name, metric, value, False, empty, empty, voxels, voxels, 0.1, 0.1, 1, 1, (1.0, 1.0, 1.0))


class TestMeans:
    rows = tuple(row(f"{i}", "liver", value) for i, value in enumerate([0.2, 0.4, 0.9]))

    def test_mean_spread_and_median_are_those_of_numpy(self) -> None:
        one = aggregate(self.rows)["dice/liver"]
        assert one.mean == pytest.approx(0.5)
        assert one.sd == pytest.approx(np.std([0.2, 0.4, 0.9], ddof=1))
        assert (one.median, one.n_valid, one.n_both_empty) == (0.4, 3, 0)

    def test_doubly_empty_cases_are_left_out_and_counted(self) -> None:
        one = aggregate([*self.rows, row("empty", "liver", math.nan)])["dice/liver"]
        assert (one.mean, one.n_valid, one.n_both_empty) == (pytest.approx(0.5), 3, 1)

    def test_all_undefined_stays_undefined(self) -> None:
        result = aggregate([row("a", "liver", math.nan), row("b", "liver", math.nan)])
        assert all(math.isnan(x) for key in ("dice", "dice/liver") for x in (result[key].mean, result[key].median, result[key].low))
        assert result["dice"].n_both_empty == 2

    def test_the_mean_over_classes_weighs_classes_equally(self) -> None:
        rows = [*self.rows, row("0", "rare", 1.0), row("1", "rare", math.nan), row("2", "rare", math.nan)]
        assert aggregate(rows)["dice"].mean == pytest.approx((0.5 + 1.0) / 2)

    def test_a_class_that_never_occurs_does_not_lower_the_mean(self) -> None:
        rows = [*self.rows, *(row(f"{i}", "absent", math.nan) for i in range(3))]
        assert aggregate(rows)["dice"].mean == pytest.approx(0.5)

    def test_a_case_that_counts_twice_is_refused(self) -> None:
        with pytest.raises(ValueError, match="twice"):
            aggregate([*self.rows, self.rows[0]])

    def test_nothing_gives_nothing(self) -> None:
        assert aggregate([]) == {}

    def test_an_unknown_metric_is_refused(self) -> None:
        with pytest.raises(ValueError, match="dyce"):
            aggregate([row("a", "liver", 0.5, metric="dyce")])

    def test_a_class_without_rows_of_a_metric_has_no_mean_of_it(self) -> None:
        found = aggregate([*self.rows, row("0", "rare", 0.5, metric="nsd_2mm")])
        assert set(found) == {"dice", "dice/liver", "nsd_2mm", "nsd_2mm/rare"}


class TestIntervals:
    values = np.random.default_rng(0).normal(0.7, 0.1, 40)

    def test_the_interval_is_that_of_the_mean(self) -> None:
        one = aggregate([row(f"{i}", "liver", v) for i, v in enumerate(self.values)])["dice/liver"]
        half = 1.96 * self.values.std(ddof=1) / math.sqrt(40)
        assert one.low == pytest.approx(one.mean - half, abs=0.2 * half)
        assert one.high == pytest.approx(one.mean + half, abs=0.2 * half)

    def test_it_does_not_depend_on_the_order_of_cases(self) -> None:
        rows = [row(f"{i}", "liver", v, group=f"p{i % 7}") for i, v in enumerate(self.values)]
        shuffled = random.Random(1).sample(rows, len(rows))
        one, other = aggregate(rows)["dice/liver"], aggregate(shuffled)["dice/liver"]
        assert dataclasses.astuple(one)[:2] == dataclasses.astuple(other)[:2]
        assert dataclasses.astuple(one)[2:] == pytest.approx(dataclasses.astuple(other)[2:])

    def test_copies_of_a_patient_do_not_narrow_it(self) -> None:
        single = [row(f"{i}", "liver", v, group=f"p{i}") for i, v in enumerate(self.values[:10])]
        copies = [dataclasses.replace(r, case_id=f"{r.case_id}-{k}") for r in single for k in range(8)]
        once, often = aggregate(single)["dice/liver"], aggregate(copies)["dice/liver"]
        assert (often.low, often.high) == pytest.approx((once.low, once.high))

    def test_one_patient_has_no_interval(self) -> None:
        one = aggregate([row("a", "liver", 0.5, "p"), row("b", "liver", 0.6, "p")])["dice/liver"]
        assert math.isnan(one.low)
        assert math.isnan(one.high)

    def test_the_t_interval_is_students(self) -> None:
        values = self.values[:12]
        one = aggregate([row(f"{i}", "liver", v) for i, v in enumerate(values)])["dice/liver"]
        expected = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
        assert (one.t_low, one.t_high) == pytest.approx(expected)

    def test_copies_of_a_patient_do_not_narrow_the_t_interval_either(self) -> None:
        single = [row(f"{i}", "liver", v, group=f"p{i}") for i, v in enumerate(self.values[:10])]
        copies = [dataclasses.replace(r, case_id=f"{r.case_id}-{k}") for r in single for k in range(8)]
        once, often = aggregate(single)["dice"], aggregate(copies)["dice"]
        assert (often.t_low, often.t_high) == pytest.approx((once.t_low, once.t_high))

    def test_over_equal_classes_it_is_that_of_one(self) -> None:
        rows = [row(f"{i}", name, v) for i, v in enumerate(self.values[:10]) for name in ("a", "b")]
        found = aggregate(rows)
        assert (found["dice"].t_low, found["dice"].t_high) == pytest.approx((found["dice/a"].t_low, found["dice/a"].t_high))
        assert (found["dice"].low, found["dice"].high) == pytest.approx((found["dice/a"].low, found["dice/a"].high))

    def test_from_thirty_patients_on_the_bootstrap_stands_alone(self) -> None:
        for number, stands in ((29, True), (30, False)):
            one = aggregate([row(f"{i}", "liver", v) for i, v in enumerate(self.values[:number])])["dice"]
            assert math.isfinite(one.t_low) == stands

    def test_the_seed_repeats_it(self) -> None:
        rows = [row(f"{i}", "liver", v) for i, v in enumerate(self.values)]
        assert repr(aggregate(rows, seed=3)) == repr(aggregate(rows, seed=3))
        assert aggregate(rows, seed=3)["dice"].low != aggregate(rows, seed=4)["dice"].low


class TestSpread:
    values = np.random.default_rng(1).normal(0.7, 0.1, 41)

    def test_percentiles_are_those_of_numpy(self) -> None:
        one = aggregate([row(f"{i}", "liver", v) for i, v in enumerate(self.values)])["dice/liver"]
        assert (one.p5, one.q25, one.q75) == pytest.approx(tuple(np.percentile(self.values, [5, 25, 75])))

    def test_the_worst_of_a_distance_are_the_largest(self) -> None:
        one = aggregate([row(f"{i}", "liver", v, metric="hd95") for i, v in enumerate(self.values)])["hd95"]
        assert one.p5 == pytest.approx(np.percentile(self.values, 95))

    def test_the_worst_of_a_signed_difference_are_the_farthest_from_zero(self) -> None:
        signed = self.values * np.where(np.arange(41) % 2, 1, -1)
        one = aggregate([row(f"{i}", "liver", v, metric="volume_difference_ml") for i, v in enumerate(signed)])["volume_difference_ml"]
        assert one.p5 == pytest.approx(np.percentile(self.values, 95))

    def test_without_a_class_they_are_over_the_cases_own_means(self) -> None:
        rows = [row(f"{i}", name, v + d) for i, v in enumerate(self.values) for name, d in (("a", 0.1), ("b", -0.1))]
        assert aggregate(rows)["dice"].p5 == pytest.approx(np.percentile(self.values, 5))


class TestPenaltiesAndFailures:
    def test_the_mean_stands_with_and_without_penalised_cases(self) -> None:
        rows = [row("a", "liver", 2.0, metric="hd95"), dataclasses.replace(row("b", "liver", 300.0, metric="hd95"), penalised=True)]
        one = aggregate(rows)["hd95/liver"]
        assert (one.mean, one.mean_unpenalised, one.n_penalised, one.n_valid) == (151, 2, 1, 2)

    def test_penalties_that_are_left_out_are_counted(self) -> None:
        rows = [row("a", "liver", 2.0, metric="hd95"), dataclasses.replace(row("b", "liver", math.nan, metric="hd95"), penalised=True)]
        one = aggregate(rows)["hd95/liver"]
        assert (one.mean, one.n_penalised, one.n_valid) == (2, 1, 1)

    def test_an_infinite_penalty_makes_an_infinite_mean_without_a_warning(self) -> None:
        rows = [row(f"{i}", "liver", float(i), metric="hd95") for i in range(5)]
        rows.append(dataclasses.replace(row("x", "liver", math.inf, metric="hd95"), penalised=True))
        one = aggregate(rows)["hd95"]
        assert (one.mean, one.high, one.mean_unpenalised, one.median) == (math.inf, math.inf, 2, 3)
        assert math.isfinite(one.low)
        assert math.isnan(one.t_low)

    def test_failures_are_counted_for_dice_alone(self) -> None:
        values = {"a": 0.0, "b": 0.09, "c": 0.1, "d": math.nan}
        for metric, expected in (("dice", 2), ("iou", 0)):
            rows = [row(case, "liver", value, metric=metric) for case, value in values.items()]
            assert aggregate(rows)[metric].n_failed == expected
