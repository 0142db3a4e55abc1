from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from rich.console import Console

from medseg.evaluation import Evaluation, print_evaluation, summarise, summary_table
from medseg.metrics import score_case


def text_of(classes: list[str]) -> str:
    membership = np.eye(len(classes), len(classes) + 1, 1, dtype=bool)
    rows = []
    for seed in range(4):
        prediction, reference = np.random.default_rng(seed).integers(0, 2, (2, 6, 6)).astype(np.uint8)
        rows += score_case(f"{seed}", "", prediction, reference, classes, membership, (1.0, 1.0))
    console = Console(file=io.StringIO(), width=160)
    console.print(summary_table(summarise(rows)))
    return console.file.getvalue()  # type: ignore[attr-defined]


class TestSummaryTable:
    def test_it_shows_classes_means_and_counts(self) -> None:
        text = text_of(["liver", "tumour [b]"])
        assert "liver" in text
        assert "tumour [b]" in text
        assert "mean over classes" in text
        assert "mean over 4 cases" in text
        assert "[0." in text

    def test_an_undefined_mean_is_a_dash(self) -> None:
        line = next(line for line in text_of(["liver", "absent"]).splitlines() if "absent" in line)
        assert [cell.strip() for cell in line.strip("│").split("│")][1:] == ["-"] * 2 + ["0", "4"]

    def test_it_fits_into_eighty_columns(self) -> None:
        console = Console(width=200)
        rows = score_case("a", "", *np.ones((2, 4, 4), np.uint8), ["microaneurysm"], np.array([[False, True]]), (1.0, 1.0))
        assert console.measure(summary_table({**summarise(rows), "definitions": {"empty": ""}}, title="")).maximum <= 80

    def test_one_class_needs_no_mean_over_classes(self) -> None:
        assert "mean over classes" not in text_of(["liver"])


class TestPrintEvaluation:
    def test_what_went_wrong_stands_below_the_table(self, tmp_path: Path) -> None:
        maps = np.ones((2, 4, 4), np.uint8)
        rows = score_case("a", "", maps[0], maps[1], ["liver"], np.array([[False, True]]), (1.0, 1.0))
        result = Evaluation(rows, [], summarise(rows), missing=["b"], extra=["c"], faults={"d [x]": "d.nii.gz: other grid"})
        console = Console(file=io.StringIO(), width=100)
        print_evaluation(result, tmp_path, console)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        for line in ("b: no prediction", "c: no reference", "d [x]: not scored: d.nii.gz: other grid", f"written to {tmp_path}"):
            assert line in text
