from __future__ import annotations

import math
from typing import Any

import monai.metrics
import numpy as np
import pytest
import torch

from medseg.metrics import ClassCounts, overlap, score


class TestAgainstMonai:
    @pytest.mark.parametrize("shape", [(20, 31), (9, 12, 7)])
    @pytest.mark.parametrize(("metric", "peer"), [("dice", monai.metrics.compute_dice), ("iou", monai.metrics.compute_iou)])
    def test_random_masks_give_the_same_overlap(self, shape: tuple[int, ...], metric: str, peer: Any) -> None:
        for seed in range(5):
            masks = np.random.default_rng(seed).random((2, *shape)) < 0.3
            expected = float(peer(*(torch.from_numpy(mask)[None, None].float() for mask in masks)))
            assert score(*masks, (1.0,) * len(shape), [metric])[metric] == pytest.approx(expected, abs=1e-6)


class TestFormulas:
    counts = ClassCounts(tp=100, fp=50, fn=10, voxel_ml=0.002)

    def test_they_are_those_of_the_docstrings(self) -> None:
        assert overlap.dice(self.counts) == pytest.approx(200 / 260)
        assert overlap.iou(self.counts) == pytest.approx(100 / 160)
        assert overlap.precision(self.counts) == pytest.approx(100 / 150)
        assert overlap.recall(self.counts) == pytest.approx(100 / 110)
        assert overlap.volume_similarity(self.counts) == pytest.approx(1 - 40 / 260)
        assert overlap.relative_volume_difference(self.counts) == pytest.approx(40 / 110)

    def test_volume_differences_are_signed_or_not_and_in_millilitres(self) -> None:
        mirrored = ClassCounts(tp=100, fp=10, fn=50, voxel_ml=0.002)
        assert overlap.volume_difference_ml(self.counts) == pytest.approx(0.08)
        assert overlap.volume_difference_ml(mirrored) == pytest.approx(-0.08)
        assert overlap.absolute_volume_difference_ml(mirrored) == pytest.approx(0.08)

    def test_f_beta_lies_between_precision_and_recall_and_beta_1_is_dice(self) -> None:
        assert overlap.f_beta(self.counts, 1) == pytest.approx(overlap.dice(self.counts))
        assert overlap.f_beta(self.counts, 1e-6) == pytest.approx(overlap.precision(self.counts))
        assert overlap.f_beta(self.counts, 1e6) == pytest.approx(overlap.recall(self.counts))
        p, r = overlap.precision(self.counts), overlap.recall(self.counts)
        assert overlap.f_beta(self.counts, 2) == pytest.approx(5 * p * r / (4 * p + r))

    @pytest.mark.parametrize("measure", [overlap.dice, overlap.iou, overlap.precision, overlap.recall, overlap.volume_similarity])
    def test_nothing_by_nothing_is_undefined(self, measure: Any) -> None:
        assert math.isnan(measure(ClassCounts(0, 0, 0, 0.001)))
