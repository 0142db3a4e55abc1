"""What errors say."""

from __future__ import annotations

from medseg.errors import first_few


class TestFirstFew:
    def test_the_first_five_are_shown_and_the_rest_counted(self) -> None:
        assert first_few(list("abcdefg")).splitlines() == ["  a", "  b", "  c", "  d", "  e", "  ... and 2 more"]

    def test_where_all_are_shown_nothing_is_counted(self) -> None:
        assert first_few(["a", "b"]) == "  a\n  b"
