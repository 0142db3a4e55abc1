from __future__ import annotations

import math
import re

import pytest

from medseg.html import Column, Markup, Number, table

COLUMNS = [Column("<case>", csv="case"), Column("score", 'a "definition"', 2), Column("why", wrap=True)]


class TestTable:
    def test_numbers_are_shown_short_and_kept_in_full(self) -> None:
        html = table(COLUMNS, [["a", 0.123456789, "x"]], name="t")
        assert '<td class="n" data-v="0.123456789">0.12</td>' in html

    def test_undefined_and_infinite_numbers_can_be_sorted(self) -> None:
        html = table(COLUMNS, [["a", None, ""], ["b", math.nan, ""], ["c", math.inf, ""], ["d", Number(-math.inf, "low"), ""]], name="t")
        assert re.findall(r'data-v="([^"]*)">([^<]*)<', html) == [("", "-"), ("", "-"), ("Infinity", "inf"), ("-Infinity", "low")]

    def test_texts_are_escaped_and_markup_is_kept(self) -> None:
        html = table(COLUMNS, [["<a>", 1, Markup("<b>x</b>")]], name="t", caption="n < 3")
        assert "<td>&lt;a&gt;</td>" in html
        assert '<td class="wrap"><b>x</b></td>' in html
        assert "<caption><span>n &lt; 3</span></caption>" in html

    def test_headings_sort_define_and_name_the_column_of_the_file(self) -> None:
        html = table(COLUMNS, [["a", 1, ""]], name="t")
        heads = re.findall(r"<th .*?</th>", html)
        assert 'data-name="case"' in heads[0]
        assert "&lt;case&gt;" in heads[0]
        assert 'data-tip="a &quot;definition&quot;" class="term"' in heads[1]
        assert all('aria-sort="none"' in head and "<button" in head for head in heads)

    def test_the_search_box_is_there_when_asked_for(self) -> None:
        assert '<input type="search"' in table(COLUMNS, [], name="t", search=True)
        assert "<input" not in table(COLUMNS, [], name="t")

    def test_strong_rows_are_marked(self) -> None:
        assert table(COLUMNS, [["a", 1, ""], ["b", 2, ""]], name="t", strong=[1]).count('<tr class="strong"><td>b') == 1

    def test_a_row_of_another_length_is_refused(self) -> None:
        with pytest.raises(ValueError, match="zip"):
            table(COLUMNS, [["a", 1]], name="t")

    def test_the_name_is_the_files_and_makes_the_id(self) -> None:
        html = table(COLUMNS, [], name="all metrics")
        assert 'id="table-all-metrics" data-name="all metrics" data-file="all-metrics.csv"' in html
        assert 'title="Save this table, numbers in full, as all-metrics.csv">Save all-metrics.csv</button>' in html
        assert 'data-for="table-all-metrics"' in html
