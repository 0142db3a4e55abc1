from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from medseg.metrics import CaseMetrics, aggregate, score_case
from tests.metrics.two_ranks import CLASSES, MEMBERSHIP, SPACING, fill, maps, worker


def expected(seeds: list[int]) -> dict[str, float]:
    rows = [row for s in seeds for row in score_case(f"{s}", "", *maps(s), CLASSES, MEMBERSHIP, SPACING)]
    return {key: one.mean for key, one in aggregate(rows, bootstrap=0).items()}


class TestOneProcess:
    def test_it_averages_what_score_case_gives(self) -> None:
        result = fill(CaseMetrics(CLASSES, MEMBERSHIP), [0, 1, 2]).compute()
        assert {key: float(value) for key, value in result.items()} == pytest.approx(expected([0, 1, 2]), abs=1e-6)
        assert {"dice", "dice/lesion", "iou/organ", "lesion_f1", "volume_difference_ml/organ"} <= set(result)

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
        assert metric.rows() == score_case("a", "", *maps(0), CLASSES, MEMBERSHIP, SPACING)

    def test_a_change_of_precision_keeps_the_state(self) -> None:
        metric = fill(CaseMetrics(CLASSES, MEMBERSHIP), [0]).half().to(torch.float64)
        assert float(metric.compute()["dice"]) == pytest.approx(expected([0])["dice"], abs=1e-6)


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over a file store")
class TestTwoProcesses:
    @pytest.mark.parametrize(
        "shares",
        [
            pytest.param([[0, 1, 2], []], id="second rank empty"),
            pytest.param([[], [0, 1, 2]], id="first rank empty"),
            pytest.param([[0, 2], [1, 0]], id="a padded case on both"),
        ],
    )
    def test_ranks_agree_with_one_process(self, tmp_path: Path, shares: list[list[int]]) -> None:
        mp.spawn(worker, (str(tmp_path), shares), nprocs=2)
        for rank in (0, 1):
            got = json.loads((tmp_path / f"{rank}.json").read_text())
            assert got["results"][0] == pytest.approx(expected([0, 1, 2]), abs=1e-6)
            assert got["results"][0] == got["results"][1]
            assert got["rows"] == 3 * 2 * 8
            assert got["own"] == len(shares[rank])
