from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from medseg.config import load_config
from medseg.evaluation.report.calibration import calibration
from medseg.evaluation.report.cases import cases
from medseg.evaluation.report.choose import MOST_CLASSES, choose, shown_classes
from medseg.evaluation.report.curves import curves
from medseg.evaluation.report.detection import detection
from medseg.evaluation.report.failures import failures
from medseg.evaluation.report.header import dataset_name, header, warnings
from medseg.evaluation.report.lesions import lesions
from medseg.evaluation.report.sentences import sentences
from medseg.evaluation.report.source import Source
from medseg.evaluation.report.summary import headline_metrics, summary
from medseg.evaluation.report.surfaces import surfaces
from medseg.evaluation.report.volumes import agreement, volumes
from medseg.metrics import LesionRow, ece, reliability
from tests.evaluation.report.made import CASES, CLASSES

BIG, SMALL = CLASSES


@pytest.fixture(scope="module")
def source(request: pytest.FixtureRequest) -> Source:
    folder: Path = request.getfixturevalue("volumes")
    return Source.open(folder)


def cells(html: str, name: str) -> list[list[str]]:
    """Texts of a table, headings first."""
    found = html.partition(f'id="table-{name}"')[2].partition("</table>")[0]
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", found, re.DOTALL)
    return [[unescape(re.sub(r"<[^>]*>", "", cell)) for cell in re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row, re.DOTALL)] for row in rows]


def with_lesions(source: Source, found: Sequence[LesionRow]) -> Source:
    return dataclasses.replace(source, lesions=found)


def lesion(number: int, size: float, matched: bool, side: str = "reference", dice: float = 0.5, scored: bool = True) -> LesionRow:
    return LesionRow("perfect", "perfect", BIG, side, number, int(size), size, scored, matched, dice)


class TestHeader:
    def test_it_states_data_n_and_rules(self, source: Source) -> None:
        text = " ".join(header(source))
        assert "7 cases" in text
        assert "1 x 1 x 3 mm" in text
        assert "26-connected" in text
        assert "2000 resamples, seed 0, level 95%" in text

    def test_what_was_not_scored_as_it_should_stands_first(self, source: Source) -> None:
        said = {"missing": ["a"], "unusable": {"b": "why"}, "faults": {"c": "why", "d": "why"}, "left_out": 3, "groups": 40}
        texts = warnings(dataclasses.replace(source, summary={**source.summary, **said}))
        assert texts[0].startswith("1 case without a prediction: scored as empty predictions (a)")
        assert texts[1].startswith("1 case with a prediction that cannot be used")
        assert texts[2].startswith("2 cases not scored")
        assert texts[3].startswith("3 references")
        assert len(texts) == 4

    def test_few_patients_are_a_warning(self, source: Source) -> None:
        assert "Only 7 independent cases" in warnings(source)[-1]
        grouped = dataclasses.replace(source, summary={**source.summary, "groups": 3})
        assert "Only 3 independent patients" in warnings(grouped)[-1]

    def test_a_run_says_what_it_was_trained_with(self, source: Source) -> None:
        config = load_config("ce_dice", ["seed=7"])
        run = dataclasses.replace(
            source,
            config=config,
            environment={"git": "abc", "torch": "9"},
            summary={**source.summary, "split": "val", "checkpoint": "best"},
        )
        text = unescape(" ".join(header(run)))
        assert "<dt>seed</dt><dd>7</dd>" in text
        assert "<dt>git</dt><dd>abc</dd>" in text
        assert "torch 9" in text
        assert "cross_entropy + 1 dice" in text
        assert "also chose the checkpoint" in text
        assert dataset_name(run) == "phantom lesions_3d"


