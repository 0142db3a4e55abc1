"""Every rule of `MetricOptions` changes the number that it is about."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from medseg.metrics import METRICS, MetricOptions, definitions, metric_of, score, score_case

NOTHING = np.zeros((6, 6, 6), bool)
SOMETHING = np.zeros((6, 6, 6), bool)
SOMETHING[1:3, 1:3, 1:3] = True
SPACING = (1.0, 2.0, 2.0)


def one(prediction: np.ndarray, reference: np.ndarray, metric: str, **options: Any) -> float:
    (value,) = score(
        prediction, reference, SPACING[-reference.ndim :], [metric], MetricOptions(**{"tolerances": (1.0,), **options})
    ).values()
    return value


def masks(*boxes: tuple[slice, ...]) -> np.ndarray:
    mask = np.zeros((12, 12, 12), bool)
    for box in boxes:
        mask[box] = True
    return mask


class TestMetrics:
    def test_the_standard_set_is_the_default(self) -> None:
        found = score(SOMETHING, SOMETHING, SPACING)
        standard = [name for name, metric in METRICS.items() if metric.standard]
        assert list(dict.fromkeys("nsd" if name.startswith("nsd") else name for name in found)) == standard

    def test_named_ones_come_in_the_order_of_the_names(self) -> None:
        assert list(score(SOMETHING, SOMETHING, SPACING, options=MetricOptions(metrics=("hd", "dice")))) == ["hd", "dice"]

    def test_an_unknown_one_is_refused_with_the_known_ones(self) -> None:
        with pytest.raises(ValueError, match=r"'dyce'; known are dice, iou"):
            score(SOMETHING, SOMETHING, SPACING, ["dyce"])

    @pytest.mark.parametrize("metric", METRICS)
    def test_a_perfect_prediction_has_the_best_value(self, metric: str) -> None:
        large = np.zeros((9, 9, 9), bool)
        large[2:7, 2:7, 2:7] = True
        assert one(large, large, metric) == METRICS[metric].best

    @pytest.mark.parametrize("metric", METRICS)
    def test_a_worse_prediction_is_no_better(self, metric: str) -> None:
        reference = masks((slice(2, 8),) * 3, (slice(11, 12),) * 3)
        worse = masks((slice(4, 10), slice(2, 6), slice(2, 8)), (slice(0, 1),) * 3)
        value, best = one(worse, reference, metric), METRICS[metric].best
        assert value < best if METRICS[metric].better == "higher" else abs(value) >= best


class TestBothEmpty:
    @pytest.mark.parametrize("metric", METRICS)
    def test_exclude_leaves_it_undefined(self, metric: str) -> None:
        assert math.isnan(one(NOTHING, NOTHING, metric, both_empty="exclude"))

    @pytest.mark.parametrize("metric", METRICS)
    def test_best_gives_the_best_value(self, metric: str) -> None:
        assert one(NOTHING, NOTHING, metric, both_empty="best") == METRICS[metric].best

    def test_lesions_too_small_to_count_are_nothing_to_score(self) -> None:
        for rule, expected in (("exclude", math.nan), ("best", 1.0)):
            value = one(NOTHING, SOMETHING, "lesion_f1", both_empty=rule, minimum_lesion=1e6)
            np.testing.assert_equal(value, expected)


class TestPenalty:
    diagonal = math.sqrt(6**2 + 12**2 + 12**2)

    @pytest.mark.parametrize("metric", [name for name, metric in METRICS.items() if metric.one_empty == "penalty"])
    @pytest.mark.parametrize(("penalty", "expected"), [("diagonal", diagonal), (373.0, 373.0), ("inf", math.inf), ("nan", math.nan)])
    def test_it_is_the_distance_where_one_mask_is_empty(self, metric: str, penalty: Any, expected: float) -> None:
        for pair in ((NOTHING, SOMETHING), (SOMETHING, NOTHING)):
            np.testing.assert_equal(one(*pair, metric, penalty=penalty), expected)

    def test_the_row_says_so(self) -> None:
        ids = [mask.astype(np.uint8) for mask in (NOTHING, SOMETHING)]
        rows = score_case("a", "", *ids, ["it"], np.array([[False, True]]), SPACING).rows
        assert {row.metric for row in rows if row.penalised} == {"hd95", "assd", "brats_hd95"}

    @pytest.mark.parametrize("metric", [name for name, metric in METRICS.items() if metric.better == "higher"])
    def test_overlap_of_one_empty_mask_is_zero(self, metric: str) -> None:
        assert one(NOTHING, SOMETHING, metric, brats="met") == 0
        assert one(SOMETHING, NOTHING, metric, brats="met") == 0


class TestTolerances:
    shifted = np.roll(SOMETHING, 1, axis=0)

    def test_each_has_a_row_of_its_own(self) -> None:
        found = score(self.shifted, SOMETHING, SPACING, ["nsd"], MetricOptions(tolerances=(0.5, 1.0, 2.5)))
        assert list(found) == ["nsd_0.5mm", "nsd_1mm", "nsd_2.5mm"]
        assert found["nsd_0.5mm"] < found["nsd_1mm"] == 1

    def test_classes_may_have_their_own(self) -> None:
        ids = np.array([[0, 1, 2, 2]], np.uint8)
        options = MetricOptions(metrics=("nsd",), tolerances={"a": (1.0,), "b": (2.0, 3.0)})
        rows = score_case("a", "", ids, ids, ["a", "b"], np.eye(2, 3, 1, dtype=bool), (1.0, 1.0), options).rows
        assert [(row.class_name, row.metric) for row in rows] == [("a", "nsd_1mm"), ("b", "nsd_2mm"), ("b", "nsd_3mm")]

    @pytest.mark.parametrize("name", ["nsd_1mm", "nsd_2.5mm", "nsd_1e-05mm", "nsd"])
    def test_the_metric_of_a_row_is_found(self, name: str) -> None:
        assert metric_of(name) is METRICS["nsd"]

    def test_no_other_name_is_taken_for_one(self) -> None:
        with pytest.raises(ValueError, match="dice_of_mm"):
            metric_of("dice_of_mm")


class TestLesionRules:
    def test_connectivity(self) -> None:
        diagonal = np.zeros((4, 4, 4), bool)
        diagonal[0, 0, 0] = diagonal[1, 1, 0] = diagonal[2, 2, 1] = True  # an edge, then a corner
        touched = np.zeros_like(diagonal)
        touched[0, 0, 0] = True
        found = [one(touched, diagonal, "lesion_recall", connectivity=which) for which in ("faces", "edges", "corners")]
        assert found == pytest.approx([1 / 3, 1 / 2, 1])

    def test_lesion_iou(self) -> None:
        large, corner = masks((slice(0, 6),) * 3), masks((slice(0, 2),) * 3)
        assert one(corner, large, "lesion_f1") == 1
        assert one(corner, large, "lesion_f1", lesion_iou=0.1) == 0

    def test_minimum_lesion_is_in_cubic_millimetres(self) -> None:
        two = masks((slice(0, 4),) * 3, (slice(8, 9),) * 3)
        only_large = masks((slice(0, 4),) * 3)
        assert one(only_large, two, "lesion_recall", minimum_lesion=4.0) == 0.5
        assert one(only_large, two, "lesion_recall", minimum_lesion=4.1) == 1

    def test_brats(self) -> None:
        small = masks((slice(2, 4), slice(2, 4), slice(2, 3)))  # 16 mm^3: scored by MET alone
        assert one(masks(), small, "brats_dice", brats="met") == 0
        assert math.isnan(one(masks(), small, "brats_dice", brats="gli"))

    def test_beta(self) -> None:
        half = masks((slice(0, 4), slice(0, 4), slice(0, 2)))
        assert one(half, masks((slice(0, 4),) * 3), "f_beta", beta=0.5) > one(half, masks((slice(0, 4),) * 3), "f_beta", beta=2.0)


class TestDefinitions:
    def test_every_metric_has_one(self) -> None:
        assert set(METRICS) <= set(definitions(MetricOptions(metrics=tuple(METRICS))))
        assert not any("{" in text for text in definitions(MetricOptions(metrics=tuple(METRICS))).values())

    @pytest.mark.parametrize(
        ("key", "option", "said"),
        [
            ("empty", {"both_empty": "best"}, "the best value"),
            ("empty", {"penalty": 373.0}, "373.0 mm"),
            ("empty", {"penalty": "inf"}, "infinity"),
            ("lesion", {"connectivity": "edges"}, "18-connected"),
            ("lesion", {"lesion_iou": 0.3}, "0.3"),
            ("lesion", {"minimum_lesion": 5.0}, "below 5 mm"),
            ("nsd", {"tolerances": (1.5, 2.0)}, "1.5 mm, 2 mm"),
            ("nsd", {"tolerances": {"liver": (3.0,)}}, "liver: 3 mm"),
            ("brats_dice", {"brats": "met"}, "met"),
            ("f_beta", {"beta": 3.0}, "beta 3"),
        ],
    )
    def test_each_rule_is_said_in_words(self, key: str, option: dict[str, Any], said: str) -> None:
        assert said in definitions(MetricOptions(**option), [key] if key in METRICS else ())[key]
        assert said not in definitions(MetricOptions(), [key] if key in METRICS else ())[key]

    def test_options_are_plain_for_json(self) -> None:
        options = MetricOptions(metrics=("nsd",), tolerances={"a": (1.0,)}, penalty=374.0)
        assert json.loads(json.dumps(options.to_dict()))["tolerances"] == {"a": [1.0]}
