from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from medseg.data.case import Case, DataSet, Fault
from medseg.data.check import ClassCount, Inspection
from medseg.data.check_report import print_inspection, to_json, write_json
from medseg.data.labels import LabelSchema

LONG = "a message that is much longer than a line of a terminal usually is, " * 4


def inspection(*faults: Fault) -> Inspection:
    cases = tuple(Case(name, (Path(f"/set/{name}.png"),), None, name) for name in "abc")
    data = DataSet("my [bold] set", Path("/set"), cases, ("x",), LabelSchema.exclusive({"lesion": 1}), 2, ".png")
    classes = (ClassCount("background", 3, 1234567, 0.98765), ClassCount("lesion", 2, 4321, 0.01235))
    return Inspection(data, faults, classes, 3, 1)


ERROR = Fault("error", "a", Path("/set/images/a[1].png"), LONG, "mend it")
WARNING = Fault("warning", "", None, "odd é", "look")


def printed(result: Inspection, terminal: bool = False) -> tuple[int, str]:
    stream = io.StringIO()
    console = Console(file=stream, width=60, force_terminal=terminal, color_system=None)
    code = print_inspection(result, console)
    assert console.width == 60
    return code, stream.getvalue()


class TestPrint:
    def test_piped_output_keeps_every_fault_on_one_whole_line(self) -> None:
        code, text = printed(inspection(ERROR, WARNING))
        assert code == 1
        (line,) = (line for line in text.splitlines() if "images/a[1].png" in line)
        for part in ("error", "a", LONG.strip(), "mend it"):
            assert part in line
        assert "warnings (1)" in text
        assert "errors (1)" in text
        assert text.index("warnings (1)") < text.index("errors (1)")

    def test_a_terminal_folds_long_cells_and_loses_nothing(self) -> None:
        text = printed(inspection(ERROR), terminal=True)[1]
        table = [line for line in text.splitlines()[:-1] if line]
        assert max(map(len, table)) <= 60
        assert "usually" in text

    def test_warnings_alone_are_no_failure(self) -> None:
        code, text = printed(inspection(WARNING))
        assert code == 0
        assert "errors (" not in text

    @pytest.mark.parametrize(("count", "lines"), [(5, 5), (6, 1), (40, 1)])
    def test_many_empty_masks_are_one_line(self, count: int, lines: int) -> None:
        empty = [Fault("warning", f"c{n}", Path(f"/set/c{n}.png"), "the mask is empty (no lesion)", "nothing") for n in range(count)]
        result = inspection(ERROR, WARNING, *empty)
        text = printed(result)[1]
        rows = [line for line in text.splitlines() if "empty (no lesion)" in line]
        assert len(rows) == lines
        if lines == 1:
            assert f"{count} masks are empty (no lesion): c0, c1, c2, c3, c4, ..." in rows[0]
        assert f"warnings ({count + 1})" in text
        assert "odd é" in text
        assert len(result.to_dict()["faults"]) == count + 2

    def test_classes_and_totals_are_listed(self) -> None:
        text = printed(inspection())[1]
        (row,) = (line for line in text.splitlines() if line.startswith("lesion"))
        assert row.split() == ["lesion", "2", "of", "3", "4,321", "1.235", "%"]
        assert "my [bold] set in /set: 3 cases, 0 errors, 0 warnings; 3 labelled, 1 of them empty" in text


class TestJson:
    def test_round_trip(self, tmp_path: Path) -> None:
        result = inspection(ERROR, WARNING)
        content = json.loads(to_json(result))
        assert content == result.to_dict()
        again = tuple(Fault(**{**fault, "file": fault["file"] and Path(fault["file"])}) for fault in content["faults"])
        assert again == result.faults
        assert tuple(ClassCount(**count) for count in content["classes"]) == result.classes
        write_json(result, tmp_path / "deep" / "report.json")
        assert json.loads((tmp_path / "deep" / "report.json").read_text(encoding="utf-8")) == content

    def test_the_keys_are_those_documented(self) -> None:
        content = inspection(ERROR, WARNING).to_dict()
        assert {key: content[key] for key in ("format", "cases", "test_cases", "labelled", "empty", "errors", "warnings")} == {
            "format": 1, "cases": 3, "test_cases": 0, "labelled": 3, "empty": 1, "errors": 1, "warnings": 1,
        }  # fmt: skip
        assert content["faults"][1] == {"severity": "warning", "case": "", "file": None, "message": "odd é", "remedy": "look"}
        documented = Inspection.to_dict.__doc__ or ""
        assert all(f'"{key}"' in documented for key in [*content, *content["faults"][0], *content["classes"][0]])