class TestSummary:
    def test_means_stand_with_their_intervals(self, source: Source) -> None:
        head, big, small, mean = cells(summary(source), "summary")
        assert head[:5] == ["class", "Dice", "NSD at 2 mm", "HD95 (max of directed), mm", "lesion F1"]
        one = source.aggregate("dice", BIG)
        assert big[1] == f"{one['mean']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"
        assert big[5:] == ["6", "1", "1", "1"]
        assert mean[0] == "mean over classes"
        assert head[5:] == ["cases", "both empty", "missed", "invented"]
        assert mean[5:] == [str(len(CASES)), *(str(int(a) + int(b)) for a, b in zip(big[6:], small[6:], strict=True))]
        assert any(row[1:3] == ["mean over classes", "12 (cases x classes)"] for row in cells(summary(source), "all-metrics"))

    def test_both_empty_is_a_column_only_where_there_are_such_cases(self, source: Source) -> None:
        numbers = {key: {**one, "n_both_empty": 0} for key, one in source.summary["metrics"].items()}
        head, big, *_ = cells(summary(dataclasses.replace(source, summary={**source.summary, "metrics": numbers})), "summary")
        assert head[5:] == ["cases", "missed", "invented"]
        assert big[5:] == ["6", "1", "1"]

    def test_all_metrics_are_there(self, source: Source) -> None:
        rows = cells(summary(source), "all-metrics")
        assert len(rows) == 1 + len(source.metrics) * 3
        dice = next(row for row in rows if row[:2] == ["Dice", BIG])
        assert dice[-1] == str(source.aggregate("dice", BIG)["n_failed"])

    def test_one_class_has_no_mean_over_classes(self, source: Source) -> None:
        one = dataclasses.replace(source, rows=[row for row in source.rows if row.class_name == BIG])
        assert "mean over classes" not in summary(one)

    def test_another_primary_metric_comes_first(self, source: Source) -> None:
        other = dataclasses.replace(source, summary={**source.summary, "primary": "hd95"})
        assert headline_metrics(other)[:2] == ["hd95", "dice"]
        assert "HD95 (max of directed), mm of every case" in summary(other)


class TestLesions:
    def test_rates_have_wilsons_interval(self, source: Source) -> None:
        found = [lesion(at, 50, at < 8) for at in range(10)] + [lesion(0, 5, False, "prediction"), lesion(1, 500, True, "prediction")]
        html = lesions(with_lesions(source, found))
        (row,) = cells(html, "lesions")[1:]
        assert row[:8] == [BIG, "10", "8", "0.80 [0.49, 0.94]", "2", "1", "0.50 [0.09, 0.91]", "0.143"]
        by_size = cells(html, "lesions-by-size")[1:]
        assert by_size == [[BIG, "1 to 10", "0", "0", "-", "-", "1"], [BIG, "10 to 100", "10", "8", "0.80 [0.49, 0.94]", "0.500", "0"]]

    def test_those_too_small_to_count_are_left_out_and_counted(self, source: Source) -> None:
        found = [lesion(0, 50, True), lesion(1, 2, False, scored=False)]
        html = lesions(with_lesions(source, found))
        assert cells(html, "lesions")[1][1] == "1"
        assert "1 components are below the smallest size" in html

    def test_many_points_are_thinned_and_that_is_said(self, source: Source) -> None:
        html = lesions(with_lesions(source, [lesion(at, 1 + at, True) for at in range(4000)]))
        assert "n = 4000 reference lesions, 1500 of them drawn" in html

    def test_without_lesions_there_is_no_section(self, source: Source) -> None:
        assert lesions(with_lesions(source, [])) == ""


class TestProbabilities:
    def test_detection_shows_what_the_summary_says(self, source: Source) -> None:
        rows = cells(detection(source), "detection")
        said = source.summary["detection"]["classes"][BIG]
        assert rows[1][0] == BIG
        assert rows[1][3] == f"{said['average_precision']:.3f}"
        assert rows[1][4] == f"{said['froc']:.3f}"
        assert rows[1][5:] == [f"{value:.3f}" for value in said["sensitivity"]]

    def test_calibration_shows_the_error_of_the_rows(self, source: Source) -> None:
        rows = cells(calibration(source), "calibration")
        bins = reliability(row for row in source.calibration if row.class_name == SMALL)
        small = next(row for row in rows if row[0] == SMALL)
        assert small[1:3] == [str(bins.voxels.sum()), f"{ece(bins):.4f}"]
        assert len(cells(calibration(source), "calibration-bins")) > 3

    def test_without_probabilities_there_is_neither(self, source: Source) -> None:
        bare = dataclasses.replace(source, candidates=[], calibration=[])
        assert detection(bare) == calibration(bare) == ""

    def test_without_lesions_there_is_no_curve(self, source: Source) -> None:
        assert detection(with_lesions(source, [])) == ""


