"""The report in a real browser."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium found: install chromium or google-chrome to see the report")

PROBE = """
window.addEventListener("load", () => {
  const found = {};
  const viewer = document.querySelector(".viewer:has(input[type=range])");
  const slider = viewer.querySelector("input"), stage = viewer.querySelector(".stage"), said = viewer.querySelector("output");
  const state = () => [said.textContent, viewer.querySelector("img").src, viewer.querySelector("path.tp").getAttribute("d")];
  slider.value = "0"; slider.dispatchEvent(new Event("input"));
  found.first = state();
  stage.focus();
  stage.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", cancelable: true }));
  found.second = state();
  found.aria = slider.getAttribute("aria-valuetext");
  for (let at = 0; at < 99; at++) stage.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", cancelable: true }));
  found.end = [slider.value, slider.max];
  stage.dispatchEvent(new KeyboardEvent("keydown", { key: " ", cancelable: true }));
  found.bare = getComputedStyle(stage.querySelector("svg")).display;
  stage.dispatchEvent(new KeyboardEvent("keydown", { key: " ", cancelable: true }));
  document.querySelector("input[data-layer=prediction]").click();
  found.hidden = getComputedStyle(viewer.querySelector("path.of-pred")).display;
  const look = document.querySelector("input[data-look=contrast]");
  look.value = "2"; look.dispatchEvent(new Event("input"));
  found.filter = viewer.querySelector("img").style.filter;
  viewer.querySelector("button").click();
  found.large = viewer.classList.contains("large");

  const heading = document.querySelector("#table-summary th button[data-tip]"), tip = document.getElementById("tip");
  heading.focus();
  found.tip = [tip.hidden, tip.textContent, heading.getAttribute("aria-describedby")];
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
  found.escaped = tip.hidden;
  const dot = document.querySelector("circle[data-tip]");
  dot.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
  found.hover = tip.textContent;

  const cut = (name) => {
    const sheet = document.getElementById("table-" + name).closest(".sheet"), box = sheet.firstElementChild;
    const aside = document.querySelector(".tools[data-for=table-" + name + "] .aside");
    const wider = box.scrollWidth > box.clientWidth, shadow = getComputedStyle(sheet, "::after").position;
    return [wider, sheet.classList.contains("more-right"), !aside.hidden, shadow];
  };
  found.fits = cut("summary");
  found.cut = cut("cases");
  const scrolled = document.getElementById("table-cases").parentNode, first = scrolled.querySelector("td");
  found.reached = scrolled.tabIndex;
  const before = first.getBoundingClientRect().left;
  scrolled.scrollLeft = 1e6; scrolled.dispatchEvent(new Event("scroll"));
  found.stays = first.getBoundingClientRect().left - before;
  found.ended = [scrolled.parentNode.classList.contains("more-right"), scrolled.parentNode.classList.contains("more-left")];
  const table = document.getElementById("table-cases"), column = 2;
  const values = () => [...table.tBodies[0].rows].map((row) => row.cells[column].dataset.v);
  table.tHead.rows[0].cells[column].querySelector("button").click();
  found.up = values();
  table.tHead.rows[0].cells[column].querySelector("button").click();
  found.down = values();
  found.sorted = table.tHead.rows[0].cells[column].getAttribute("aria-sort");
  const tools = document.querySelector(".tools[data-for=table-cases]"), filter = tools.querySelector("input");
  filter.value = "SHIFT"; filter.dispatchEvent(new Event("input"));
  found.filtered = [...table.tBodies[0].rows].filter((row) => !row.hidden).length;
  let blob = null;
  const made = URL.createObjectURL;
  URL.createObjectURL = (one) => { blob = one; return made.call(URL, one); };
  HTMLAnchorElement.prototype.click = function () { found.file = this.download; };
  tools.querySelector("button").click();
  found.wide = document.documentElement.scrollWidth - window.innerWidth;
  found.loaded = performance.getEntriesByType("resource").map((one) => one.name).filter((name) => !/^(data|blob):/.test(name));
  blob.text().then((text) => {
    found.csv = text;
    const result = document.createElement("pre");
    result.id = "result";
    result.textContent = JSON.stringify(found);
    document.body.append(result);
  });
});
"""


def run(page: Path, folder: Path, *options: str) -> tuple[str, list[str]]:
    """Open a page; return the DOM and what the console said."""
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr",
        "--virtual-time-budget=4000",
        f"--user-data-dir={folder / 'profile'}",
        *options,
        page.resolve().as_uri(),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", timeout=120, env={**os.environ, "HOME": str(folder)}, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def with_script(page: Path, script: str, to: Path) -> Path:
    """A copy of a page in which one more script may run."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = (
        page.read_text(encoding="utf-8")
        .replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
        .replace("</body>", f"<script>{script}</script></body>")
    )
    to.write_text(text, encoding="utf-8")
    return to


