from __future__ import annotations

from pathlib import Path

import pytest

from medseg.data.formats.problems import raise_all
from medseg.data.formats.rows import Row
from medseg.data.formats.rows import read_rows as read_some_rows
from medseg.errors import DataError


def read_rows(path: Path) -> tuple[list[Row], tuple[str, ...]]:
    problems: list[str] = []
    found = read_some_rows(path, problems)
    raise_all(problems)
    return found


def table(tmp_path: Path, text: str, name: str = "t.csv") -> Path:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


class TestCSV:
    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    def test_the_header_shows_the_separator(self, separator: str, tmp_path: Path) -> None:
        path = table(tmp_path, "\ufeffimage_id; age\ns0, x; 3\n\ns1; \n".replace(";", separator).replace("s0, x", "s0"))
        rows, columns = read_rows(path)
        assert columns == ("image_id", "age")
        assert rows == [("line 2", {"image_id": "s0", "age": "3"}), ("line 4", {"image_id": "s1", "age": ""})]

    def test_quoted_cells_may_hold_anything(self, tmp_path: Path) -> None:
        rows, _ = read_rows(table(tmp_path, 'a,b\n"x, y","two\nlines"\nz\n'))
        assert rows == [("line 3", {"a": "x, y", "b": "two\nlines"}), ("line 4", {"a": "z", "b": ""})]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "the table is empty"),
            ("a,b,a\n", "line 1 names the column 'a' twice"),
            ("a,b\n1,2\n1,2,3\n", "line 3 has 3 cells for 2 columns; quote"),
            ('a,b\n1,"2\n', r"line \d cannot be read"),
        ],
    )
    def test_the_line_at_fault_is_named(self, text: str, message: str, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=rf"t\.csv: {message}"):
            read_rows(table(tmp_path, text))

    def test_all_lines_at_fault_are_named_and_the_others_read(self, tmp_path: Path) -> None:
        problems: list[str] = []
        rows, _ = read_some_rows(table(tmp_path, 'a,b\n1,2,3\n4,5\n6,7,8,9\n1,"2\n'), problems)
        assert rows == [("line 3", {"a": "4", "b": "5"})]
        assert [problem.split(": ")[1].split(" ")[:4] for problem in problems] == [
            ["line", "2", "has", "3"], ["line", "4", "has", "4"], ["line", "5", "cannot", "be"],
        ]  # fmt: skip
        rows, _ = read_some_rows(table(tmp_path, '[1, {"a": 2}, {"a": [3]}]', "t.json"), problems := [])
        assert (rows, len(problems)) == ([("entry 1", {"a": "2"})], 2)

    def test_other_encodings_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_bytes(b"a\n\xff\n")
        with pytest.raises(DataError, match="the table cannot be read"):
            read_rows(tmp_path / "t.csv")


class TestJSON:
    def test_a_list_of_objects_is_a_table(self, tmp_path: Path) -> None:
        rows, columns = read_rows(table(tmp_path, '[{"image": "a.png", "label": null}, {"image": "b.png", "group": 7}]', "t.json"))
        assert columns == ("image", "label", "group")
        assert rows[0] == ("entry 0", {"image": "a.png", "label": "", "group": ""})
        assert rows[1] == ("entry 1", {"image": "b.png", "label": "", "group": "7"})

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[1]", "entry 0 must be an object"),
            ('[{"a": [1]}]', "entry 0 must be"),
            ("{}", "holds a dict, a list"),
            ("[", "not valid JSON, line 1"),
        ],
    )
    def test_the_entry_at_fault_is_named(self, text: str, message: str, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=rf"t\.json: {message}"):
            read_rows(table(tmp_path, text, "t.json"))
