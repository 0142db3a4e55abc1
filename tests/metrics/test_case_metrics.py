from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from medseg.metrics import CaseMetrics, MetricOptions, aggregate, score_case
from tests.metrics.two_ranks import CLASSES, MEMBERSHIP, SPACING, fill, maps, worker


def expected(seeds: list[int]) -> dict[str, float]:
    rows = [row for s in seeds for row in score_case(f"{s}", "", *maps(s), CLASSES, MEMBERSHIP, SPACING).rows]
    return {key: one.mean for key, one in aggregate(rows, bootstrap=0).items()}


class TestOneProcess:
    def test_it_averages_what_score_case_gives(self) -> None:
        result = fill(CaseMetrics(CLASSES, MEMBERSHIP), [0, 1, 2]).compute()
        assert {key: float(value) for key, value in result.items()} == pytest.approx(expected([0, 1, 2]), rel=1e-6, nan_ok=True)
        assert {"dice", "dice/lesion", "iou/organ", "lesion_f1", "volume_difference_ml/organ", "hd95", "nsd_2mm/lesion", "pq"} <= set(
            result
        )

    def test_a_case_never_counts_twice(self) -> None:
        result = fill(CaseMetrics(CLASSES, MEMBERSHIP), [0, 1, 0, 0]).compute()
        assert float(result["dice"]) == pytest.approx(expected([0, 1])["dice"], abs=1e-6)

    def test_reset_forgets_all_cases(self) -> None:
        metric = fill(CaseMetrics(CLASSES, MEMBERSHIP), [0, 1])
        metric.reset()
        assert metric.compute() == {}
        assert float(fill(metric, [2]).compute()["dice"]) == pytest.approx(expected([2])["dice"], abs=1e-6)

    def test_all_empty_cases_stay_undefined(self) -> None:
        metric, empty = CaseMetrics(CLASSES, MEMBERSHIP), np.zeros((3, 3, 3), np.uint8)
        metric.update("a", empty, empty, SPACING)
        assert math.isnan(float(metric.compute()["dice"]))
        assert aggregate(metric.rows())["dice/lesion"].n_both_empty == 1

    def test_tensors_are_taken_too(self) -> None:
        metric = CaseMetrics(CLASSES, MEMBERSHIP)
        metric.update("a", *(torch.from_numpy(ids) for ids in maps(0)), SPACING)
        assert repr(metric.rows()) == repr(score_case("a", "", *maps(0), CLASSES, MEMBERSHIP, SPACING).rows)

    def test_the_options_say_which_and_how(self) -> None:
        options = MetricOptions(metrics=("nsd", "hd95"), tolerances=(4.0,), both_empty="best")
        metric, empty = CaseMetrics(CLASSES, MEMBERSHIP, options), np.zeros((3, 3, 3), np.uint8)
        metric.update("a", empty, empty, SPACING)
        assert {key: float(value) for key, value in metric.compute().items() if "/" not in key} == {"nsd_4mm": 1, "hd95": 0}

    def test_rows_that_were_made_elsewhere_count_the_same(self) -> None:
        metric = CaseMetrics(CLASSES, MEMBERSHIP)
        metric.add(
            row for s in (0, 1) for row in score_case(f"case {s} é", f"patient {s // 2}", *maps(s), CLASSES, MEMBERSHIP, SPACING).rows
        )
        assert repr(metric.rows()) == repr(fill(CaseMetrics(CLASSES, MEMBERSHIP), [0, 1]).rows())
        assert metric.rows()[0].group == "patient 0"

    def test_nothing_can_be_added(self) -> None:
        metric = CaseMetrics(CLASSES, MEMBERSHIP)
        metric.add([])
        assert metric.compute() == {}

    def test_infinite_penalties_survive(self) -> None:
        metric = CaseMetrics(CLASSES, MEMBERSHIP, MetricOptions(metrics=("hd",), penalty="inf"))
        metric.update("a", np.zeros((3, 3, 3), np.uint8), np.ones((3, 3, 3), np.uint8), SPACING)
        assert math.isinf(float(metric.compute()["hd/lesion"]))

    def test_a_change_of_precision_keeps_the_state(self) -> None:
        metric = fill(CaseMetrics(CLASSES, MEMBERSHIP), [0]).half().to(torch.float64)
        assert float(metric.compute()["dice"]) == pytest.approx(expected([0])["dice"], abs=1e-6)


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over a file store")
def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    trials = {"second rank empty": [[0, 1, 2], []], "first rank empty": [[], [0, 1, 2]], "a padded case on both": [[0, 2], [1, 0]]}
    mp.spawn(worker, (str(tmp_path), list(trials.values())), nprocs=2)
    one = expected([0, 1, 2])
    for rank in (0, 1):
        for (trial, shares), got in zip(trials.items(), json.loads((tmp_path / f"{rank}.json").read_text()), strict=True):
            assert got["results"][0] == pytest.approx(one, rel=1e-6, nan_ok=True), trial
            assert repr(got["results"][0]) == repr(got["results"][1]), trial
            assert got["rows"] == 3 * len(CLASSES) * sum("/" not in key for key in one), trial
            assert got["own"] == len(shares[rank]), trial
