"""What other packages get wrong, each as a property of ours, named after the defect.

Observed in torchmetrics 1.9, MONAI 1.6, MetricsReloaded, panoptica 2.1, surface-distance 0.1, nnU-Net v2 and the scripts of challenges.
"""

from __future__ import annotations

import math
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from torchmetrics import MetricCollection

from medseg.metrics import METRICS, CaseMetrics, MetricOptions, Row, aggregate, calibration_rows, ece, froc, reliability, score, score_case
from medseg.metrics.rows import CandidateRow

ALL = MetricOptions(metrics=tuple(METRICS), tolerances=(1.0,))
LESION = np.array([[False, True]])
REGIONS = np.array([[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]], bool)  # whole tumour, core, enhancing tumour: nested


def box(shape: tuple[int, ...], *slices: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*ends) for ends in slices)] = True
    return mask


def hausdorff(prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...]) -> float:
    """By whole distance maps."""
    borders = [mask & ~ndimage.binary_erosion(mask) for mask in (prediction, reference)]
    there, back = (ndimage.distance_transform_edt(~border, sampling=spacing) for border in borders)
    return float(max(there[borders[1]].max(), back[borders[0]].max()))


def rows_of(case_id: str, prediction: np.ndarray, reference: np.ndarray, options: MetricOptions = ALL) -> list[Row]:
    spacing = (1.0,) * reference.ndim
    return score_case(case_id, "", prediction.astype(np.uint8), reference.astype(np.uint8), ["it"], LESION, spacing, options).rows


class TestTorchmetricsHausdorff:
    @pytest.mark.parametrize("shape", [(20, 40), (40, 20), (3, 50), (1, 30), (5, 9, 31)])
    def test_h1_an_image_need_not_be_square(self, shape: tuple[int, ...]) -> None:
        prediction, reference = np.random.default_rng(0).random((2, *shape)) < 0.1
        spacing = (1.0,) * len(shape)
        assert score(prediction, reference, spacing, ["hd"])["hd"] == pytest.approx(hausdorff(prediction, reference, spacing))

    def test_h2_volumes_are_taken(self) -> None:
        assert score(box((6, 6, 6), (1, 3), (1, 3), (1, 3)), box((6, 6, 6), (1, 3), (1, 3), (2, 4)), (1, 1, 2.5), ["hd"]) == {"hd": 2.5}

    def test_h3_and_s1_memory_does_not_grow_with_pixels_squared_nor_with_classes(self) -> None:
        ids = np.zeros((512, 512), np.uint8)
        for index in range(13):
            ids[20 * index + 10 : 20 * index + 28, 50:450] = index + 1
        tracemalloc.start()
        score_case("a", "", np.roll(ids, 2, 0), ids, [f"{i}" for i in range(13)], np.eye(13, 14, 1, dtype=bool), (1, 1))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 30e6

    def test_h4_a_class_absent_from_both_maps_is_no_error(self) -> None:
        ids = np.array([[0, 1, 0]], np.uint8)
        rows = score_case("a", "", ids, ids, ["a", "b"], np.eye(2, 3, 1, dtype=bool), (1, 1), ALL).rows
        assert all(math.isnan(row.value) for row in rows if row.class_name == "b")
        assert not any(math.isnan(row.value) for row in rows if row.class_name == "a" and row.metric == "hd")

    def test_h5_an_empty_prediction_does_not_make_the_mean_infinite(self) -> None:
        full = box((8, 8), (2, 6), (2, 6))
        rows = [*rows_of("a", full, full), *rows_of("b", np.zeros_like(full), full)]
        assert aggregate(rows)["hd"].mean == pytest.approx((0 + math.hypot(8, 8)) / 2)

    def test_h6_the_spacing_is_that_of_the_case(self) -> None:
        metric = CaseMetrics(["it"], LESION, MetricOptions(metrics=("hd",)))
        for name, spacing in (("a", (1.0, 1.0)), ("b", np.array([1.0, 3.0])), ("c", [1.0, 5.0])):
            metric.update(name, np.array([[0, 1, 0]], np.uint8), np.array([[1, 0, 0]], np.uint8), spacing)
        assert [row.value for row in metric.rows()] == [1, 3, 5]

    def test_h7_percentiles_classes_and_mean_distances_are_offered(self) -> None:
        assert {"hd95", "assd", "masd", "nsd"} <= set(METRICS)
        metric = CaseMetrics(["a", "b"], np.eye(2, 3, 1, dtype=bool))
        metric.update("a", np.array([[1, 2]], np.uint8), np.array([[1, 2]], np.uint8), (1, 1))
        assert {"hd95/a", "hd95/b", "assd", "nsd_1mm/b"} <= set(metric.compute())


