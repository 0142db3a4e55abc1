from __future__ import annotations

import math

import numpy as np
import pytest

from medseg.metrics.lesions import (
    Lesions,
    count_difference,
    f1,
    f1_wmh,
    lesion_dice,
    panoptic,
    precision,
    recall,
    volumes,
)
from tests.metrics.lesions.by_hand import dice, iou, masks_of, noise

DETECTION = (f1, precision, recall, f1_wmh)
SHAPES = [((30, 40), (0.7, 1.2)), ((14, 16, 18), (1.0, 2.0, 0.5))]


def of(prediction: list[int], reference: list[int], minimum: float = 0.0) -> Lesions:
    return Lesions.of(np.array([prediction], bool), np.array([reference], bool), (1.0, 1.0), "corners", minimum)


class TestDetection:
    def test_hit_miss_and_false_detection_are_counted(self) -> None:
        lesions = of([0, 1, 0, 0, 0, 1, 0, 0], [1, 1, 0, 1, 0, 0, 0, 1])
        assert recall(lesions) == pytest.approx(1 / 3)
        assert precision(lesions) == pytest.approx(1 / 2)
        assert f1(lesions) == pytest.approx(1 / (1 + (1 + 2) / 2))
        assert count_difference(lesions) == 1

    def test_the_two_f1_differ_where_lesions_are_split(self) -> None:
        lesions = of([1, 0, 1, 0, 0, 1], [1, 1, 1, 0, 0, 0])
        assert f1(lesions) == pytest.approx(1 / 1.5)
        assert f1_wmh(lesions) == pytest.approx(2 * (2 / 3) / (1 + 2 / 3))

    def test_a_threshold_on_iou_makes_a_poor_overlap_a_miss(self) -> None:
        lesions = of([1, 1, 1, 1], [1, 0, 0, 0])
        assert [metric(lesions) for metric in DETECTION] == [1, 1, 1, 1]
        assert [metric(lesions, 0.5) for metric in DETECTION] == [0, 0, 0, 0]

    def test_one_empty_map_is_the_worst_and_two_are_undefined(self) -> None:
        for lesions in (of([0, 0], [0, 1]), of([1, 0], [0, 0])):
            assert [metric(lesions) for metric in DETECTION] == [0, 0, 0, 0]
            assert panoptic(lesions) == (0, 0, 0)
            assert count_difference(lesions) == 1
        nothing = of([0, 0], [0, 0])
        assert all(math.isnan(metric(nothing)) for metric in (*DETECTION, count_difference))
        assert all(math.isnan(value) for value in (*panoptic(nothing), *volumes(nothing)))

    def test_only_lesions_too_small_to_count_are_nothing(self) -> None:
        lesions = of([1, 1, 0], [0, 1, 0], minimum=2.0)
        assert all(math.isnan(metric(lesions)) for metric in (*DETECTION, count_difference))
        assert all(math.isnan(value) for value in (*panoptic(lesions), *volumes(lesions)))


class TestPanoptic:
    @pytest.mark.parametrize(("shape", "spacing"), SHAPES)
    def test_random_masks_score_as_by_hand(self, shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
        for seed in range(3):
            prediction, reference = noise(seed, shape, 0.08, 0.02)
            refs, preds = masks_of(reference), masks_of(prediction)
            hits = [value for r in refs for p in preds if (value := iou(r, p)) > 0.5]
            assert hits
            rq = len(hits) / (len(refs) / 2 + len(preds) / 2)
            assert panoptic(Lesions.of(prediction, reference, spacing)) == pytest.approx((np.mean(hits) * rq, np.mean(hits), rq), abs=1e-12)

    def test_just_a_half_is_no_match(self) -> None:
        assert panoptic(of([1, 0], [1, 1])) == (0, 0, 0)

    def test_small_lesions_are_left_out(self) -> None:
        assert panoptic(of([1, 1, 0, 1, 0, 0], [1, 1, 0, 1, 0, 1], minimum=2.0)) == (1, 1, 1)


class TestVolumes:
    @pytest.mark.parametrize(("shape", "spacing"), SHAPES)
    def test_they_are_those_of_components_without_overlap(self, shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
        prediction, reference = noise(0, shape)
        false = sum(int(one.sum()) for one in masks_of(prediction) if not (one & reference).any())
        missed = sum(int(one.sum()) for one in masks_of(reference) if not (one & prediction).any())
        size = float(np.prod(spacing))
        assert false
        assert missed
        assert volumes(Lesions.of(prediction, reference, spacing)) == pytest.approx((false * size, missed * size))

    def test_missed_lesions_too_small_to_count_are_left_out(self) -> None:
        assert volumes(of([0, 0, 0, 0, 1], [1, 1, 0, 0, 0])) == (1, 2)
        assert volumes(of([0, 0, 0, 0, 1], [1, 1, 0, 0, 0], minimum=3.0)) == (1, 0)


class TestLesionDice:
    @pytest.mark.parametrize(("shape", "spacing"), SHAPES)
    def test_it_is_with_all_that_overlap_taken_whole(self, shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
        prediction, reference = noise(1, shape, 0.15)
        found = lesion_dice(Lesions.of(prediction, reference, spacing))
        for scores, mask, other in zip(found, (reference, prediction), (prediction, reference), strict=True):
            partners = masks_of(other)
            for score, one in zip(scores.tolist(), masks_of(mask), strict=True):
                touching = [partner for partner in partners if (partner & one).any()]
                assert score == pytest.approx(dice(one, np.any(touching, axis=0)) if touching else 0)
