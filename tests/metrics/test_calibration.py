from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.classification import BinaryCalibrationError

from medseg.metrics.calibration import CalibrationMetrics, calibrate, calibration_rows, ece, reliability
from medseg.metrics.rows import CalibrationRow
from tests.metrics import two_ranks_of_probabilities as two_ranks
from tests.metrics.conformance import conformance_cases

MEMBERSHIP = np.array([[False, True]])
EVERYWHERE = 1e6


def scene(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    probability = np.zeros(shape)
    centre = tuple(slice(size // 3, 2 * size // 3) for size in shape)
    probability[centre] = generator.random(probability[centre].shape)
    return probability, probability + generator.normal(0, 0.2, shape) > 0.7, generator.random(shape) < 0.9


def flat(values: Any) -> np.ndarray:
    return np.array(values)[None]


def bins_by_hand(values: np.ndarray, inside: np.ndarray, bins: int) -> list[tuple[int, float, int]]:
    counted = []
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        chosen = (values <= high) & ((values > low) if number else True)
        counted.append((int(chosen.sum()), float(values[chosen].sum()), int(inside[chosen].sum())))
    return counted


class TestBins:
    @pytest.mark.parametrize("bins", [1, 2, 10, 15])
    @pytest.mark.parametrize(("shape", "spacing"), [((30, 40), (0.5, 2.0)), ((12, 14, 16), (1.0, 2.0, 3.0))])
    def test_they_sum_the_voxels_near_the_target(self, shape: tuple[int, ...], spacing: tuple[float, ...], bins: int) -> None:
        for seed in range(3):
            probability, reference, considered = scene(seed, shape)
            where = np.argwhere(considered & (reference | (probability > 0.5)))
            margin = np.floor(4.0 / np.array(spacing)).astype(int)
            low, high = where.min(axis=0) - margin, where.max(axis=0) + margin
            inside = np.all([(low[a] <= grid) & (grid <= high[a]) for a, grid in enumerate(np.indices(shape))], axis=0) & considered
            got = calibrate(probability, reference, considered, spacing, 4.0, bins)
            expected = bins_by_hand(probability[inside], reference[inside], bins)
            np.testing.assert_allclose(np.stack([got.voxels, got.probability, got.positives]).T, expected, atol=1e-9)

    def test_a_bin_holds_its_upper_end_in_either_precision(self) -> None:
        for dtype in (np.float32, np.float64):
            values = flat([0.0, 0.1, 0.2, 0.3, 0.6, 0.7, 1.0]).astype(dtype)
            got = calibrate(values, values > 0.5, values >= 0, (1.0, 1.0))
            assert got.voxels.tolist() == [2, 1, 1, 0, 0, 1, 1, 0, 0, 1]

    def test_nothing_near_gives_zeros(self) -> None:
        empty = calibrate(np.full((4, 4), 0.4), np.zeros((4, 4), bool), np.ones((4, 4), bool), (1.0, 1.0))
        assert not empty.voxels.any()
        assert math.isnan(ece(empty))

    def test_ignored_voxels_neither_count_nor_widen_the_box(self) -> None:
        considered = flat([True] * 8)
        considered[0, 7] = False
        probability = flat([0.9, 0, 0, 0, 0, 0, 0, 0.9])
        assert calibrate(probability, probability > 0.5, considered, (1.0, 1.0), 2.0).voxels.sum() == 3

    def test_impossible_probabilities_and_shapes_are_refused(self) -> None:
        for wrong in (1.5, -0.1):
            with pytest.raises(ValueError, match="between 0 and 1"):
                calibrate(flat([0.9, wrong]), flat([True, False]), flat([True, True]), (1.0, 1.0))
        with pytest.raises(ValueError, match="shapes"):
            calibrate(flat([0.9]), flat([True, False]), flat([True, True]), (1.0, 1.0))


class TestEce:
    @pytest.mark.parametrize("bins", [10, 15])
    def test_whole_images_agree_with_torchmetrics(self, bins: int) -> None:
        probability, reference, considered = scene(0, (20, 30))
        considered[:] = True
        theirs = BinaryCalibrationError(bins, "l1")
        # its confidence is the probability of class 1 as well, its accuracy is that of the class there
        expected = float(theirs(torch.from_numpy(probability.ravel()), torch.from_numpy(reference.ravel()).int()))
        assert ece(calibrate(probability, reference, considered, (1.0, 1.0), EVERYWHERE, bins)) == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("case", conformance_cases("class_wise_ece"))
    def test_classes_average_to_metrics_reloaded(self, case: dict[str, Any]) -> None:
        pred, ref = np.array(case["pred"]), np.array(case["ref"])
        of_class = [
            ece(calibrate(flat(pred[:, k]), flat(ref == k), flat(ref >= 0), (1.0, 1.0), EVERYWHERE, case["params"]["bins"]))
            for k in range(pred.shape[1])
        ]
        assert np.mean(of_class) == pytest.approx(case["expected"], abs=case["tol"])

    def test_a_small_lesion_is_not_hidden_by_the_background(self) -> None:
        probability, reference = np.zeros((2, 200, 200))
        probability[100:104, 100:104], reference[100:104, 100:102] = 0.99, 1
        masks = reference > 0, np.ones((200, 200), bool)
        whole = ece(calibrate(probability, *masks, (1.0, 1.0), EVERYWHERE))
        near = ece(calibrate(probability, *masks, (1.0, 1.0), 2.0))
        assert whole < 0.001
        assert near == pytest.approx(16 * 0.49 / 64)

    def test_cases_are_pooled(self) -> None:
        rows: list[CalibrationRow] = []
        for name, wrong in (("a", 0.3), ("b", -0.3)):
            values = flat([0.6 + 1e-9, 0.9])
            rows += calibration_rows(name, "", "lesion", values + wrong * 0, flat([name == "a", True]), values > 0, (1.0, 1.0))
        pooled = reliability(rows)
        assert pooled.voxels.sum() == 4
        assert ece(pooled) == pytest.approx((abs(1 - 1.2) + abs(2 - 1.8)) / 4)
        assert {row.case_id: row.group for row in rows} == {"a": "a", "b": "b"}
        assert [(row.low, row.high) for row in rows[:2]] == [(0.0, 0.1), (0.1, 0.2)]

    def test_rows_of_different_bins_are_refused(self) -> None:
        masks = flat([True, True]), flat([True, True])
        rows = [row for bins in (2, 3) for row in calibration_rows("a", "", "it", flat([0.6, 0.9]), *masks, (1.0, 1.0), 10.0, bins)]
        with pytest.raises(ValueError, match="different bins"):
            reliability(rows)

    def test_no_rows_are_undefined(self) -> None:
        assert math.isnan(ece(reliability([])))


class TestCalibrationMetrics:
    def test_it_gives_what_the_rows_give(self) -> None:
        metric = two_ranks.fill(two_ranks.calibration(), [0, 1, 2, 1])
        result = {key: float(value) for key, value in metric.compute().items()}
        every = []
        for index, name in enumerate(two_ranks.CLASSES):
            rows = []
            for seed in (0, 1, 2):
                probabilities, ids = two_ranks.maps(seed)
                masks = ids == index + 1, ids != 255
                rows += calibration_rows(f"case {seed} é", "", name, probabilities[index], *masks, two_ranks.SPACING, 2.0)
            every += rows
            assert result[f"ece/{name}"] == pytest.approx(ece(reliability(rows)))
        assert metric.rows() == every
        assert result["ece"] == pytest.approx((result["ece/lesion"] + result["ece/organ"]) / 2)

    def test_the_state_does_not_grow_with_the_image(self) -> None:
        """torchmetrics keeps every voxel: 64 MB for a volume of 256x256x128."""
        sizes = []
        for size in (8, 64):
            metric, ids = CalibrationMetrics(["lesion"], MEMBERSHIP), np.ones((size, size), np.uint8)
            metric.update("a", np.full((1, size, size), 0.75), ids, (1.0, 1.0))
            sizes.append(sum(len(record) for record in metric.records))
        theirs = BinaryCalibrationError(10)
        theirs.update(torch.full((64 * 64,), 0.75), torch.ones(64 * 64, dtype=torch.int))
        assert max(sizes) < 300 < sum(kept.numel() for kept in theirs.confidences)

    def test_margin_and_bins_have_their_say(self) -> None:
        def value(**kwargs: Any) -> float:
            metric, ids = CalibrationMetrics(["lesion"], MEMBERSHIP, **kwargs), np.zeros((1, 9), np.uint8)
            ids[0, 0] = 1
            metric.update("a", np.array([[[0.9, 0.3, 0, 0, 0, 0, 0, 0, 0]]]), ids, (1.0, 1.0))
            return round(float(metric.compute()["ece"]), 4)

        assert value(margin_mm=1.0) == round((0.1 + 0.3) / 2, 4)
        assert value(margin_mm=3.0) == round((0.1 + 0.3) / 4, 4)
        assert value(margin_mm=1.0, bins=1) == round(abs(1 - 1.2) / 2, 4)

    def test_a_class_that_is_nowhere_is_left_out_of_the_mean(self) -> None:
        metric = CalibrationMetrics(["lesion", "organ"], np.array([[0, 1, 0], [0, 0, 1]], bool))
        metric.update("a", torch.tensor([[[0.9, 0.0]], [[0.0, 0.1]]]), torch.tensor([[1, 0]], dtype=torch.uint8), (1.0, 1.0))
        result = metric.compute()
        assert float(result["ece"]) == float(result["ece/lesion"]) == pytest.approx(0.05)
        assert math.isnan(float(result["ece/organ"]))

    def test_no_case_gives_nothing_and_wrong_shapes_are_refused(self) -> None:
        metric = CalibrationMetrics(["lesion"], MEMBERSHIP)
        assert metric.compute() == {}
        with pytest.raises(ValueError, match=r"\(2, 1, 2\), not \(1, 1, 2\)"):
            metric.update("b", np.zeros((2, 1, 2)), np.zeros((1, 2), np.uint8), (1.0, 1.0))