class TestTorchmetricsDice:
    def test_d1_disjoint_masks_score_zero(self) -> None:
        found = score(box((6, 6), (0, 2), (0, 2)), box((6, 6), (4, 6), (4, 6)), (1, 1), ["dice", "iou", "precision", "recall"])
        assert set(found.values()) == {0}

    def test_d2_nested_regions_keep_their_nesting(self) -> None:
        ids = np.random.default_rng(0).integers(0, 4, (6, 7, 8)).astype(np.uint8)
        rows = score_case("a", "", ids, ids, ["WT", "TC", "ET"], REGIONS, (1, 1, 1)).rows
        assert [row.value for row in rows if row.metric == "dice"] == [1, 1, 1]
        volumes = [row.ref_voxels for row in rows if row.metric == "dice"]
        assert volumes == [int((ids >= least).sum()) for least in (1, 2, 3)]

    @pytest.mark.parametrize("seed", range(4))
    def test_d3_no_score_leaves_its_range(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        masks = generator.random((2, 9, 8, 7)) < generator.choice([0.02, 0.3, 0.9], 2)[:, None, None, None]
        for name, value in score(*masks, (1, 2, 3), options=ALL).items():
            metric = METRICS[name.removesuffix("_1mm")]
            assert (0 <= value <= 1) if metric.better == "higher" else metric.better == "zero" or value >= 0, name

    def test_d3_maps_that_are_no_label_maps_are_refused(self) -> None:
        with pytest.raises(ValueError, match="uint8"):
            score_case("a", "", np.zeros((2, 2), np.int64), np.zeros((2, 2), np.uint8), ["it"], LESION, (1, 1))
        with pytest.raises(ValueError, match="the id 5"):
            score_case("a", "", np.full((2, 2), 5, np.uint8), np.zeros((2, 2), np.uint8), ["it"], LESION, (1, 1))

    def test_d4_background_is_no_class(self) -> None:
        prediction, reference = box((10, 10), (0, 1), (0, 4)), box((10, 10), (0, 1), (2, 6))
        assert aggregate(rows_of("a", prediction, reference))["dice"].mean == 0.5

    def test_d5_the_ignore_label_is_no_class_and_no_error(self) -> None:
        reference, prediction = np.array([[1, 255, 0, 255]], np.uint8), np.array([[1, 1, 0, 0]], np.uint8)
        assert all(row.value == METRICS[row.metric.removesuffix("_1mm")].best for row in _plain(prediction, reference))

    def test_d6_nothing_warns_by_default(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            metric = CaseMetrics(["it"], LESION)
            assert metric.compute() == {}
            metric.update("a", np.zeros((3, 3), np.uint8), np.zeros((3, 3), np.uint8), (1, 1))
            metric.compute()

    def test_d7_and_d8_an_epoch_without_foreground_is_undefined_or_best_by_the_rule(self) -> None:
        empty = np.zeros((4, 4), np.uint8)
        for rule, expected in (("exclude", math.nan), ("best", 1.0)):
            metric = CaseMetrics(["it"], LESION, MetricOptions(both_empty=rule))
            metric.update("a", empty, empty, (1, 1))
            np.testing.assert_equal(float(metric.compute()["dice"]), expected)

    def test_d8_the_mean_is_the_mean_of_the_printed_classes(self) -> None:
        metric = CaseMetrics(["a", "b"], np.eye(2, 3, 1, dtype=bool))
        for case in range(3):
            prediction, reference = np.random.default_rng(case).integers(0, 2 + (case == 0), (2, 5, 5)).astype(np.uint8)
            metric.update(f"{case}", prediction, reference, (1, 1))
        found = {key: float(value) for key, value in metric.compute().items()}
        assert found["dice"] == pytest.approx((found["dice/a"] + found["dice/b"]) / 2)


class TestTorchmetricsState:
    @pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
    def test_g1_and_g2_a_case_does_not_see_the_others(self, order: tuple[int, ...]) -> None:
        maps = [np.random.default_rng(case).integers(0, 3 - (case == 2), (2, 6, 6)).astype(np.uint8) for case in range(4)]
        membership = np.eye(2, 3, 1, dtype=bool)
        metric = CaseMetrics(["a", "b"], membership)
        for case in order:
            metric.update(f"{case}", *maps[case], (1, 1))
        alone = [row for case in range(4) for row in score_case(f"{case}", "", *maps[case], ["a", "b"], membership, (1, 1)).rows]
        assert repr(metric.rows()) == repr(alone)

    def test_g3_a_class_absent_everywhere_does_not_count_as_zero(self) -> None:
        ids = np.array([[0, 1]], np.uint8)
        metric = CaseMetrics(["a", "b"], np.eye(2, 3, 1, dtype=bool))
        metric.update("a", ids, ids, (1, 1))
        found = metric.compute()
        assert (float(found["dice"]), float(found["dice/a"])) == (1, 1)
        assert math.isnan(float(found["dice/b"]))

    def test_m1_no_sentinel_stands_for_undefined(self) -> None:
        empty = np.zeros((4, 4), bool)
        assert all(math.isnan(row.value) for row in rows_of("a", empty, empty))

    def test_c1_metrics_that_tie_on_the_first_case_are_not_merged(self) -> None:
        tie, apart = np.array([[0, 1, 0]], np.uint8), np.array([[1, 0, 0]], np.uint8)
        rules = {name: MetricOptions(metrics=("nsd",), tolerances=(tolerance,)) for name, tolerance in (("strict", 0.5), ("lenient", 1.0))}
        together = MetricCollection({name: CaseMetrics(["it"], LESION, rule) for name, rule in rules.items()})
        together.update("a", tie, tie, (1, 1))
        together.compute()
        together.update("b", tie, apart, (1, 1))
        found = together.compute()
        assert float(next(value for key, value in found.items() if key.endswith("nsd_0.5mm"))) == 0.5
        assert float(next(value for key, value in found.items() if key.endswith("nsd_1mm"))) == 1

    def test_p3_a_padded_duplicate_counts_once(self) -> None:
        metric = CaseMetrics(["it"], LESION)
        full, none = np.ones((3, 3), np.uint8), np.zeros((3, 3), np.uint8)
        for name, prediction in (("a", full), ("b", none), ("b", none)):
            metric.update(name, prediction, full, (1, 1))
        assert float(metric.compute()["dice"]) == 0.5
        # P1 and P2, a rank without a case: test_case_metrics.py, in two processes


class TestMonai:
    full, none = box((6, 6, 6), (1, 5), (1, 5), (1, 5)), np.zeros((6, 6, 6), bool)

    @pytest.mark.parametrize("metric", [name for name, metric in METRICS.items() if metric.family != "volume"])
    def test_a_missed_structure_never_improves_the_mean(self, metric: str) -> None:
        key = metric + "_1mm" * METRICS[metric].per_tolerance
        with_miss = aggregate([*rows_of("a", self.full, self.full), *rows_of("b", self.none, self.full)])[key]
        assert with_miss.n_valid == 2
        assert with_miss.mean < METRICS[metric].best if METRICS[metric].better == "higher" else with_miss.mean >= METRICS[metric].best

    def test_false_positives_on_an_empty_reference_count(self) -> None:
        found = aggregate([*rows_of("a", self.full, self.full), *rows_of("b", self.full, self.none)])
        assert (found["dice"].mean, found["lesion_f1"].mean, found["pq"].mean) == (0.5, 0.5, 0.5)
        assert found["hd95"].n_penalised == 1

    def test_all_undefined_stays_undefined(self) -> None:
        assert all(math.isnan(one.mean) for one in aggregate(rows_of("a", self.none, self.none)).values())

    def test_probabilities_are_not_taken_for_masks(self) -> None:
        with pytest.raises(ValueError, match="threshold"):
            score(0.6 * self.full, self.full, (1, 1, 1))

    def test_tolerances_are_in_mm_not_in_voxels(self) -> None:
        shifted = np.roll(self.full, 1, axis=0)
        for step, expected in ((0.9, 1.0), (2.0, None)):
            found = score(shifted, self.full, (step, 1, 1), ["nsd"], MetricOptions(tolerances=(1.0,)))["nsd_1mm"]
            assert found == expected if expected else found < 1

    def test_volume_differences_are_in_ml_not_in_voxels(self) -> None:
        assert score(self.full, self.none, (1, 2, 5), ["volume_difference_ml"]) == {"volume_difference_ml": pytest.approx(0.64)}

    def test_the_lowest_score_is_a_threshold_of_the_froc_curve(self) -> None:
        rows = [CandidateRow("a", "a", "it", 0.9, 1, 1.0, (0,)), CandidateRow("a", "a", "it", 0.2, 1, 1.0, (1,))]
        assert froc(rows, {"a": {0, 1}}).sensitivity[-1] == 1


class TestMetricsReloaded:
    def test_the_best_match_wins_not_the_worst(self) -> None:
        reference = box((1, 30), (0, 1), (5, 15))
        prediction = reference.copy()
        prediction[0, 12] = False  # two pieces: one with an IoU of 0.7, one of 0.2
        assert score(prediction, reference, (1, 1), ["sq", "rq"]) == {"sq": pytest.approx(0.7), "rq": pytest.approx(2 / 3)}
        found = score(prediction, reference, (1, 1), ["lesion_f1"], MetricOptions(lesion_iou=0.1))["lesion_f1"]
        assert found == pytest.approx(1 / 1.5)

    def test_distances_of_lesions_honour_the_spacing(self) -> None:
        full = box((20, 20, 20), (5, 12), (5, 12), (5, 12))
        options = MetricOptions(metrics=("brats_hd95",))
        near, far = (score(np.roll(full, 1, axis=0), full, (step, 1.0, 1.0), options=options)["brats_hd95"] for step in (1.0, 5.0))
        assert far == pytest.approx(5 * near)

    @pytest.mark.parametrize("corner", [0, 12])
    def test_an_empty_prediction_scores_zero_wherever_the_object_lies(self, corner: int) -> None:
        reference = box((14, 14), (corner, corner + 2), (corner, corner + 2))
        found = score(np.zeros_like(reference), reference, (1, 1), ["nsd", "nsd_surfel", "cl_dice"], MetricOptions(tolerances=(1.0,)))
        assert set(found.values()) == {0}

    def test_nothing_is_printed(self, capsys: pytest.CaptureFixture[str]) -> None:
        rows_of("a", box((9, 9), (1, 5), (1, 5)), box((9, 9), (2, 6), (1, 5)))
        assert capsys.readouterr() == ("", "")


class TestPanoptica:
    def test_global_distances_honour_the_spacing(self) -> None:
        full = box((12, 12), (3, 8), (3, 8))
        found = score(np.roll(full, 2, axis=0), full, (5.0, 1.0), ["hd", "hd95", "assd"])
        assert found["hd"] == found["hd95"] == 10

    def test_the_three_hd95_have_three_names(self) -> None:
        reference = box((14, 14), (5, 8), (5, 8))
        prediction = reference.copy()
        reference[0, 0] = True
        found = score(prediction, reference, (1, 1), ["hd95", "hd95_pooled", "hd95_surfel"])
        assert len(set(found.values())) == 3
        titles = [METRICS[name].title for name in found]
        assert len(set(titles)) == 3

    def test_assd_is_not_masd(self) -> None:
        found = score(box((9, 30), (2, 7), (2, 28)), box((9, 30), (3, 6), (5, 8)), (1, 1), ["assd", "masd"])
        assert found["assd"] != found["masd"]

    @pytest.mark.parametrize("metric", METRICS)
    def test_every_metric_has_a_rule_for_a_missed_case(self, metric: str) -> None:
        value = score(np.zeros((8, 8, 8), bool), box((8, 8, 8), (1, 6), (1, 6), (1, 6)), (1, 1, 1), [metric], ALL)
        assert not any(math.isnan(one) for one in value.values())

    def test_an_iou_of_just_one_half_is_no_match(self) -> None:
        assert score(box((1, 9), (0, 1), (0, 2)), box((1, 9), (0, 1), (0, 4)), (1, 1), ["rq"]) == {"rq": 0}

    def test_components_touch_by_corners_in_2d_too(self) -> None:
        assert (
            score(np.eye(3, dtype=bool), np.eye(3, dtype=bool)[::-1].T, (1, 1), ["lesion_count_difference"])["lesion_count_difference"] == 0
        )
        assert rows_of("a", np.eye(3), np.eye(3))[0].ref_lesions == 1


class TestOthers:
    @pytest.mark.parametrize(("prediction", "reference"), [(0, 0), (0, 1), (1, 0)])
    def test_no_empty_mask_is_an_error(self, prediction: int, reference: int) -> None:
        """medpy and WMH raise, surface-distance gives infinity for two empty masks."""
        assert rows_of("a", np.full((4, 4, 4), prediction), np.full((4, 4, 4), reference))

    def test_relative_volume_of_an_empty_reference_is_undefined_not_an_error(self) -> None:
        assert math.isnan(score(np.ones((2, 2), bool), np.zeros((2, 2), bool), (1, 1), ["relative_volume_difference"]).popitem()[1])

    def test_a_dropped_worst_case_is_seen(self) -> None:
        """A model that misses 15 % of the structures must not look better by HD95."""
        full = box((40, 40), (10, 30), (10, 30))
        careful = [row for case in range(20) for row in rows_of(f"{case}", np.roll(full, 3, 0), full)]
        blind = [row for case in range(20) for row in rows_of(f"{case}", np.roll(full, 2, 0) & (case > 2), full)]
        assert aggregate(careful)["hd95"].mean < aggregate(blind)["hd95"].mean
        assert aggregate(blind)["hd95"].mean_unpenalised == 2
        assert aggregate(blind)["hd95"].n_penalised == 3

    def test_calibration_of_a_small_target_does_not_drown_in_background(self) -> None:
        reference = box((100, 100, 30), (50, 54), (50, 54), (10, 14))
        probability = np.where(np.roll(reference, 2, axis=0), 0.99, 0.0)  # certain, and half of it wrong
        rows = calibration_rows("a", "", "it", probability, reference, np.ones_like(reference), (1.0, 1.0, 1.0), margin_mm=2.0)
        assert ece(reliability(rows)) > 20 * 0.0012

    def test_the_state_does_not_keep_voxels(self) -> None:
        metric: Any = CaseMetrics(["it"], LESION)
        maps = np.ones((2, 64, 64, 64), np.uint8)
        metric.update("a", *maps, (1, 1, 1))
        assert sum(one.numel() for one in metric.records) < 4096


def _plain(prediction: np.ndarray, reference: np.ndarray) -> list[Row]:
    names = tuple(name for name in METRICS if not name.startswith("brats"))
    options = MetricOptions(metrics=names, tolerances=(1.0,))
    return score_case("a", "", prediction, reference, ["it"], LESION, (1.0, 1.0), options).rows
