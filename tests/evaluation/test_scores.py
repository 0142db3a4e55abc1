from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.errors import DataError
from medseg.evaluation import (
    read_calibration,
    read_candidates,
    read_lesions,
    read_rows,
    read_summary,
    summarise,
    write_scores,
)
from medseg.metrics import (
    CalibrationRow,
    CandidateRow,
    CaseScores,
    MetricOptions,
    average_precision,
    calibration_rows,
    candidate_rows,
    ece,
    froc,
    reliability,
    score_case,
    scored_lesions,
)

CLASSES = ["big, bad", "none"]
MEMBERSHIP = np.array([[0, 1, 0], [0, 0, 1]], bool)
SPACING = (0.1, 1 / 3)
NAMES = ['plain, "quoted"', "é\nnew line"]


def scored(options: MetricOptions | None = None) -> CaseScores:
    both = CaseScores()
    for seed, name in enumerate(NAMES):
        maps = (np.random.default_rng(seed).random((2, 7, 9)) < 0.2).astype(np.uint8)
        found = score_case(name, "", maps[0], maps[1], CLASSES, MEMBERSHIP, SPACING, options or MetricOptions())
        both.rows.extend(found.rows)
        both.lesions.extend(found.lesions)
    return both


def from_probabilities() -> tuple[list[CandidateRow], list[CalibrationRow]]:
    candidates, calibration = [], []
    for seed, name in enumerate(NAMES):
        reference = np.random.default_rng(seed).random((2, 7, 9))[1] < 0.2
        probability = np.random.default_rng(seed + 9).random((7, 9)) ** 4
        for class_name, mask in zip(CLASSES, (reference, np.zeros_like(reference)), strict=True):
            everywhere = np.ones_like(mask)
            candidates += candidate_rows(name, "", class_name, probability, mask, everywhere, SPACING, MetricOptions())
            calibration += calibration_rows(name, "", class_name, probability, mask, everywhere, SPACING)
    return candidates, calibration


class TestTables:
    def test_every_table_comes_back_exactly(self, tmp_path: Path) -> None:
        found, (candidates, calibration) = scored(), from_probabilities()
        write_scores(tmp_path, found.rows, found.lesions, candidates, calibration)
        assert repr(read_rows(tmp_path / "cases.csv")) == repr(found.rows)  # repr: NaN is not equal to itself
        assert read_lesions(tmp_path / "lesions.csv") == found.lesions
        assert read_candidates(tmp_path / "candidates.csv") == candidates
        assert read_calibration(tmp_path / "calibration.csv") == calibration
        assert any(row.hits for row in candidates)

    def test_without_probabilities_there_are_no_tables_of_them_nor_old_ones(self, tmp_path: Path) -> None:
        found = scored()
        write_scores(tmp_path, found.rows, found.lesions, *from_probabilities())
        summary = write_scores(tmp_path, found.rows, found.lesions)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["cases.csv", "lesions.csv", "summary.json"]
        assert not {"detection", "calibration"} & set(summary)

    @pytest.mark.parametrize("read", [read_rows, read_lesions, read_candidates, read_calibration])
    def test_a_foreign_table_is_refused(self, read: Any, tmp_path: Path) -> None:
        (tmp_path / "table.csv").write_text("a,b\n1,2\n")
        for name in ("table.csv", "absent.csv"):
            with pytest.raises(DataError, match=name):
                read(tmp_path / name)


class TestSummary:
    def test_it_is_strict_json_with_null_for_undefined(self, tmp_path: Path) -> None:
        found = scored()
        summary = write_scores(tmp_path, found.rows, found.lesions, checkpoint="best.ckpt")
        assert "NaN" not in (tmp_path / "summary.json").read_text()
        assert summary["metrics"]["dice/none"]["mean"] is None
        assert summary["metrics"]["dice/none"]["n_both_empty"] == 2
        assert summary["checkpoint"] == "best.ckpt"
        assert read_summary(tmp_path / "summary.json") == summary

    def test_rules_and_primary_metric_stand_in_it(self, tmp_path: Path) -> None:
        options = MetricOptions(metrics=("nsd", "dice"), tolerances={"big, bad": (2.0,), "none": (1.0,)}, penalty=373.0)
        summary = write_scores(tmp_path, scored(options).rows, options=options, primary="nsd_2mm")
        assert summary["options"]["penalty"] == 373
        assert summary["primary"] == "nsd_2mm"
        assert "373" in summary["definitions"]["empty"]
        assert "big, bad: 2 mm" in summary["definitions"]["nsd"]
        assert "hd95" not in summary["definitions"]
        assert set(summary["metrics"]) == {"nsd_2mm", "nsd_2mm/big, bad", "nsd_1mm", "nsd_1mm/none", "dice", "dice/big, bad", "dice/none"}

    def test_an_infinite_mean_survives(self, tmp_path: Path) -> None:
        rows = [dataclasses.replace(row, value=math.inf, penalised=True) for row in scored().rows if row.metric == "hd95"]
        summary = write_scores(tmp_path, rows, options=MetricOptions(penalty="inf"))
        assert "Infinity" not in (tmp_path / "summary.json").read_text()
        assert read_summary(tmp_path / "summary.json") == summary
        assert summary["metrics"]["hd95/big, bad"]["mean"] == math.inf

    def test_a_foreign_file_is_refused(self, tmp_path: Path) -> None:
        for text in ('{"a": 1}', "[]", '{"metrics": [1]}', "{"):
            (tmp_path / "summary.json").write_text(text)
            with pytest.raises(DataError, match=r"summary\.json"):
                read_summary(tmp_path / "summary.json")


class TestProbabilities:
    def test_detection_is_that_of_the_metrics_on_the_cases_with_probabilities(self) -> None:
        found, (candidates, calibration) = scored(), from_probabilities()
        only = [[row for row in rows if row.case_id == NAMES[0]] for rows in (candidates, calibration)]
        for own, share, names in ((candidates, calibration, NAMES), (*only, NAMES[:1])):
            detection = summarise(found.rows, found.lesions, own, share)["detection"]
            numbers = scored_lesions(names, [row for row in found.lesions if row.case_id in names], CLASSES[0])
            mine = [row for row in own if row.class_name == CLASSES[0]]
            assert detection["cases"] == len(names)
            assert detection["classes"][CLASSES[0]]["froc"] == pytest.approx(froc(mine, numbers).mean)
            assert detection["classes"][CLASSES[0]]["average_precision"] == pytest.approx(average_precision(mine, numbers))
            assert len(detection["classes"][CLASSES[0]]["sensitivity"]) == len(detection["fp_per_case"]) == 7

    def test_a_class_without_lesions_is_undefined_and_left_out_of_the_mean(self) -> None:
        found, (candidates, calibration) = scored(), from_probabilities()
        detection = summarise(found.rows, found.lesions, candidates, calibration)["detection"]
        assert detection["classes"]["none"]["froc"] is None
        assert detection["mean"]["froc"] == detection["classes"]["big, bad"]["froc"]

    def test_calibration_has_each_class_and_their_mean(self, tmp_path: Path) -> None:
        _, rows = from_probabilities()
        calibration = write_scores(tmp_path, scored().rows, (), (), rows)["calibration"]
        expected = [ece(reliability(row for row in rows if row.class_name == name)) for name in CLASSES]
        assert [calibration["classes"][name]["ece"] for name in CLASSES] == pytest.approx(expected)
        assert calibration["mean"]["ece"] == pytest.approx(np.mean(expected))
        assert len(calibration["classes"]["none"]["edges"]) == 11
