from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from medseg.errors import DataError
from medseg.evaluation.report import write_report
from tests.evaluation.report.made import make_evaluation

_VOID = {"meta", "img", "input", "br"}


class Tags(HTMLParser):
    """Counts what is opened and what is closed, and collects ids."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self.open.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID and self.open.pop() != tag:
            self.faults.append(tag)


class TestPage:
    def test_it_stands_beside_the_tables_and_has_everything(self, report: Path, volumes: Path) -> None:
        assert report == volumes / "report.html"
        titles = re.findall(r"<h2>(.*?)</h2>", report.read_text(encoding="utf-8"))
        assert titles == [
            "Summary",
            "Pictures",
            "Failures",
            "Lesions",
            "Detection",
            "Volumes",
            "Surface distance",
            "Calibration",
            "Cases",
            "Sentences for a paper",
        ]

    def test_it_needs_nothing_from_outside(self, report: Path) -> None:
        text = report.read_text(encoding="utf-8")
        assert not re.search(r"https?://|url\(|@import|<link", text)
        assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)"', text))
        assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', text))
        assert len(text) < 15e6

    def test_its_tags_are_closed_and_its_ids_are_unique(self, report: Path) -> None:
        tags = Tags()
        tags.feed(report.read_text(encoding="utf-8"))
        assert (tags.open, tags.faults) == ([], [])
        assert len(tags.ids) == len(set(tags.ids))

    def test_names_are_escaped(self, report: Path) -> None:
        text = re.sub(r"<script>.*?</script>", "", report.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert "<odd>" not in text
        assert "big <b>" not in text
        assert 'small, "x"' not in text

    def test_its_links_lead_somewhere(self, report: Path) -> None:
        text = report.read_text(encoding="utf-8")
        assert set(re.findall(r'href="#([^"]*)"', text)) <= set(re.findall(r'id="([^"]*)"', text))

    def test_its_charts_are_sound_svg(self, report: Path) -> None:
        charts = re.findall(r"<svg.*?</svg>", report.read_text(encoding="utf-8"), re.DOTALL)
        assert len(charts) > 12
        for chart in charts:
            ElementTree.fromstring(chart)

    def test_the_same_tables_give_the_same_page(self, volumes: Path, report: Path, tmp_path: Path) -> None:
        assert write_report(volumes, tmp_path / "again.html").read_text(encoding="utf-8") == report.read_text(encoding="utf-8")


class TestWriting:
    def test_a_console_sees_progress_only(self, pictures: Path, tmp_path: Path) -> None:
        with (tmp_path / "said").open("w") as said:
            path = write_report(pictures, tmp_path / "r.html", console=Console(file=said))
        assert path == tmp_path / "r.html"
        assert path.is_file()

    def test_without_images_and_probabilities_the_rest_is_there(self, tmp_path: Path) -> None:
        path = write_report(make_evaluation(tmp_path, images=False, scores=False))
        text = path.read_text(encoding="utf-8")
        assert "<img" not in text
        assert '<section id="pictures">' in text
        assert "Calibration" not in text

    def test_a_folder_without_evaluation_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="give a folder that has one"):
            write_report(tmp_path)
