from __future__ import annotations

import math
from typing import Any

import monai.metrics
import numpy as np
import pytest
import torch

from medseg.metrics import METRICS, ClassCounts, score_case
from tests.metrics.conformance import build_array, conformance_cases

FOREGROUND = np.array([[False, True]])


def score(prediction: Any, reference: Any, metric: str) -> float:
    prediction, reference = (np.asarray(mask).astype(np.uint8) for mask in (prediction, reference))
    rows = score_case("case", "", prediction, reference, ["it"], FOREGROUND, (1.0,) * reference.ndim)
    return next(row.value for row in rows if row.metric == metric)


def of_channels(prediction: np.ndarray, reference: np.ndarray, metric: str) -> np.ndarray:
    return np.array([[score(p, r, metric) for p, r in zip(ps, rs, strict=True)] for ps, rs in zip(prediction, reference, strict=True)])


class TestConformance:
    @pytest.mark.parametrize("case", conformance_cases("dice", "dsc", "iou"))
    def test_dice_and_iou_agree_with_the_field(self, case: dict[str, Any]) -> None:
        prediction, reference, params = build_array(case["pred"]), build_array(case["ref"]), case["params"]
        metric = "iou" if case["metric"] == "iou" else "dice"
        if "pred_instance" in params:
            prediction, reference = prediction == params["pred_instance"], reference == params["ref_instance"]
        if "layout" not in params:
            assert score(prediction, reference, metric) == pytest.approx(case["expected"], abs=case["tol"])
            return
        first = 0 if params.get("include_background", True) else 1
        expected = np.array(case["expected"], dtype=float)
        if not prediction.any() and not reference.any():
            expected[:] = np.nan  # our rule for two empty masks: excluded and counted
        np.testing.assert_allclose(of_channels(prediction[:, first:], reference[:, first:], metric), expected, atol=case["tol"])

    @pytest.mark.parametrize("case", conformance_cases("tp", "fn", "precision"))
    def test_counts_and_precision_agree_with_the_field(self, case: dict[str, Any]) -> None:
        prediction, reference = build_array(case["pred"]), build_array(case["ref"])
        if case["metric"] == "precision":
            assert score(prediction, reference, "precision") == pytest.approx(case["expected"], abs=case["tol"])
            return
        row = score_case("a", "", prediction, reference, ["it"], FOREGROUND, (1.0, 1.0))[0]
        tp = row.value * (row.ref_voxels + row.pred_voxels) / 2
        counted = {"tp": tp, "fn": row.ref_voxels - tp}
        assert counted[case["metric"]] == pytest.approx(case["expected"])


class TestAgainstMonai:
    @pytest.mark.parametrize("shape", [(20, 31), (9, 12, 7)])
    @pytest.mark.parametrize(("metric", "peer"), [("dice", monai.metrics.compute_dice), ("iou", monai.metrics.compute_iou)])
    def test_random_masks_give_the_same_overlap(self, shape: tuple[int, ...], metric: str, peer: Any) -> None:
        for seed in range(5):
            masks = np.random.default_rng(seed).random((2, *shape)) < 0.3
            expected = float(peer(*(torch.from_numpy(mask)[None, None].float() for mask in masks)))
            assert score(masks[0], masks[1], metric) == pytest.approx(expected, abs=1e-6)


class TestEmptyMasks:
    nothing, something = np.zeros((4, 4, 4)), np.pad(np.ones((1, 1, 1)), (1, 2))

    @pytest.mark.parametrize("metric", METRICS)
    def test_two_empty_masks_are_undefined(self, metric: str) -> None:
        assert math.isnan(score(self.nothing, self.nothing, metric))

    @pytest.mark.parametrize("metric", [name for name in METRICS if name != "volume_difference_ml"])
    def test_one_empty_mask_scores_zero(self, metric: str) -> None:
        assert score(self.nothing, self.something, metric) == 0
        assert score(self.something, self.nothing, metric) == 0

    @pytest.mark.parametrize("metric", [name for name in METRICS if name != "volume_difference_ml"])
    def test_a_perfect_prediction_scores_one(self, metric: str) -> None:
        assert score(self.something, self.something, metric) == 1


class TestVolume:
    def test_the_difference_is_signed_and_in_millilitres(self) -> None:
        counts = ClassCounts(tp=100, fp=50, fn=10, lesion_tp=1, lesion_fp=0, lesion_fn=0, pred_lesions=1, voxel_ml=0.002)
        assert METRICS["volume_difference_ml"](counts) == pytest.approx(0.08)

    def test_millilitres_follow_the_spacing(self) -> None:
        ones = np.ones((2, 3, 4), np.uint8)
        row = score_case("a", "", ones, np.zeros_like(ones), ["it"], FOREGROUND, (0.5, 2.0, 3.0))[0]
        assert row.pred_ml == pytest.approx(24 * 3 / 1000)
        assert row.ref_ml == 0
