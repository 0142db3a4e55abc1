from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from medseg.config.errors import Problem
from medseg.config.read import read_file, read_value, write_text
from medseg.config.tree import plain


def read(tmp_path: Path, text: str | bytes) -> tuple[Any, list[Problem]]:
    path = tmp_path / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    problems: list[Problem] = []
    return plain(read_file(path, problems)), problems


class TestScalars:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1e-5", 1e-5), ("1E+3", 1000.0), (".5", 0.5), ("5.", 5.0), ("-2", -2), ("+2", 2), ("0", 0), ("010.5", 10.5), ("true", True),
            ("False", False), ("null", None), ("~", None), ("", None), ("'5'", "5"), ("!!str 5", "5"), ("!!float 1", 1.0),
            (".inf", float("inf")), ("-.INF", float("-inf")),
        ],
    )  # fmt: skip
    def test_numbers_truth_and_null(self, tmp_path: Path, text: str, value: object) -> None:
        values, problems = read(tmp_path, f"a: {text}\n")
        assert not problems
        assert values == {"a": value}
        assert type(values["a"]) is type(value)

    @pytest.mark.parametrize("text", ["off", "no", "yes", "on", "010", "1_000", "1:30", "2024-01-01", "0x10", "0o10", "1e", "-", "."])
    def test_what_yaml_1_1_would_twist_stays_text(self, tmp_path: Path, text: str) -> None:
        values, problems = read(tmp_path, f"a: {text}\n" if text != "-" else "a: '-'\n")
        assert not problems
        assert values == {"a": text}

    def test_keys_are_always_text(self, tmp_path: Path) -> None:
        assert read(tmp_path, "on: 1\n2: x\n")[0] == {"on": 1, "2": "x"}


class TestFaults:
    @pytest.mark.parametrize(
        "tag",
        ["!!python/object/apply:os.system ['touch {}']", "!!python/name:os.system ''", "!custom {{a: 1}}", "!!binary aGk=", "!!set {{a}}"],
    )
    def test_tags_are_refused_and_run_nothing(self, tmp_path: Path, tag: str) -> None:
        trace = tmp_path / "executed"
        values, problems = read(tmp_path, f"ok: 1\nbad: {tag.format(trace)}\n")
        assert values == {"ok": 1}
        assert [problem.key for problem in problems] == ["bad"]
        assert problems[0].source.endswith("x.yaml:2")
        assert "not allowed" in problems[0].message
        assert not trace.exists()

    def test_a_duplicate_key_is_told_with_both_lines(self, tmp_path: Path) -> None:
        _, problems = read(tmp_path, "a:\n  b: 1\n  c: 2\n  b: 3\n")
        assert [(problem.key, problem.source.rpartition(":")[2]) for problem in problems] == [("a.b", "4")]
        assert "x.yaml:2" in problems[0].message

    def test_a_syntax_fault_has_its_line(self, tmp_path: Path) -> None:
        _, problems = read(tmp_path, "a: 1\nb: [1, 2\nc: 3\n")
        assert len(problems) == 1
        assert problems[0].source.endswith("x.yaml:3")

    def test_several_faults_are_told_together(self, tmp_path: Path) -> None:
        _, problems = read(tmp_path, "a: !x 1\nb: !y 2\n<<: {c: 1}\n? [k]\n: 1\n")
        assert len(problems) == 4

    @pytest.mark.parametrize(
        "text",
        ["- a\n- b\n", "just text\n", "a: 1\n---\nb: 2\n", b"a: \xff\n", "a: &x [*x]\n", "a: !!int x\n", "a: " + "9" * 5000, "a: \x07\n"],
    )
    def test_other_unusable_files_are_problems(self, tmp_path: Path, text: str | bytes) -> None:
        assert read(tmp_path, text)[1]

    def test_a_missing_file_is_a_problem(self, tmp_path: Path) -> None:
        problems: list[Problem] = []
        assert plain(read_file(tmp_path / "none.yaml", problems)) == {}
        assert "cannot be read" in problems[0].message

    def test_aliases_of_aliases_do_not_explode(self, tmp_path: Path) -> None:
        text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
        text += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
        assert "more than" in read(tmp_path, text)[1][0].message

    def test_deep_nesting_is_a_problem(self, tmp_path: Path) -> None:
        assert "deep" in read(tmp_path, "a: " + "[" * 5000 + "]" * 5000)[1][0].message

    @pytest.mark.parametrize("text", ["", "# only a comment\n", "\ufeffa: 1\n"])
    def test_empty_files_and_byte_order_marks_are_fine(self, tmp_path: Path, text: str) -> None:
        assert not read(tmp_path, text)[1]


class TestOrigins:
    def test_each_key_and_item_knows_its_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "x.yaml").write_text("a: 1\n\nb:\n  c:\n    - x\n    - y\n")
        monkeypatch.chdir(tmp_path)
        root = read_file(Path("x.yaml"), [])
        assert root.value["a"].origin == "x.yaml:1"
        assert root.value["b"].value["c"].origin == "x.yaml:4"
        assert [item.origin for item in root.value["b"].value["c"].value] == ["x.yaml:5", "x.yaml:6"]


class TestReadValue:
    @pytest.mark.parametrize(
        ("text", "value"),
        [("5", 5), ("[64, 64]", [64, 64]), ("{a: {b: 1e-3}}", {"a": {"b": 1e-3}}), ("/x: y/#1 = 2", "/x: y/#1 = 2"), ("null", None),
         ("", None),
         ("'5'", "5"), ("&a", "&a"), ("*a", "*a"), ("!!python/name:os.system", "!!python/name:os.system"), (" true ", True)],
    )  # fmt: skip
    def test_scalars_are_taken_whole_and_flow_is_parsed(self, text: str, value: object) -> None:
        problems: list[Problem] = []
        node = read_value(text, ("key",), "command line", problems)
        assert not problems
        assert node is not None
        assert plain(node) == value
        assert node.origin == "command line"

    @pytest.mark.parametrize("text", ["[1, 2", "{a: 1", "'open", "[!!python/name:os.system '']"])
    def test_broken_flow_is_a_problem_of_its_key(self, text: str) -> None:
        problems: list[Problem] = []
        read_value(text, ("key",), "command line", problems)
        assert [(problem.source, problem.key.split("[")[0]) for problem in problems] == [("command line", "key")]


class TestWriteText:
    VALUES = (
        "off", "010", "1e-5", "1e5", "~", "null", "1:30", "<<", "=", "a: b", "#x", "", " x", "2024-01-01", "1_000", "0x10", ".5", "Größe",
        "true", "-", "[", "multi\nline", 1e-5, 1e20, 0.1, 3, True, None, [], {}, [[1, 2], {"a": [1]}], -0.0,
    )  # fmt: skip

    @pytest.mark.parametrize("value", VALUES, ids=repr)
    def test_what_is_written_is_read_back_by_us_and_by_any_yaml_reader(self, tmp_path: Path, value: object) -> None:
        text = write_text({"key": value})
        values, problems = read(tmp_path, text)
        assert not problems
        assert values == {"key": value}
        assert repr(values) == repr(yaml.safe_load(text))

    def test_order_is_kept_and_short_lists_stand_on_a_line(self) -> None:
        assert write_text({"b": 1, "a": [64, 64]}) == "b: 1\na: [64, 64]\n"
