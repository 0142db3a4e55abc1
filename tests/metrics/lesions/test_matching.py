from __future__ import annotations

import time

import numpy as np
import pytest

from medseg.metrics.lesions import LesionCounts, Lesions, counts, matched
from medseg.metrics.lesions.matching import one_to_one
from tests.metrics.lesions.by_hand import best_matching, iou, masks_of, noise


def of(prediction: list[int], reference: list[int], minimum: float = 0.0) -> Lesions:
    return Lesions.of(np.array([prediction], bool), np.array([reference], bool), (1.0, 1.0), "corners", minimum)


class TestAnyOverlap:
    @pytest.mark.parametrize("shape", [(30, 40), (14, 16, 18)])
    def test_one_shared_voxel_is_a_match(self, shape: tuple[int, ...]) -> None:
        for seed in range(3):
            prediction, reference = noise(seed, shape)
            in_ref, in_pred = matched(Lesions.of(prediction, reference, (1.0,) * len(shape)))
            assert in_ref.tolist() == [bool((one & prediction).any()) for one in masks_of(reference)]
            assert in_pred.tolist() == [bool((one & reference).any()) for one in masks_of(prediction)]

    def test_one_prediction_may_detect_two_lesions_and_two_one(self) -> None:
        assert counts(of([1, 1, 1], [1, 0, 1])) == LesionCounts(tp=2, fn=0, fp=0, tp_pred=1)
        assert counts(of([1, 0, 1], [1, 1, 1])) == LesionCounts(tp=1, fn=0, fp=0, tp_pred=2)

    def test_small_lesions_are_neither_found_nor_missed_nor_make_false_ones(self) -> None:
        lesions = of([0, 1, 0, 0, 1, 0, 0, 0, 1], [1, 1, 0, 0, 1, 0, 1, 0, 0], minimum=2.0)
        assert counts(lesions) == LesionCounts(tp=1, fn=0, fp=1, tp_pred=1)


class TestOneToOne:
    @pytest.mark.parametrize("least", [0.05, 0.1, 0.3, 0.5, 0.6])
    def test_random_masks_are_matched_as_by_trying_all(self, least: float) -> None:
        for seed in range(12):
            prediction, reference = np.random.default_rng(seed).random((2, 6, 6)) < 0.28
            refs, preds = masks_of(reference, "faces")[:6], masks_of(prediction, "faces")[:6]
            prediction, reference = np.any(preds, axis=0), np.any(refs, axis=0)
            lesions = Lesions.of(prediction, reference, (1.0, 1.0), "faces")
            ious = np.array([[iou(r, p) for p in preds] for r in refs])
            chosen = one_to_one(lesions, lesions.ious >= least, unique=least > 0.5)
            assert (len(chosen), round(lesions.ious[chosen].sum(), 9)) == pytest.approx(best_matching(ious, least))
            assert all(len(set(side)) == len(side) for side in lesions.pairs[chosen, :2].T.tolist())
            assert [int(one.sum()) for one in matched(lesions, least)] == [len(chosen)] * 2

    def test_the_best_partner_is_kept_not_the_worst(self) -> None:
        """MetricsReloaded's greedy matching sorts ascending: of IoU .75 and .125 it keeps .125."""
        lesions = of([1, 1, 1, 1, 1, 1, 0, 1], [1] * 8)
        assert lesions.ious.tolist() == [0.75, 0.125]
        assert lesions.ious[one_to_one(lesions, lesions.ious > 0, unique=False)].tolist() == [0.75]

    def test_number_comes_before_quality(self) -> None:
        reference = np.array([[1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1]], bool)
        prediction = np.array([[1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0]], bool)
        lesions = Lesions.of(prediction, reference, (1.0, 1.0))
        chosen = one_to_one(lesions, lesions.ious > 0, unique=False)
        assert lesions.pairs[chosen, :2].tolist() == [[0, 0], [1, 1]]

    def test_the_threshold_itself_is_a_match(self) -> None:
        lesions = of([1, 0], [1, 1])
        assert counts(lesions, 0.5) == LesionCounts(tp=1, fn=0, fp=0, tp_pred=1)
        assert counts(lesions, 0.51) == LesionCounts(tp=0, fn=1, fp=1, tp_pred=0)

    def test_lesions_that_do_not_count_take_no_partner(self) -> None:
        lesions = of([1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1], minimum=2.0)
        assert matched(lesions, 0.1)[0].tolist() == [False, True, False]

    def test_noise_is_matched_in_no_time(self) -> None:
        prediction, reference = np.random.default_rng(0).random((2, 64, 64, 64)) < 0.05
        lesions = Lesions.of(prediction, reference, (1.0,) * 3)
        start = time.process_time()
        matched(lesions, 0.1)
        assert time.process_time() - start < 2
