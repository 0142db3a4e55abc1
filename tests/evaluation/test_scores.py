from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import DataError
from medseg.evaluation import read_rows, read_summary, write_scores
from medseg.evaluation.scores import _PARSERS
from medseg.metrics import LesionRow, Row, count_case, rows_of


def scored() -> tuple[list[Row], list[LesionRow]]:
    rows, lesions = [], []
    for seed, name in enumerate(['plain, "quoted"', "é\nnew line"]):
        maps = (np.random.default_rng(seed).random((2, 7, 9)) < 0.2).astype(np.uint8)
        counts, found = count_case(name, "", maps[0], maps[1], ["big, bad", "none"], np.array([[0, 1, 0], [0, 0, 1]], bool), (0.1, 1 / 3))
        rows += rows_of(counts, ["big, bad", "none"])
        lesions += found
    return rows, lesions


class TestTables:
    def test_rows_come_back_exactly(self, tmp_path: Path) -> None:
        rows, lesions = scored()
        write_scores(tmp_path, rows, lesions)
        back = read_rows(tmp_path / "cases.csv")
        assert [repr(row) for row in back] == [repr(row) for row in rows]  # repr: NaN is not equal to itself

    def test_every_column_is_parsed(self) -> None:
        assert list(_PARSERS) == [field.name for field in dataclasses.fields(Row)]

    def test_a_foreign_table_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "cases.csv").write_text("a,b\n1,2\n")
        with pytest.raises(DataError, match=r"cases\.csv"):
            read_rows(tmp_path / "cases.csv")


class TestSummary:
    def test_it_is_strict_json_with_null_for_undefined(self, tmp_path: Path) -> None:
        rows, lesions = scored()
        summary = write_scores(tmp_path, rows, lesions, checkpoint="best.ckpt")
        assert "NaN" not in (tmp_path / "summary.json").read_text()
        assert summary["metrics"]["dice/none"]["mean"] is None
        assert summary["metrics"]["dice/none"]["n_both_empty"] == 2
        assert summary["checkpoint"] == "best.ckpt"
        assert read_summary(tmp_path / "summary.json") == summary

    def test_a_foreign_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "summary.json").write_text(json.dumps({"a": 1}))
        with pytest.raises(DataError, match=r"summary\.json"):
            read_summary(tmp_path / "summary.json")
