from __future__ import annotations

import json
import math

import numpy as np
import pytest

from medseg.metrics import METRICS, CaseCounts, count_case, score_case

REGIONS = np.array([[0, 1, 1], [0, 0, 1]], bool)  # whole: ids 1 and 2; core: id 2


def maps() -> tuple[np.ndarray, np.ndarray]:
    reference = np.zeros((6, 6, 6), np.uint8)
    reference[1:4, 1:4, 1:4], reference[2, 2, 2], reference[5, 5, 5] = 1, 2, 1
    return np.roll(reference, 1, axis=0), reference


class TestRows:
    def test_there_is_one_row_per_class_and_metric(self) -> None:
        rows = score_case("a", "", *maps(), ["whole", "core"], REGIONS, (1.0, 1.0, 1.0))
        assert [(row.class_name, row.metric) for row in rows] == [(name, metric) for name in ("whole", "core") for metric in METRICS]

    def test_rows_tell_what_was_counted(self) -> None:
        row = score_case("a", "patient", *maps(), ["whole", "core"], REGIONS, (1.0, 2.0, 0.5))[0]
        assert (row.case_id, row.group, row.spacing) == ("a", "patient", (1.0, 2.0, 0.5))
        assert (row.ref_voxels, row.ref_lesions, row.ref_empty) == (28, 2, False)
        assert row.ref_ml == pytest.approx(0.028)

    def test_the_case_is_its_own_group_when_none_is_known(self) -> None:
        assert {row.group for row in score_case("a", "", *maps(), ["whole", "core"], REGIONS, (1, 1, 1))} == {"a"}

    def test_2d_has_no_millilitres(self) -> None:
        prediction, reference = (ids[2] for ids in maps())
        rows = score_case("a", "", prediction, reference, ["whole", "core"], REGIONS, (1.0, 1.0))
        assert "volume_difference_ml" not in {row.metric for row in rows}
        assert all(math.isnan(row.ref_ml) for row in rows)

    def test_ignored_voxels_change_no_row(self) -> None:
        prediction, reference = maps()
        ignored = np.zeros(reference.shape, bool)
        ignored[:, :, 4:] = True
        masked = score_case("a", "", prediction, np.where(ignored, 255, reference).astype(np.uint8), ["w", "c"], REGIONS, (1, 1, 1))
        cropped = score_case("a", "", prediction[:, :, :4], reference[:, :, :4], ["w", "c"], REGIONS, (1, 1, 1))
        assert masked == cropped

    def test_axes_can_be_turned_together(self) -> None:
        prediction, reference = maps()
        turned = score_case("a", "", prediction.T, reference.T, ["w", "c"], REGIONS, (1, 1, 1))
        assert turned == score_case("a", "", prediction, reference, ["w", "c"], REGIONS, (1, 1, 1))


class TestLesionRows:
    def test_each_component_of_each_side_is_listed(self) -> None:
        _, lesions = count_case("a", "", *maps(), ["whole", "core"], REGIONS, (1.0, 1.0, 3.0))
        whole = [(row.side, row.voxels, row.matched) for row in lesions if row.class_name == "whole"]
        assert sorted(whole) == [("prediction", 1, False), ("prediction", 27, True), ("reference", 1, False), ("reference", 27, True)]
        assert {row.size / row.voxels for row in lesions} == {3.0}


class TestCaseCounts:
    def test_they_survive_as_plain_types(self) -> None:
        counts, _ = count_case("a", "", *maps(), ["whole", "core"], REGIONS, (1.0, 1.0, 3.0))
        assert CaseCounts.from_dict(json.loads(json.dumps(counts.to_dict()))) == counts
