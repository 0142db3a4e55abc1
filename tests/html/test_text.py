from __future__ import annotations

import math

import pytest

from medseg.html import Markup, html_of, interval, number, term


class TestEscaping:
    def test_a_text_is_escaped_and_markup_is_not(self) -> None:
        assert html_of('<b a="1">') == "&lt;b a=&quot;1&quot;&gt;"
        assert html_of(Markup("<b>")) == "<b>"

    def test_a_term_can_be_reached_by_the_keyboard_and_escapes_both(self) -> None:
        assert term("<x>", '"a" & b') == '<span class="term" tabindex="0" title="&quot;a&quot; &amp; b">&lt;x&gt;</span>'

    def test_a_term_without_definition_is_a_word(self) -> None:
        assert term("<x>", "") == "&lt;x&gt;"


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "digits", "text"),
        [
            (None, None, "-"),
            (math.nan, 3, "-"),
            (math.inf, None, "inf"),
            (-math.inf, 2, "-inf"),
            (0.123456, None, "0.123"),
            (0.123456, 2, "0.12"),
            (12345.6, None, "12,346"),
            (0.0, 3, "0.000"),
        ],
    )
    def test_they_are_written_for_readers(self, value: float | None, digits: int | None, text: str) -> None:
        assert number(value, digits) == text

    def test_an_interval_needs_both_ends(self) -> None:
        assert interval(0.1, 0.25, 2) == "[0.10, 0.25]"
        assert interval(None, 0.2) == interval(0.1, math.nan) == ""