@pytest.fixture(scope="module")
def found(report: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("browser")
    dom, console = run(with_script(report, PROBE, folder / "probed.html"), folder, "--dump-dom", "--window-size=1200,900")
    result = re.search(r'<pre id="result">(.*?)</pre>', dom, re.DOTALL)
    assert result is not None, console
    return {**json.loads(unescape(result[1])), "console": console}


class TestReport:
    def test_nothing_is_wrong_and_nothing_is_requested(self, found: dict[str, Any]) -> None:
        assert found["console"] == []
        assert found["loaded"] == []

    def test_a_request_would_be_refused_and_seen(self, report: Path, tmp_path: Path) -> None:
        page = tmp_path / "page.html"
        page.write_text(
            report.read_text(encoding="utf-8").replace("</body>", '<img src="https://example.org/a.png"><script>alert(1)</script></body>'),
            encoding="utf-8",
        )
        console = " ".join(run(page, tmp_path, "--dump-dom")[1])
        assert "img-src" in console
        assert "script-src" in console

    def test_the_slider_and_the_arrow_keys_move_through_the_slices(self, found: dict[str, Any]) -> None:
        assert found["first"][0] == "slice 3 (0-11)"
        assert found["second"][0] == found["aria"] == "slice 4 (0-11)"
        assert found["first"][1] != found["second"][1]
        assert found["end"][0] == found["end"][1]

    def test_overlays_can_be_hidden(self, found: dict[str, Any]) -> None:
        assert found["bare"] == found["hidden"] == "none"

    def test_pictures_can_be_enlarged_and_windowed(self, found: dict[str, Any]) -> None:
        assert found["large"]
        assert "contrast(2)" in found["filter"]

    def test_definitions_show_on_focus_and_hover(self, found: dict[str, Any]) -> None:
        hidden, text, described = found["tip"]
        assert (hidden, described) == (False, "tip")
        assert "2 TP / (2 TP + FP + FN)" in text
        assert found["escaped"]
        assert found["hover"]

    def test_tables_are_sorted_by_numbers_with_undefined_ones_last(self, found: dict[str, Any]) -> None:
        up = [float(value) for value in found["up"] if value]
        assert up == sorted(up)
        assert [float(value) for value in found["down"] if value] == sorted(up, reverse=True)
        assert found["up"][-2:] == found["down"][-2:] == ["", ""]
        assert found["sorted"] == "descending"

    def test_tables_are_filtered(self, found: dict[str, Any]) -> None:
        assert found["filtered"] == 2

    def test_tables_are_saved_in_full(self, found: dict[str, Any]) -> None:
        lines = found["csv"].splitlines()
        assert found["file"] == "cases.csv"
        assert lines[0].startswith("case,class,dice,")
        assert len(lines) == 15
        assert any(line.startswith('perfect,"small, ""x""",1.0,') for line in lines)

    def test_the_summary_fits_the_page(self, found: dict[str, Any]) -> None:
        assert found["fits"][:3] == [False, False, False]

    def test_a_wider_table_shows_that_it_scrolls_and_keeps_its_first_column(self, found: dict[str, Any]) -> None:
        assert found["cut"] == [True, True, True, "absolute"]
        assert found["reached"] == 0
        assert abs(found["stays"]) < 1
        assert found["ended"] == [False, True]

    def test_nothing_sticks_out_of_the_window(self, found: dict[str, Any]) -> None:
        assert found["wide"] <= 0

    def test_it_can_be_seen(self, report: Path, tmp_path: Path) -> None:
        run(report, tmp_path, f"--screenshot={tmp_path / 'seen.png'}", "--window-size=600,2400")
        seen = np.asarray(Image.open(tmp_path / "seen.png").convert("RGB"))
        assert seen.shape == (2400, 600, 3)
        assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 500
