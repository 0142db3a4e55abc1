from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from medseg.metrics import METRICS, MetricOptions, score, score_case

REGIONS = np.array([[0, 1, 1], [0, 0, 1]], bool)  # whole: ids 1 and 2; core: id 2
NAMES = ["whole", "core"]


def maps() -> tuple[np.ndarray, np.ndarray]:
    reference = np.zeros((6, 6, 6), np.uint8)
    reference[1:4, 1:4, 1:4], reference[2, 2, 2], reference[5, 5, 5] = 1, 2, 1
    return np.roll(reference, 1, axis=0), reference


def random_maps(seed: int, ids: int = 3, shape: tuple[int, ...] = (9, 11, 7)) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    chances = [0.7] + [0.3 / (ids - 1)] * (ids - 1)
    return generator.choice(ids, shape, p=chances).astype(np.uint8), generator.choice(ids, shape, p=chances).astype(np.uint8)


class TestRows:
    def test_there_is_one_row_per_class_and_metric(self) -> None:
        rows = score_case("a", "", *maps(), NAMES, REGIONS, (1.0, 1.0, 1.0), MetricOptions(metrics=tuple(METRICS), tolerances=(1.0,))).rows
        names = [metric + "_1mm" * METRICS[metric].per_tolerance for metric in METRICS]
        assert [(row.class_name, row.metric) for row in rows] == [(name, metric) for name in NAMES for metric in names]

    def test_rows_tell_what_was_counted(self) -> None:
        row = score_case("a", "patient", *maps(), NAMES, REGIONS, (1.0, 2.0, 0.5)).rows[0]
        assert (row.case_id, row.group, row.spacing) == ("a", "patient", (1.0, 2.0, 0.5))
        assert (row.ref_voxels, row.ref_lesions, row.ref_empty, row.penalised) == (28, 2, False, False)
        assert row.ref_ml == pytest.approx(0.028)

    def test_millilitres_follow_the_spacing(self) -> None:
        ones = np.ones((2, 3, 4), np.uint8)
        row = score_case("a", "", ones, np.zeros_like(ones), ["it"], np.array([[False, True]]), (0.5, 2.0, 3.0)).rows[0]
        assert row.pred_ml == pytest.approx(24 * 3 / 1000)
        assert row.ref_ml == 0

    def test_the_case_is_its_own_group_when_none_is_known(self) -> None:
        scores = score_case("a", "", *maps(), NAMES, REGIONS, (1, 1, 1))
        assert {row.group for row in (*scores.rows, *scores.lesions)} == {"a"}

    def test_2d_has_no_millilitres(self) -> None:
        prediction, reference = (ids[2] for ids in maps())
        rows = score_case("a", "", prediction, reference, NAMES, REGIONS, (1.0, 1.0)).rows
        assert not any(row.metric.endswith("_ml") for row in rows)
        assert all(math.isnan(row.ref_ml) for row in rows)


class TestClassesOfOneCase:
    """All classes come from one pass; each must be as if it stood alone."""

    @pytest.mark.parametrize("shape", [(20, 31), (9, 11, 7)])
    def test_a_class_scores_as_its_mask_alone(self, shape: tuple[int, ...]) -> None:
        spacing = (2.0, 0.7, 1.1)[: len(shape)]
        options = MetricOptions(metrics=tuple(METRICS))
        for seed, membership in ((0, np.eye(2, 3, 1, dtype=bool)), (1, REGIONS), (2, REGIONS)):
            prediction, reference = random_maps(seed, shape=shape)
            rows = score_case("a", "", prediction, reference, NAMES, membership, spacing, options).rows
            for index, name in enumerate(NAMES):
                alone = score(membership[index][prediction], membership[index][reference], spacing, options=options)
                assert {row.metric: row.value for row in rows if row.class_name == name} == pytest.approx(alone, nan_ok=True)

    def test_a_class_that_one_map_lacks_does_not_disturb_the_others(self) -> None:
        prediction, reference = random_maps(3, ids=4)
        prediction[prediction == 2] = 0
        rows = score_case("a", "", prediction, reference, ["a", "b", "c"], np.eye(3, 4, 1, dtype=bool), (1, 1, 1)).rows
        for name, index in (("a", 1), ("c", 3)):
            alone = score(prediction == index, reference == index, (1, 1, 1))
            assert {row.metric: row.value for row in rows if row.class_name == name} == pytest.approx(alone)