class TestVolumes:
    def test_agreement_is_bland_and_altmans(self) -> None:
        values = np.random.default_rng(0).normal(3, 2, 20)
        bias, low, high, lower, upper = agreement(values)
        assert bias == pytest.approx(values.mean())
        assert (low, high) == pytest.approx(stats.t.interval(0.95, 19, values.mean(), stats.sem(values)))
        assert upper - lower == pytest.approx(2 * 1.96 * values.std(ddof=1))
        assert agreement([1.0])[0] == 1.0
        assert all(map(math.isnan, agreement([1.0])[1:]))

    def test_the_table_is_in_millilitres_without_cases_that_lack_the_class(self, source: Source) -> None:
        html = volumes(source)
        head, big, _ = cells(html, "volumes")
        rows = [row for row in source.per_class(BIG) if row.ref_voxels or row.pred_voxels]
        assert "bias (mL)" in head
        assert big[1] == str(len(rows)) == "6"
        assert float(big[3]) == pytest.approx(np.mean([row.pred_ml - row.ref_ml for row in rows]), rel=0.01)

    def test_pictures_have_areas(self, pictures: Path) -> None:
        html = volumes(Source.open(pictures))
        assert '<section id="areas">' in html
        assert "bias (pixels)" in html

    def test_without_anything_there_is_no_section(self, source: Source) -> None:
        rows = [dataclasses.replace(row, ref_empty=True, pred_empty=True) for row in source.rows]
        assert volumes(dataclasses.replace(source, rows=rows)) == ""


class TestSurfaces:
    def test_tolerances_are_in_order(self, source: Source) -> None:
        assert [float(at) for at in re.findall(r"[\d.]+ at ([\d.]+)<", surfaces(source))][:3] == [1, 2, 3]

    def test_one_tolerance_is_no_curve(self, source: Source) -> None:
        rows = [row for row in source.rows if row.metric != "nsd_1mm" and row.metric != "nsd_2mm"]
        assert surfaces(dataclasses.replace(source, rows=rows)) == ""


class TestCurves:
    def test_terms_shares_and_scores_are_drawn_apart(self, source: Source) -> None:
        epochs = [
            {"epoch": at, "train/loss": 1.0, "train/dice": 0.5, "train/bce": 0.5, "train/share/dice": 0.7, "train/share/bce": 0.3}
            | ({"val/dice": 0.5, "val/dice/x": 0.4, "val/dice/y": 0.6, "val/iou": 0.3} if at else {})
            for at in range(3)
        ]
        html = curves(dataclasses.replace(source, epochs=epochs))
        titles = re.findall(r'aria-label="([^"]*)"', html)
        assert titles == ["Training loss", "Loss terms, unweighted", "Share of the gradient", "Validation: Dice"]
        assert "0.7 at 1" in html
        assert "iou" not in html

    def test_without_training_there_is_no_section(self, source: Source) -> None:
        assert curves(source) == ""


class TestFailures:
    def test_missed_and_invented_structures_are_named_with_their_volume(self, source: Source) -> None:
        found = {(row[0], row[1]): row[2:] for row in cells(failures(source, {}), "failures")[1:]}
        assert found["missed", BIG][0] == "missed: the prediction lacks the class"
        assert float(found["missed", BIG][1]) == pytest.approx(6 * 6 * 6 * 3 / 1000, rel=0.01)
        assert found["invented", SMALL][0].startswith("invented")
        assert ("perfect", BIG) not in found
        assert ("empty", BIG) not in found

    def test_large_false_components_and_failed_cases_are_named(self, source: Source) -> None:
        stray = dataclasses.replace(lesion(0, 648.0, False, "prediction"), case_id="shifted")
        rows = [
            dataclasses.replace(row, value=0.05) if (row.case_id, row.class_name, row.metric) == ("shifted", BIG, "dice") else row
            for row in source.rows
        ]
        html = failures(dataclasses.replace(source, rows=rows, lesions=[stray]), {"shifted": "shifted"})
        said = [row[2] for row in cells(html, "failures") if row[:2] == ["shifted", BIG]]
        assert said == ["failed: Dice 0.050", "stray component of 100% of the reference's volume"]

    def test_cases_that_could_not_be_scored_come_first(self, source: Source) -> None:
        said = {"missing": ["a"], "unusable": {"b": "another <grid>"}, "faults": {"c": "truncated"}}
        rows = cells(failures(dataclasses.replace(source, summary={**source.summary, **said}), {}), "failures")
        assert [row[:3] for row in rows[1:4]] == [
            ["a", "all", "prediction missing or unusable: no prediction"],
            ["b", "all", "prediction missing or unusable: another <grid>"],
            ["c", "all", "not scored: truncated"],
        ]

    def test_a_case_without_prediction_has_one_line_with_all_that_it_lacks(self, source: Source) -> None:
        said = {**source.summary, "missing": ["missed"]}
        rows = [row for row in cells(failures(dataclasses.replace(source, summary=said), {}), "failures") if row[0] == "missed"]
        assert [row[:3] for row in rows] == [["missed", "all", "prediction missing or unusable: no prediction"]]
        lacks = sum(source.volume(row, "ref") for name in CLASSES for row in source.per_class(name) if row.case_id == "missed")
        assert float(rows[0][3]) == pytest.approx(lacks, rel=0.01)

    def test_a_penalised_case_with_two_empty_masks_has_no_prediction(self, source: Source) -> None:
        rows = [dataclasses.replace(row, value=0.0, penalised=True) if row.case_id == "empty" else row for row in source.rows]
        failed = dataclasses.replace(source, rows=rows)
        found = [row[1:3] for row in cells(failures(failed, {}), "failures") if row[0] == "empty"]
        assert found == [[name, "prediction missing or unusable"] for name in CLASSES]

    def test_no_failure_is_said(self, source: Source) -> None:
        rows = [row for row in source.rows if row.case_id == "perfect"]
        assert "None: no structure missed" in failures(dataclasses.replace(source, rows=rows, lesions=[]), {})


