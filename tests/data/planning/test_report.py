from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from medseg.config import load_config
from medseg.data.planning.given import Given
from medseg.data.planning.plan import make_plan
from medseg.data.planning.report import write_report
from tests.data.planning.facts import facts, fingerprint

CASES = fingerprint(
    [facts(n, (60, 64 + n, 30), (1, 1, 2.5), sizes=((n + 1, 50),)) for n in range(9)], channels=("<T1 & T2>",), classes=("lesion",)
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "plan.html"
    groups = {case.id: f"<patient {number}>" for number, case in enumerate(CASES.cases)}
    write_report(CASES, make_plan(CASES, Given(load_config("focal_dice")), 0.1), path, "medseg train mine.plan.yaml", groups)
    return path.read_text()


class Tags(HTMLParser):
    """Counts what is opened and what is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "line"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "line" and self.open.pop() != tag:
            self.faults.append(tag)


class TestPage:
    def test_it_needs_nothing_from_outside(self, page: str) -> None:
        assert not re.search(r"//|url\(|@import|<script|<link|<img|src=|href=", page)

    def test_its_tags_are_closed_and_its_names_escaped(self, page: str) -> None:
        tags = Tags()
        tags.feed(page)
        assert (tags.open, tags.faults) == ([], [])
        assert "<T1" not in page
        assert "&lt;T1 &amp; T2&gt;" in page

    def test_every_decision_stands_with_its_reason(self, page: str) -> None:
        for decision in make_plan(CASES, Given(load_config("focal_dice")), 0.1).decisions:
            assert f"<code>{decision.key}</code>" in page
            assert decision.reason[1:].replace("'", "&#x27;").replace("<", "&lt;").replace(">", "&gt;").replace("& ", "&amp; ") in page

    def test_warnings_and_the_command_are_shown(self, page: str) -> None:
        assert "expect to run out of memory" in page
        assert "medseg train mine.plan.yaml" in page

    def test_its_figures_are_sound_svg(self, page: str) -> None:
        figures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
        titles = [ElementTree.fromstring(figure).get("aria-label") or "" for figure in figures]
        for wanted in (
            "Voxels, anterior-posterior",
            "Spacing, superior-inferior",
            "median of the foreground",
            "Share of all",
            "size (log)",
        ):
            assert any(wanted in title for title in titles), wanted

    def test_every_case_has_a_row(self, page: str) -> None:
        table = page.partition("<details><summary>9 cases</summary>")[2].partition("</details>")[0]
        rows = [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in table.splitlines()]
        assert rows[0] == ["case", "group", "shape", "spacing (mm)", "lesions", "volume (mm^3)"]
        assert rows[3] == ["case_2", "&lt;patient 2&gt;", "60 x 66 x 30", "1 x 1 x 2.5", "100", "5000"]
        assert len(rows) == 10

    def test_pictures_have_pixels_and_some_cases_no_label(self, tmp_path: Path) -> None:
        cases = fingerprint([facts(n, (60, 64), (1, 1), picture=True, labelled=n == 0) for n in range(2)])
        write_report(
            cases, make_plan(cases, Given(load_config("small_lesion_2d")), 8), tmp_path / "r.html", "", {"case_0": "a", "case_1": "b"}
        )
        page = (tmp_path / "r.html").read_text()
        assert "<th>shape</th><th>lesions</th><th>volume (pixels)</th>" in page
        assert "<td>b</td><td>60 x 64</td><td>no label</td><td></td>" in page

    def test_channels_that_are_the_same_are_drawn_once(self, tmp_path: Path) -> None:
        row, other = facts().image[0], tuple(value + 1 for value in facts().image[0])
        three = {"low": (0.0,) * 3, "high": (1.0,) * 3, "std": (2.0,) * 3}
        cases = fingerprint([facts(n, image=(row, row, other), foreground=(row,) * 3, **three) for n in range(3)], channels="rgb")
        groups = {case.id: case.id for case in cases.cases}
        write_report(cases, make_plan(cases, Given(load_config("focal_dice")), 8), tmp_path / "r.html", "", groups)
        page = (tmp_path / "r.html").read_text()
        titles = re.findall(r'aria-label="([^"]*)"', page)
        assert [title.partition(",")[0] for title in titles if ": median of the image" in title] == [
            "r = g: median of the image",
            "b: median of the image",
        ]
        assert "r = g: median of the image" in page
