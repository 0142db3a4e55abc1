from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric

from medseg.metrics.lesions import Lesions, cc_dice, cell_dice
from tests.metrics.lesions import by_hand
from tests.metrics.lesions.by_hand import noise


def of(prediction: list[int], reference: list[int], minimum: float = 0.0) -> Lesions:
    return Lesions.of(np.array([prediction], bool), np.array([reference], bool), (1.0, 1.0), "corners", minimum)


class TestCcDice:
    @pytest.mark.parametrize("shape", [(30, 40), (14, 16, 18)])
    def test_random_masks_score_as_by_a_distance_map_per_lesion(self, shape: tuple[int, ...]) -> None:
        for seed in range(3):
            prediction, reference = noise(seed, shape)
            lesions = Lesions.of(prediction, reference, (3.0,) * len(shape))
            assert cell_dice(lesions).tolist() == pytest.approx(by_hand.cell_dice(prediction, reference), abs=1e-12)
            assert cc_dice(lesions) == pytest.approx(np.mean(by_hand.cell_dice(prediction, reference)), abs=1e-12)

    def test_it_agrees_with_monai(self) -> None:
        reference, prediction = np.zeros((2, 24, 24, 24), bool)
        reference[2:7, 2:7, 2:7] = reference[15:20, 14:21, 15:19] = True
        prediction[3:8, 2:7, 2:6] = prediction[15:19, 15:21, 16:19] = prediction[20:22, 2:4, 2:4] = True
        one_hot = [torch.from_numpy(np.stack([~mask, mask])[None]).float() for mask in (prediction, reference)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it recommends a GPU
            expected = float(DiceMetric(include_background=False, per_component=True)(*one_hot))
        assert cc_dice(Lesions.of(prediction, reference, (1.0,) * 3)) == pytest.approx(expected, abs=1e-6)

    def test_a_false_detection_costs_the_nearest_lesion(self) -> None:
        lesions = of([1, 0, 0, 1, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0, 1])
        assert cell_dice(lesions).tolist() == pytest.approx([2 / 3, 1])

    def test_in_the_middle_it_costs_the_first(self) -> None:
        assert cell_dice(of([1, 0, 1, 0, 1], [1, 0, 0, 0, 1])).tolist() == pytest.approx([2 / 3, 1])

    def test_distances_are_in_voxels(self) -> None:
        reference, prediction = np.zeros((2, 9, 9), bool)
        reference[0, 0] = reference[4, 4] = prediction[0, 3] = True
        for spacing in [(1.0, 1.0), (0.1, 9.0)]:
            assert cell_dice(Lesions.of(prediction, reference, spacing)).tolist() == [0, 0]

    def test_empty_maps(self) -> None:
        assert cc_dice(of([1, 0], [0, 0])) == 0
        assert cc_dice(of([0, 0], [1, 0])) == 0
        assert math.isnan(cc_dice(of([0, 0], [0, 0])))

    def test_lesions_too_small_to_count_keep_their_cell_but_are_not_averaged(self) -> None:
        prediction, reference = [1, 1, 0, 0, 0, 0, 1, 0], [1, 1, 0, 0, 0, 0, 0, 1]
        assert cc_dice(of(prediction, reference)) == 0.5
        assert cc_dice(of(prediction, reference, minimum=2.0)) == 1
