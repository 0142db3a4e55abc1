from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from monai.metrics import compute_froc_curve_data

from medseg.metrics.detection import (
    FP_PER_CASE,
    DetectionMetrics,
    average_precision,
    candidate_rows,
    candidates,
    froc,
    scored_lesions,
)
from medseg.metrics.options import MetricOptions
from medseg.metrics.rows import CandidateRow, LesionRow
from tests.metrics import two_ranks_of_probabilities as two_ranks
from tests.metrics.conformance import conformance_cases
from tests.metrics.lesions.by_hand import masks_of

MEMBERSHIP = np.array([[False, True]])


def row(case_id: str, score: float, *hits: int) -> CandidateRow:
    return CandidateRow(case_id, case_id, "lesion", score, 1, 1.0, hits)


def random_rows(seed: int) -> tuple[list[CandidateRow], dict[str, set[int]]]:
    generator = np.random.default_rng(seed)
    lesions = {f"{case}": set(range(int(generator.integers(0, 4)))) for case in range(6)}
    rows = []
    for case_id, numbers in lesions.items():
        for _ in range(5):
            hits = [number for number in numbers if generator.random() < 0.4]
            rows.append(row(case_id, float(generator.integers(1, 10)) / 10, *hits))
    return rows, lesions


def count(rows: list[CandidateRow], lesions: dict[str, set[int]], threshold: float) -> tuple[int, int]:
    """Lesions found and false candidates at one threshold, from the start."""
    kept = [one for one in rows if one.score >= threshold]
    found = {(one.case_id, number) for one in kept for number in one.hits if number in lesions[one.case_id]}
    return len(found), sum(not one.hits for one in kept)


