from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from medseg.metrics import match_lesions, score_case
from tests.metrics.conformance import build_array, conformance_cases

FOREGROUND = np.array([[False, True]])


def score(prediction: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    rows = score_case("a", "", prediction.astype(np.uint8), reference.astype(np.uint8), ["it"], FOREGROUND, (1.0,) * reference.ndim)
    return {row.metric: row.value for row in rows} | {"difference": abs(rows[0].ref_lesions - rows[0].pred_lesions)}


def detect_by_hand(found: np.ndarray, other: np.ndarray) -> list[tuple[int, bool]]:
    """One component after the other, by flooding: slow, obvious."""
    left, result = found.copy(), []
    neighbours = np.ones((3,) * found.ndim, bool)
    while left.any():
        seed = np.zeros_like(left)
        seed[tuple(np.argwhere(left)[0])] = True
        component = ndimage.binary_propagation(seed, structure=neighbours, mask=left)
        left &= ~component
        result.append((int(component.sum()), bool((component & other).any())))
    return sorted(result)


class TestConformance:
    @pytest.mark.parametrize("case", conformance_cases("lesion_f1,abs_lesion_count_difference"))
    def test_f1_and_counts_agree_with_isles(self, case: dict[str, Any]) -> None:
        got = score(build_array(case["pred"]), build_array(case["ref"]))
        assert got["lesion_f1"] == pytest.approx(case["expected"]["f1"], abs=case["tol"])
        assert got["dice"] == pytest.approx(case["expected"]["dice"], abs=case["tol"])
        assert got["difference"] == case["expected"]["ald"]


class TestMatching:
    @pytest.mark.parametrize("shape", [(24, 30), (10, 12, 9)])
    def test_random_masks_match_as_by_flooding(self, shape: tuple[int, ...]) -> None:
        for seed in range(5):
            prediction, reference = np.random.default_rng(seed).random((2, *shape)) < 0.06
            for found, (mask, other) in zip(
                match_lesions(prediction, reference), [(reference, prediction), (prediction, reference)], strict=True
            ):
                assert sorted(zip(found.sizes.tolist(), found.matched.tolist(), strict=True)) == detect_by_hand(mask, other)

    def test_diagonal_neighbours_are_one_lesion(self) -> None:
        for dims in (2, 3):
            reference, _ = match_lesions(np.zeros((3,) * dims, bool), _diagonal(dims))
            assert reference.sizes.tolist() == [3]

    def test_one_prediction_may_detect_two_lesions(self) -> None:
        reference, prediction = np.array([[1, 0, 1]], bool), np.array([[1, 1, 1]], bool)
        assert score(prediction, reference)["lesion_f1"] == 1

    def test_a_split_prediction_is_no_false_positive(self) -> None:
        reference, prediction = np.array([[1, 1, 1]], bool), np.array([[1, 0, 1]], bool)
        assert score(prediction, reference)["lesion_precision"] == 1

    def test_hit_miss_and_false_detection_are_counted(self) -> None:
        reference = np.array([[1, 1, 0, 1, 0, 0, 0, 1]], bool)
        prediction = np.array([[0, 1, 0, 0, 0, 1, 0, 0]], bool)
        got = score(prediction, reference)
        assert got["lesion_recall"] == pytest.approx(1 / 3)
        assert got["lesion_precision"] == pytest.approx(1 / 2)
        assert got["lesion_f1"] == pytest.approx(1 / (1 + (1 + 2) / 2))


def _diagonal(dims: int) -> np.ndarray:
    mask = np.zeros((3,) * dims, bool)
    mask[(np.arange(3),) * dims] = True
    return mask
