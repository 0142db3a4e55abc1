from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from medseg.config.kinds import describe, fits, remedy
from medseg.config.schema import WeightSchedule

Mode = Literal["a", "b"]


class TestFits:
    @pytest.mark.parametrize(
        ("value", "annotation"),
        [
            (1, float), (1.5, float), (1, int), (True, bool), ("x", str), (None, int | None), ("a", Mode), ("a", Mode | None), (None, None),
            (2, Literal[1, 2]), (0.5, float | WeightSchedule), ("anything", Any), (None, Any), (3, int | list[int]),
        ],
    )  # fmt: skip
    def test_accepts_what_the_type_says_and_ints_for_floats(self, value: object, annotation: object) -> None:
        assert fits(value, annotation)

    @pytest.mark.parametrize(
        ("value", "annotation"),
        [
            (True, int), (True, float), (1, bool), ("5", int), ("5", float), (1.0, int), (5, str), (False, str), (None, int), (None, str),
            ("c", Mode), (True, Literal[1, 2]), (float("nan"), float), (float("inf"), float), ("x", list[int]), (None, Mode),
        ],
    )  # fmt: skip
    def test_never_confuses_truth_numbers_and_text(self, value: object, annotation: object) -> None:
        assert not fits(value, annotation)


class TestDescribe:
    @pytest.mark.parametrize(
        ("annotation", "words"),
        [
            (int | None, "a whole number or null"), (Sequence[int], "a list (each item a whole number)"), (Mode, "one of a, b"),
            (float | WeightSchedule, "a number or a section (schedule, start, end, epochs)"), (Mapping[str, int], "a section of keys"),
        ],
    )  # fmt: skip
    def test_speaks_the_language_of_users(self, annotation: object, words: str) -> None:
        assert describe(annotation) == words


class TestRemedy:
    @pytest.mark.parametrize(
        ("value", "annotation", "says"),
        [
            ("off", bool, "write false"), ("Yes", bool, "write true"), ("true", bool, "remove the quotes"), ("5", int, "write 5"),
            ("010", int, "write 10"), ("1_000", int, "write 1000"), ("0.5", float, "write 0.5"), (5, str, 'put it in quotes: "5"'),
            (False, str, 'put it in quotes: "false"'), (64, list[int], "write a list, as in [64, 64]"), ("A", Mode, "did you mean a?"),
        ],
    )  # fmt: skip
    def test_says_what_to_write(self, value: object, annotation: object, says: str) -> None:
        assert remedy(value, annotation) == says

    @pytest.mark.parametrize(("value", "annotation"), [("five", int), ("0.5", int), ("nan", float), (True, int), (None, int)])
    def test_stays_silent_when_nothing_is_obvious(self, value: object, annotation: object) -> None:
        assert remedy(value, annotation) is None