class TestGeometry:
    def test_ignored_voxels_change_no_row(self) -> None:
        prediction, reference = maps()
        ignored = np.zeros(reference.shape, bool)
        ignored[:, :, 4:] = True
        masked = score_case("a", "", prediction, np.where(ignored, 255, reference).astype(np.uint8), ["w", "c"], REGIONS, (1, 1, 1))
        cropped = score_case("a", "", prediction[:, :, :4], reference[:, :, :4], ["w", "c"], REGIONS, (1, 1, 1))
        assert masked == cropped

    def test_axes_can_be_turned_together(self) -> None:
        prediction, reference = maps()
        turned = score_case("a", "", prediction.T, reference.T, ["w", "c"], REGIONS, (3, 2, 1)).rows
        plain = score_case("a", "", prediction, reference, ["w", "c"], REGIONS, (1, 2, 3)).rows
        assert [row.value for row in turned] == pytest.approx([row.value for row in plain], nan_ok=True)

    @pytest.mark.parametrize("ids", [3, 20])
    def test_the_order_in_memory_does_not_matter(self, ids: int) -> None:
        prediction, reference = random_maps(5, ids)
        names, membership = [f"{i}" for i in range(1, ids)], np.eye(ids - 1, ids, 1, dtype=bool)
        plain = score_case("a", "", prediction, reference, names, membership, (1, 2, 3))
        fortran = score_case("a", "", np.asfortranarray(prediction), np.asfortranarray(reference), names, membership, (1, 2, 3))
        mixed = score_case("a", "", np.asfortranarray(prediction), reference, names, membership, (1, 2, 3))
        assert repr(plain) == repr(fortran) == repr(mixed)

    def test_the_maps_are_not_written_to(self) -> None:
        prediction, reference = random_maps(6)
        reference[:2], prediction[0] = 255, 255
        copies = prediction.copy(), reference.copy()
        for ids in (prediction, reference):
            ids.setflags(write=False)
        score_case("a", "", prediction, reference, NAMES, REGIONS, (1, 1, 1))
        assert np.array_equal(prediction, copies[0])
        assert np.array_equal(reference, copies[1])

    def test_background_around_changes_nothing_but_the_diagonal(self) -> None:
        prediction, reference = random_maps(7)
        wide = score_case("a", "", np.pad(prediction, 5), np.pad(reference, 5), NAMES, REGIONS, (1, 1, 1))
        assert wide == score_case("a", "", prediction, reference, NAMES, REGIONS, (1, 1, 1))


class TestLesionRows:
    def test_each_component_of_each_side_is_listed(self) -> None:
        lesions = score_case("a", "", *maps(), NAMES, REGIONS, (1.0, 1.0, 3.0)).lesions
        whole = [(row.side, row.lesion, row.voxels, row.matched) for row in lesions if row.class_name == "whole"]
        assert whole == [("reference", 0, 27, True), ("reference", 1, 1, False), ("prediction", 0, 1, False), ("prediction", 1, 27, True)]
        assert {row.size / row.voxels for row in lesions} == {3.0}

    def test_they_can_be_left_out(self) -> None:
        found = score_case("a", "", *maps(), NAMES, REGIONS, (1, 1, 1), list_lesions=False)
        assert found.lesions == []
        assert repr(found.rows) == repr(score_case("a", "", *maps(), NAMES, REGIONS, (1, 1, 1)).rows)

    def test_they_say_which_count_and_how_well_they_were_met(self) -> None:
        lesions = score_case("a", "", *maps(), NAMES, REGIONS, (1, 1, 1), MetricOptions(minimum_lesion=2)).lesions
        assert [(row.scored, row.dice) for row in lesions if row.class_name == "whole"][:2] == [(True, pytest.approx(2 / 3)), (False, 0)]


class TestFailedCases:
    @pytest.mark.parametrize(("penalty", "distance"), [(50.0, 50.0), ("diagonal", 50**0.5), ("inf", math.inf)])
    @pytest.mark.parametrize("reference", [np.zeros((5, 5), np.uint8), np.pad(np.ones((2, 2), np.uint8), (1, 2))])
    def test_every_class_has_the_worst_scores(self, reference: np.ndarray, penalty: Any, distance: float) -> None:
        options = MetricOptions(("dice", "lesion_f1", "nsd", "hd95", "brats_hd95", "lesion_count_difference"), (1.0,), penalty=penalty)
        scores = score_case("a", "", np.ones_like(reference), reference, ["x"], np.array([[False, True]]), (1.0, 1.0), options, failed=True)
        found = {row.metric: row.value for row in scores.rows}
        worst = {"dice": 0, "lesion_f1": 0, "nsd_1mm": 0, "hd95": distance, "brats_hd95": 374}
        assert found == pytest.approx(worst | {"lesion_count_difference": int(reference.any())})
        assert all(row.penalised and row.pred_empty and not row.both_empty for row in scores.rows)


class TestMistakes:
    @pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 0.0, 1.0), (1.0, -1.0, 1.0), (1.0, math.nan, 1.0)])
    def test_a_spacing_that_makes_no_sense_is_refused(self, spacing: tuple[float, ...]) -> None:
        with pytest.raises(ValueError, match="spacing"):
            score_case("a", "", *maps(), NAMES, REGIONS, spacing)

    def test_names_must_fit_the_membership(self) -> None:
        with pytest.raises(ValueError, match="1 classes"):
            score_case("a", "", *maps(), ["whole"], REGIONS, (1, 1, 1))

    @pytest.mark.parametrize("value", [0.6, 2, -1])
    def test_score_takes_masks_alone(self, value: float) -> None:
        mask = np.ones((3, 3), bool)
        with pytest.raises(ValueError, match="the prediction must be a mask"):
            score(mask * value, mask, (1, 1))
        assert score(mask.astype(np.float32), mask, (1, 1), ["dice"]) == {"dice": 1}