class TestCases:
    def test_every_case_and_class_has_a_row_the_worst_first(self, source: Source) -> None:
        head, *rows = cells(cases(source, {}), "cases")
        assert len(rows) == len(CASES) * len(CLASSES)
        assert rows[0][0] in ("missed", "invented")
        assert {row[0] for row in rows[-2:]} == {"empty"}
        assert "patient" not in head
        dice = {(row[0], row[1]): row[2] for row in rows}
        assert dice["perfect", BIG] == "1.000"
        assert dice["empty", BIG] == "-"

    def test_penalties_are_named(self, source: Source) -> None:
        _, *rows = cells(cases(source, {}), "cases")
        row = next(row for row in rows if row[0] == "missed")
        assert "HD95 (max of directed)" in row[-1]

    def test_patients_are_shown_where_they_are_known(self, source: Source) -> None:
        rows = [dataclasses.replace(row, group="<p>") for row in source.rows]
        head, first, *_ = cells(cases(dataclasses.replace(source, rows=rows), {}), "cases")
        assert head[1] == "patient"
        assert first[1] == "<p>"


class TestSentences:
    def test_numbers_come_with_n_interval_and_rule(self, source: Source) -> None:
        text = unescape(sentences(source))
        one = source.aggregate("dice", BIG)
        assert f"Mean Dice was {one['mean']:.3f} [{one['low']:.3f}, {one['high']:.3f}] for {BIG} (n = 6) and" in text
        assert "2000 resamples of cases" in text
        assert "were empty are excluded" in text
        assert "missed or invented structures count with the image's diagonal" in text
        assert "HD95 (max of directed) was" in text

    def test_a_run_is_said_to_be_one(self, source: Source) -> None:
        run = dataclasses.replace(source, config=load_config("ce_dice"), summary={**source.summary, "split": "val"})
        text = sentences(run)
        assert "one training run (seed 0)" in text
        assert "which had also chosen the checkpoint" in text


class TestChoice:
    def test_best_median_worst_and_empty_are_chosen(self, source: Source) -> None:
        picks = [(pick.kind, pick.case) for pick in choose(source) if pick.class_name == BIG]
        assert [kind for kind, _ in picks] == ["best", "median", "worst", "empty"]
        assert picks[0][1] in ("perfect", "speckled", "<odd> & name")
        assert picks[2:] == [("worst", "missed"), ("empty", "invented")]

    def test_no_case_is_shown_twice_for_a_class(self, source: Source) -> None:
        few = dataclasses.replace(source, rows=[row for row in source.rows if row.case_id == "perfect"])
        assert [pick.kind for pick in choose(few)] == ["worst", "worst"]

    def test_of_many_classes_the_worst_are_shown(self, source: Source) -> None:
        names = [f"c{at:02}" for at in range(20)]
        row = source.of("dice", BIG)[0]
        rows = [dataclasses.replace(row, class_name=name) for name in names]
        means = {f"dice/{name}": {"mean": at / 20} for at, name in enumerate(names)}
        many = dataclasses.replace(source, rows=rows, summary={**source.summary, "metrics": means})
        assert shown_classes(many) == names[:MOST_CLASSES]
