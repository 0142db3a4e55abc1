from __future__ import annotations

import base64
import hashlib
import re

import pytest

from medseg.html import contents, facts, figure, figures, folded, page, section


class TestPolicy:
    def test_everything_is_forbidden_but_what_stands_in_the_page(self) -> None:
        policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page("x", [], scripts=["let a = 1;"]))
        assert policy is not None
        assert policy[1].startswith("default-src 'none'; img-src data:;")
        assert "http" not in policy[1]

    def test_only_the_given_scripts_may_run(self) -> None:
        text = page("x", [], scripts=["let a = 1;"])
        scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
        assert len(scripts) == 2
        for script in scripts:
            assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in text

    def test_a_page_without_scripts_allows_none(self) -> None:
        text = page("x", [], interactive=False)
        assert "<script" not in text
        assert "script-src 'none'" in text

    def test_a_script_cannot_end_itself(self) -> None:
        with pytest.raises(ValueError, match="end tag"):
            page("x", [], scripts=["'</SCRIPT>'"])

    def test_style_and_title_are_put_in(self) -> None:
        text = page("<a>", [], style=".mine{}")
        assert "<title>&lt;a&gt;</title>" in text
        assert ".mine{}" in text


class TestParts:
    def test_a_section_without_content_is_nothing(self) -> None:
        assert section("A", "", "") == ""

    def test_links_meet_their_sections(self) -> None:
        html = section("A & <b>", "<p>x</p>", note="a < b")
        assert html.startswith('<section id="a-b"><h2>A &amp; &lt;b&gt;</h2><p class="note">a &lt; b</p>')
        assert '<a href="#a-b">A &amp; &lt;b&gt;</a>' in contents(["A & <b>"])

    def test_facts_without_text_are_left_out(self) -> None:
        assert facts([("a", "<1>"), ("b", "")]) == '<dl class="facts"><dt>a</dt><dd>&lt;1&gt;</dd></dl>'
        assert facts([("b", "")]) == ""

    def test_missing_charts_leave_no_frame(self) -> None:
        assert figure("", "caption") == figures("", "") == ""
        assert figure("<svg/>", "n < 3") == "<figure><svg/><figcaption>n &lt; 3</figcaption></figure>"
        assert "<svg/>" in figures("", "<svg/>")

    @pytest.mark.parametrize(("charts", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3)])
    def test_charts_fill_the_width_and_a_wide_one_has_its_own_row(self, charts: int, columns: int) -> None:
        small, wide = figure('<svg viewBox="0 0 420 290"/>'), figure('<svg viewBox="0 0 1100 290"/>')
        html = figures(*[small] * charts, wide)
        assert f'<div class="figures of-{columns}">' in html
        assert html.count('<figure style="--own:420px">') == charts
        assert html.count('<figure class="wide" style="--own:1100px">') == 1
        assert figures('<svg viewBox="0 0 420 290"/>') == figures(small)

    def test_what_is_folded_has_a_title(self) -> None:
        assert folded("<t>", "<p>") == "<details><summary>&lt;t&gt;</summary><p></details>"
