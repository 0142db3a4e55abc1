from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg.config import find
from medseg.config.errors import Problem
from medseg.config.load import interpolate, load_file
from medseg.config.tree import plain, wrap

from .conftest import write_all

Load = Callable[[str], tuple[Any, list[Problem]]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a file of the working directory: its plain values and the problems."""
    monkeypatch.chdir(tmp_path)

    def load_one(name: str) -> tuple[Any, list[Problem]]:
        problems: list[Problem] = []
        return plain(load_file(Path(name), problems)), problems

    return load_one


class TestExtends:
    def test_a_chain_is_laid_from_the_root_down(self, tmp_path: Path, load: Load) -> None:
        write_all(tmp_path, {
            "a.yaml": "extends: sub/b.yaml\nx: 1\n",
            "sub/b.yaml": "extends: ../c\nx: 2\ny: 2\nlist: [2]\n",
            "c.yaml": "x: 3\ny: 3\nz: 3\nlist: [3, 3]\n",
        })  # fmt: skip
        assert load("a.yaml") == ({"x": 1, "y": 2, "z": 3, "list": [2]}, [])

    def test_later_parents_win_over_earlier_ones(self, tmp_path: Path, load: Load) -> None:
        write_all(tmp_path, {"a.yaml": "extends: [b.yaml, c.yaml]\n", "b.yaml": "x: b\ny: b\n", "c.yaml": "x: c\n"})
        assert load("a.yaml") == ({"x": "c", "y": "b"}, [])

    def test_in_a_diamond_the_common_base_does_not_undo_the_first_parent(self, tmp_path: Path, load: Load) -> None:
        write_all(tmp_path, {
            "a.yaml": "extends: [b.yaml, c.yaml]\n",
            "b.yaml": "extends: base.yaml\nx: b\n",
            "c.yaml": "extends: base.yaml\ny: c\n",
            "base.yaml": "x: base\ny: base\nz: base\n",
        })  # fmt: skip
        assert load("a.yaml") == ({"x": "b", "y": "c", "z": "base"}, [])

    def test_a_circle_is_a_problem_that_names_the_files(self, tmp_path: Path, load: Load) -> None:
        write_all(tmp_path, {"a.yaml": "x: 1\nextends: b.yaml\n", "b.yaml": "y: 2\nextends: [c.yaml]\n", "c.yaml": "extends: b.yaml\n"})
        values, problems = load("a.yaml")
        assert values == {"x": 1, "y": 2}
        assert [(problem.source, problem.key) for problem in problems] == [("c.yaml:1", "extends")]
        assert "b.yaml -> c.yaml -> b.yaml" in problems[0].message

    def test_a_file_that_extends_itself_is_a_problem(self, tmp_path: Path, load: Load) -> None:
        write_all(tmp_path, {"a.yaml": "extends: ./a.yaml\n"})
        assert "circle: a.yaml -> a.yaml" in load("a.yaml")[1][0].message

    def test_missing_parents_are_all_told_with_line_and_suggestion(self, tmp_path: Path, load: Load) -> None:
        write_all(tmp_path, {"a.yaml": "x: 1\nextends:\n  - _base/smal.yaml\n  - 5\n  - zzz\n", "_base/small.yaml": ""})
        _, problems = load("a.yaml")
        assert [(problem.source, problem.key) for problem in problems] == [
            ("a.yaml:3", "extends[0]"), ("a.yaml:4", "extends[1]"), ("a.yaml:5", "extends[2]"),
        ]  # fmt: skip
        assert problems[0].suggestion == "did you mean _base/small.yaml?"

    def test_parents_are_found_beside_the_file_first_and_then_among_the_shipped(
        self, tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_all(tmp_path, {"mine/a.yaml": "extends: [p.yaml, _base/q.yaml]\n", "mine/p.yaml": "x: mine\n"})
        write_all(tmp_path, {"site/medseg/_configs/p.yaml": "x: shipped\n", "site/medseg/_configs/_base/q.yaml": "y: shipped\n"})
        monkeypatch.setattr(find, "_PACKAGE", tmp_path / "site/medseg")
        assert load("mine/a.yaml") == ({"x": "mine", "y": "shipped"}, [])

    def test_another_component_does_not_inherit_params(self, tmp_path: Path, load: Load) -> None:
        write_all(tmp_path, {
            "a.yaml": "extends: b.yaml\ndata: {format: {name: decathlon}}\nnetwork: {params: {norm: batch}}\n",
            "b.yaml": "data: {format: {name: phantom, params: {cases: 3}}}\nnetwork: {name: unet, params: {channels: [8]}}\n",
        })  # fmt: skip
        assert load("a.yaml")[0] == {
            "data": {"format": {"name": "decathlon", "params": {}}},
            "network": {"name": "unet", "params": {"channels": [8], "norm": "batch"}},
        }

    def test_origins_follow_the_values(self, tmp_path: Path, load: Load) -> None:
        write_all(tmp_path, {"a.yaml": "extends: b.yaml\n\ns: {x: 1}\n", "b.yaml": "s:\n  x: 2\n  y: 2\n"})
        section = load_file(Path("a.yaml"), []).value["s"].value
        assert (section["x"].origin, section["y"].origin) == ("a.yaml:3", "b.yaml:3")


class TestInterpolate:
    def resolve(self, values: object) -> tuple[Any, list[Problem]]:
        problems: list[Problem] = []
        return plain(interpolate(wrap(values, "x.yaml:1"), problems)), problems

    def test_references_take_values_lists_and_parts_of_text(self) -> None:
        values = {"a": {"n": 3, "list": [1, 2]}, "b": "${a.n}", "c": "${a.list}", "d": "${a.list[1]}", "e": "run_${a.n}", "f": ["${b}"]}
        resolved, problems = self.resolve(values)
        assert not problems
        assert resolved == {"a": {"n": 3, "list": [1, 2]}, "b": 3, "c": [1, 2], "d": 2, "e": "run_3", "f": [3]}

    @pytest.mark.parametrize("text", ["${oc.env:HOME}", "x${oc.env:HOME}", "${a${oc.env:HOME}}", "${", "${ a }", "${oc.decode:'1'}"])
    def test_resolvers_and_malformed_references_are_refused(self, text: str) -> None:
        resolved, problems = self.resolve({"a": 1, "b": {"c": text}, "d": "${a}"})
        assert [(problem.source, problem.key) for problem in problems] == [("x.yaml:1", "b.c")]
        assert resolved == {"a": 1, "b": {"c": text}, "d": 1}

    @pytest.mark.parametrize(
        "values", [{"a": "${b}"}, {"a": "${a}"}, {"a": "${oc.env}"}, {"a": "${b[7]}", "b": [1]}, {"a": "${b}", "b": "???"}]
    )
    def test_what_names_nothing_is_a_problem(self, values: dict[str, object]) -> None:
        assert [problem.key for problem in self.resolve(values)[1]] == ["a"]

    def test_a_circle_of_references_is_a_problem_of_each(self) -> None:
        assert [problem.key for problem in self.resolve({"a": "${b}", "b": "${a}"})[1]] == ["a", "b"]
