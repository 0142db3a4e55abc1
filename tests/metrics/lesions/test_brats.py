from __future__ import annotations

import math

import numpy as np
import pytest

from medseg.metrics.lesions import BratsRules, Lesions, LesionWise, brats, reach
from tests.metrics.lesions import by_hand
from tests.metrics.lesions.by_hand import noise

SCENES = [((18, 22, 16), (1.0, 1.0, 1.0), 0.02), ((12, 26, 18), (3.0, 0.5, 1.0), 0.03), ((40, 50), (0.7, 1.2), 0.03)]
SETTINGS: dict[BratsRules, tuple[int, float]] = {"gli": (3, 50), "met": (1, 2)}


class TestBrats:
    @pytest.mark.parametrize("rules", ["gli", "met"])
    @pytest.mark.parametrize(("shape", "spacing", "density"), SCENES)
    def test_random_masks_score_as_by_dilating_each_lesion(
        self, shape: tuple[int, ...], spacing: tuple[float, ...], density: float, rules: BratsRules
    ) -> None:
        for seed in range(2):
            prediction, reference = noise(seed, shape, density)
            expected = by_hand.brats(prediction, reference, spacing, *SETTINGS[rules])
            assert brats(Lesions.of(prediction, reference, spacing), rules) == pytest.approx(expected, abs=1e-9)

    def test_the_connectivity_and_smallest_size_of_the_table_do_not_matter(self) -> None:
        prediction, reference = noise(0, (18, 22, 16), 0.03)
        expected = brats(Lesions.of(prediction, reference, (1.0, 1.0, 1.0)))
        assert brats(Lesions.of(prediction, reference, (1.0, 1.0, 1.0), "faces", 1000.0)) == pytest.approx(expected)

    def test_too_many_pairs_to_compare_their_boxes_score_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        prediction, reference = noise(0, (18, 22, 16), 0.03)
        expected = [brats(Lesions.of(*masks, (1.0, 1.0, 1.0)), "met") for masks in ((prediction, reference), (reference, prediction))]
        monkeypatch.setattr(reach, "_TABLE", 0)
        got = [brats(Lesions.of(*masks, (1.0, 1.0, 1.0)), "met") for masks in ((prediction, reference), (reference, prediction))]
        assert got == expected

    def test_nothing_at_all_is_undefined(self) -> None:
        empty = np.zeros((4, 4, 4), bool)
        assert all(math.isnan(value) for value in brats(Lesions.of(empty, empty, (1.0,) * 3)))

    def test_only_an_ignored_lesion_is_undefined_until_a_false_one_comes(self) -> None:
        prediction, reference = np.zeros((2, 20, 20, 20), bool)
        reference[:3, :3, :3] = True
        assert all(math.isnan(value) for value in brats(Lesions.of(prediction, reference, (1.0,) * 3)))
        prediction[-1, -1, -1] = True
        assert brats(Lesions.of(prediction, reference, (1.0,) * 3)) == (0, 374)

    def test_met_counts_lesions_that_gli_joins_or_ignores(self) -> None:
        reference = np.zeros((20, 20, 20), bool)
        reference[:4, :4, :4] = reference[:4, :4, 8:12] = reference[-2:, -2:, -2:] = True
        lesions = Lesions.of(reference, reference, (1.0,) * 3)
        assert len(LesionWise.of(lesions, "gli").lesions) == 1
        assert len(LesionWise.of(lesions, "met").lesions) == 3

    def test_a_lesion_of_just_the_limit_is_not_scored(self) -> None:
        reference = np.zeros((20, 20, 20), bool)
        reference[:5, :5, :2] = True
        lesions = Lesions.of(~reference & False, reference, (1.0,) * 3)
        assert all(math.isnan(value) for value in brats(lesions, "gli"))
        assert brats(lesions, "met") == (0, 374)

    def test_unknown_rules_are_refused(self) -> None:
        with pytest.raises(ValueError, match="gli or met"):
            brats(Lesions.of(np.ones((2, 2), bool), np.ones((2, 2), bool), (1.0, 1.0)), "ped")  # type: ignore[arg-type]