class TestCandidates:
    @pytest.mark.parametrize(("shape", "spacing"), [((30, 40), (0.5, 2.0)), ((12, 14, 16), (1.0, 2.0, 3.0))])
    def test_they_are_the_components_above_the_threshold(self, shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
        generator = np.random.default_rng(0)
        probability = (generator.random(shape) ** 6).astype(np.float32)
        reference = generator.random(shape) < 0.05
        lesions, size = masks_of(reference, "faces"), float(np.prod(spacing))
        expected = [
            (float(probability[one].max()), one.sum(), one.sum() * size, tuple(i for i, r in enumerate(lesions) if (r & one).any()))
            for one in masks_of(probability > 0.4, "faces")
        ]
        got = candidates(probability, reference, spacing, "faces", 0.4)
        assert [(one.score, one.voxels, one.size, one.hits) for one in got] == expected

    def test_the_standard_threshold_is_a_tenth_and_not_included(self) -> None:
        probability = np.array([[0.1, 0.0, 0.101, 0.0, 1.0]])
        assert [one.score for one in candidates(probability, np.zeros((1, 5), bool), (1.0, 1.0))] == [0.101, 1.0]

    def test_nothing_predicted_gives_none(self) -> None:
        assert candidates(np.zeros((3, 3)), np.ones((3, 3), bool), (1.0, 1.0)) == []

    def test_rows_leave_ignored_voxels_out(self) -> None:
        probability, reference = np.array([[0.9, 0.8, 0.0, 0.7]]), np.array([[0, 1, 0, 1]], bool)
        considered = np.array([[0, 1, 1, 0]], bool)
        rows = candidate_rows("a", "", "lesion", probability, reference, considered, (2.0, 3.0), MetricOptions())
        assert rows == [CandidateRow("a", "a", "lesion", 0.8, 1, 6.0, (0,))]

    def test_rows_join_by_the_connectivity_of_the_options(self) -> None:
        arguments = (np.eye(3), np.zeros((3, 3), bool), np.ones((3, 3), bool), (1.0, 1.0))
        assert len(candidate_rows("a", "b", "lesion", *arguments, MetricOptions())) == 1
        assert len(candidate_rows("a", "b", "lesion", *arguments, MetricOptions(connectivity="faces"))) == 3


class TestFroc:
    def test_every_point_is_what_counting_at_its_threshold_gives(self) -> None:
        for seed in range(5):
            rows, lesions = random_rows(seed)
            curve, total = froc(rows, lesions), sum(map(len, lesions.values()))
            assert curve.thresholds == (math.inf, *sorted({one.score for one in rows}, reverse=True))
            for rate, sensitivity, threshold in zip(curve.fp_per_case, curve.sensitivity, curve.thresholds, strict=True):
                found, false = count(rows, lesions, threshold)
                assert (rate, sensitivity) == (false / 6, found / total)

    def test_the_lowest_score_is_a_threshold(self) -> None:
        """MONAI's curve ends before it (`all_probs[1:]`): the lesion that only the last candidate finds is never found."""
        rows, lesions = [row("a", 0.9, 0), row("a", 0.6), row("a", 0.3, 1)], {"a": {0, 1}}
        curve = froc(rows, lesions)
        assert curve.sensitivity[-1] == 1
        assert curve.thresholds[-1] == 0.3
        _, theirs = compute_froc_curve_data(np.array([0.6]), np.array([0.9, 0.3]), 2, 1)
        assert max(theirs) == 0.5

    @pytest.mark.parametrize("case", conformance_cases("froc_score"))
    def test_it_agrees_with_monai_where_missed_lesions_hold_the_lowest_score(self, case: dict[str, Any]) -> None:
        given = case["params"]
        found = [one for one in given["tp_probs"] if one > 0]
        rows = [row("a", score) for score in given["fp_probs"]] + [row("a", score, number) for number, score in enumerate(found)]
        curve = froc(rows, {"a": set(range(given["num_targets"])), **{f"b{i}": set() for i in range(given["num_images"] - 1)}})
        at = np.interp(given["eval_fp_per_image"], curve.fp_per_case, curve.sensitivity)
        assert at.mean() == pytest.approx(case["expected"], abs=case["tol"])

    def test_it_is_read_along_the_curve_at_seven_rates_and_averaged(self) -> None:
        """As CAMELYON, LUNA16 and MONAI: no threshold finds more than one of the four lesions with less than one false candidate."""
        rows = [row("a", 0.9, 0), *[row("b", 0.8)] * 2, row("a", 0.7, 1), *[row("b", 0.6)] * 20]
        curve = froc(rows, {"a": {0, 1, 2, 3}, "b": set()})
        assert FP_PER_CASE == (0.125, 0.25, 0.5, 1, 2, 4, 8)
        assert curve.at == pytest.approx((0.25, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5))
        assert curve.mean == pytest.approx(sum(curve.at) / 7)

    def test_a_curve_that_ends_early_keeps_its_last_value(self) -> None:
        assert froc([row("a", 0.9, 0)], {"a": {0, 1}}).at == (0.5,) * 7

    def test_a_candidate_on_a_lesion_that_is_not_scored_is_neither(self) -> None:
        assert froc([row("a", 0.9, 7), row("a", 0.8, 0)], {"a": {0}}).fp_per_case == (0, 0, 0)

    def test_without_lesions_or_candidates(self) -> None:
        assert math.isnan(froc([row("a", 0.9)], {"a": set()}).mean)
        assert froc([], {"a": {0}}).at == (0,) * 7
        assert math.isnan(froc([], {}).mean)

    def test_scored_lesions_are_taken_from_the_table(self) -> None:
        def lesion(case_id: str, class_name: str, side: str, number: int, scored: bool) -> LesionRow:
            return LesionRow(case_id, case_id, class_name, side, number, 1, 1.0, scored, False, 0.0)

        rows = [
            lesion("a", "lesion", "reference", 0, False),
            lesion("a", "lesion", "reference", 1, True),
            lesion("a", "organ", "reference", 2, True),
            lesion("a", "lesion", "prediction", 3, True),
        ]
        assert scored_lesions(["a", "b"], rows, "lesion") == {"a": {1}, "b": set()}


class TestAveragePrecision:
    def test_it_is_the_area_of_the_steps(self) -> None:
        for seed in range(5):
            rows, lesions = random_rows(seed)
            total, area, before = sum(map(len, lesions.values())), 0.0, 0
            for threshold in sorted({one.score for one in rows}, reverse=True):
                found, false = count(rows, lesions, threshold)
                area += (found - before) / total * found / max(found + false, 1)
                before = found
            assert average_precision(rows, lesions) == pytest.approx(area)

    def test_false_candidates_cost_only_those_below(self) -> None:
        lesions = {"a": {0, 1}}
        assert average_precision([row("a", 0.9, 0), row("a", 0.8, 1), row("a", 0.7)], lesions) == 1
        assert average_precision([row("a", 0.9), row("a", 0.8, 0), row("a", 0.7, 1)], lesions) == pytest.approx((1 / 2 + 2 / 3) / 2)

    def test_without_lesions_or_candidates(self) -> None:
        assert math.isnan(average_precision([row("a", 0.9)], {"a": set()}))
        assert average_precision([], {"a": {0}}) == 0


class TestDetectionMetrics:
    def test_it_gives_what_the_rows_give(self) -> None:
        metric = two_ranks.fill(two_ranks.detection(), [0, 1, 2])
        result = {key: float(value) for key, value in metric.compute().items()}
        for index, name in enumerate(two_ranks.CLASSES):
            rows, lesions = [], {}
            for seed in (0, 1, 2):
                probabilities, ids = two_ranks.maps(seed)
                mask = ids == index + 1
                considered = ids != 255
                rows += candidate_rows(f"{seed}", "", name, probabilities[index], mask, considered, two_ranks.SPACING, MetricOptions())
                lesions[f"{seed}"] = set(range(len(masks_of(mask))))
            assert result[f"froc/{name}"] == pytest.approx(froc(rows, lesions).mean)
            assert result[f"average_precision/{name}"] == pytest.approx(average_precision(rows, lesions))
            assert metric.curves()[name] == froc(rows, lesions)
        assert result["froc"] == pytest.approx((result["froc/lesion"] + result["froc/organ"]) / 2)

    def test_the_connectivity_smallest_lesion_and_threshold_have_their_say(self) -> None:
        def value(options: MetricOptions | None = None, **kwargs: Any) -> float:
            metric = DetectionMetrics(["lesion"], MEMBERSHIP, options, **kwargs)
            ids = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]], np.uint8)
            probability = np.where(ids[None] == 1, 0.9, 0.0)
            probability[0, 3, 0], probability[0, 3, 3] = 0.05, 0.95
            metric.update("a", probability, ids, (1.0, 1.0))
            return round(float(metric.compute()["average_precision/lesion"]), 4)

        assert value() == 0.25
        assert value(threshold=0.01) == 0.5833
        assert value(MetricOptions(minimum_lesion=2)) == 0.5
        assert value(MetricOptions(connectivity="faces")) == 0.4444

    def test_a_class_without_lesions_is_left_out_of_the_mean(self) -> None:
        metric = DetectionMetrics(["lesion", "organ"], np.array([[0, 1, 0], [0, 0, 1]], bool))
        metric.update("a", np.array([[[0.9, 0.0]], [[0.0, 0.9]]]), np.array([[1, 0]], np.uint8), (1.0, 1.0))
        result = metric.compute()
        assert float(result["froc"]) == float(result["froc/lesion"]) == 1
        assert math.isnan(float(result["froc/organ"]))

    def test_no_case_gives_nothing_and_reset_forgets(self) -> None:
        metric = two_ranks.fill(two_ranks.detection(), [0])
        metric.reset()
        assert metric.compute() == {}

    def test_tensors_are_taken_and_wrong_shapes_refused(self) -> None:
        metric = DetectionMetrics(["lesion"], MEMBERSHIP)
        metric.update("a", torch.tensor([[[0.9, 0.0]]]), torch.tensor([[1, 0]], dtype=torch.uint8), (1.0, 1.0))
        assert float(metric.compute()["froc"]) == 1
        with pytest.raises(ValueError, match=r"\(2, 1, 2\), not \(1, 1, 2\)"):
            metric.update("b", np.zeros((2, 1, 2)), np.zeros((1, 2), np.uint8), (1.0, 1.0))


@pytest.mark.slow  # the state is that of CaseMetrics, whose two processes always run
@pytest.mark.skipif(sys.platform == "win32", reason="gloo over a file store")
class TestTwoProcesses:
    """Detection and calibration at once: a process costs seconds."""

    @pytest.mark.parametrize(
        "shares",
        [
            pytest.param([[0, 1, 2, 0], []], id="one empty"),
            pytest.param([[0, 2], [1, 0]], id="a padded case on both"),
        ],
    )
    def test_ranks_agree_with_one_process(self, tmp_path: Path, shares: list[list[int]]) -> None:
        mp.spawn(two_ranks.worker, (str(tmp_path), shares), nprocs=2)
        expected = two_ranks.results([0, 1, 2])
        for rank in (0, 1):
            assert json.loads((tmp_path / f"{rank}.json").read_text()) == pytest.approx(expected)
