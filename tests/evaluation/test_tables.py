from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from medseg.evaluation import Evaluation, print_evaluation, summarise, summary_table
from medseg.metrics import METRICS, MetricOptions, score_case


def summary_of(classes: list[str], primary: str = "dice", cases: int = 4, **options: Any) -> dict[str, Any]:
    membership = np.eye(len(classes), len(classes) + 1, 1, dtype=bool)
    rules, rows = MetricOptions(**options), []
    for seed in range(cases):
        prediction, reference = np.random.default_rng(seed).integers(0, 2, (2, 6, 6, 3)).astype(np.uint8)
        rows += score_case(f"{seed}", "", prediction, reference, classes, membership, (1.0, 1.0, 40.0), rules).rows
    return summarise(rows, options=rules, primary=primary)


def text_of(summary: dict[str, Any], width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(summary_table(summary, width=width))
    return console.file.getvalue()  # type: ignore[attr-defined]


class TestSummaryTable:
    def test_it_shows_classes_means_and_counts(self) -> None:
        text = text_of(summary_of(["liver", "tumour [b]"]))
        for part in ("liver", "tumour [b]", "class mean", "mean over 4 cases", "[0.", "HD95, mm", "(max of directed)", "lesion F1"):
            assert part in text

    def test_the_primary_metric_stands_first(self) -> None:
        text = text_of(summary_of(["liver"], primary="nsd_2mm", metrics=("dice", "nsd")))
        assert text.index("NSD 2 mm") < text.index("Dice")

    def test_metrics_that_were_not_computed_are_not_shown(self) -> None:
        text = text_of(summary_of(["liver"], primary="assd", metrics=("assd", "iou")))
        assert "ASSD, mm" in text
        assert "Dice" not in text

    def test_metrics_that_were_asked_for_are_shown(self) -> None:
        text = text_of(summary_of(["liver"], metrics=("dice", "nsd")))
        assert text.index("Dice") < text.index("NSD 1 mm") < text.index("NSD 2 mm")

    @pytest.mark.parametrize(("width", "shown"), [(300, 3), (100, 3), (80, 2), (40, 1)])
    def test_the_columns_follow_from_the_options_and_the_width_alone(self, width: int, shown: int) -> None:
        wanted = ("Dice", "lesion F1", "HD95, mm")
        empty, full = np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8)
        missed = score_case("a", "", empty, full, ["l" * 30], np.array([[False, True]]), (1.0, 1.0)).rows
        for summary in (summary_of(["liver"]), summary_of(["a"], cases=1), summarise(missed)):
            table = summary_table(summary, width=width)
            headers = [str(column.header).partition("\n(")[0] for column in table.columns]
            assert headers == ["class", *wanted[:shown], "cases", "both\nempty", "penalised"]
            table.caption = table.title = None
            assert Console(width=300).measure(table).maximum <= max(min(width, 100), 58)

    def test_an_undefined_mean_is_a_dash(self) -> None:
        line = next(line for line in text_of(summary_of(["liver", "absent"])).splitlines() if "absent" in line)
        assert line.split()[1:] == ["-", "-", "-", "0", "4", "0"]

    def test_penalised_cases_are_counted(self) -> None:
        empty, full = np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8)
        rows = score_case("a", "", empty, full, ["liver"], np.array([[False, True]]), (1.0, 1.0)).rows
        line = next(line for line in text_of(summarise(rows)).splitlines() if "liver" in line)
        assert line.split()[-3:] == ["1", "0", "1"]

    def test_a_failed_case_is_penalised_and_the_rule_told(self) -> None:
        empty = np.zeros((4, 4), np.uint8)
        rows = score_case("a", "", empty, empty, ["liver"], np.array([[False, True]]), (1.0, 1.0), failed=True).rows
        text = text_of(summarise(rows, missing=["a"]))
        line = next(line for line in text.splitlines() if "liver" in line)
        assert (line.split()[1], line.split()[-3:]) == ("0.000", ["1", "0", "1"])
        assert "1 of them without prediction, scored as failed" in " ".join(text.split())
        assert "missing or unusable" in text

    @pytest.mark.parametrize(
        "primary", ["dice", *(name for name, metric in METRICS.items() if metric.standard and not metric.per_tolerance)]
    )
    def test_it_fits_into_a_hundred_columns(self, primary: str) -> None:
        summary = {**summary_of(["microaneurysm"], primary, cases=2), "definitions": {"empty": ""}}
        assert Console(width=200).measure(summary_table(summary, title="")).maximum <= 100

    def test_one_class_needs_no_mean_over_classes(self) -> None:
        assert "class mean" not in text_of(summary_of(["liver"]))

    def test_an_infinite_mean_is_shown(self) -> None:
        empty, full = np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8)
        options = MetricOptions(penalty="inf")
        rows = score_case("a", "", empty, full, ["liver"], np.array([[False, True]]), (1.0, 1.0), options).rows
        assert "inf" in text_of(summarise(rows, options=options))


class TestPrintEvaluation:
    def test_what_went_wrong_stands_below_the_table(self, tmp_path: Path) -> None:
        maps = np.ones((2, 4, 4), np.uint8)
        rows = score_case("a", "", maps[0], maps[1], ["liver"], np.array([[False, True]]), (1.0, 1.0)).rows
        result = Evaluation(
            rows,
            [],
            summary=summarise(rows),
            missing=["b"],
            unusable={"u": "u.nii.gz: unreadable"},
            extra=["c"],
            left_out=["e", "f"],
            faults={"d [x]": "d.nii.gz: other grid"},
        )
        console = Console(file=io.StringIO(), width=100)
        print_evaluation(result, tmp_path, console)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        for line in (
            "b: no prediction",
            "c: no reference",
            "u: scored as failed in every class: u.nii.gz: unreadable",
            "2 references were left out, without prediction",
            "d [x]: not scored: d.nii.gz: other grid",
            f"written to {tmp_path}",
        ):
            assert line in text
