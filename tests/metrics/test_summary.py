from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest

from medseg.metrics import METRICS, Row, aggregate
from medseg.metrics.summary import DEFINITIONS


def row(case_id: str, class_name: str, value: float, group: str = "", metric: str = "dice") -> Row:
    empty = math.isnan(value)
    voxels = 0 if empty else 10
    return Row(case_id, group or case_id, class_name, metric, value, empty, empty, voxels, voxels, 0.1, 0.1, 1, 1, (1.0, 1.0, 1.0))


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

    def test_every_metric_has_a_printed_definition(self) -> None:
        assert set(METRICS) <= set(DEFINITIONS)


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

    def test_the_seed_repeats_it(self) -> None:
        rows = [row(f"{i}", "liver", v) for i, v in enumerate(self.values)]
        assert aggregate(rows, seed=3) == aggregate(rows, seed=3)
        assert aggregate(rows, seed=3)["dice"].low != aggregate(rows, seed=4)["dice"].low
