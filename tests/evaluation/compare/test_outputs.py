from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from medseg.evaluation.compare import compare_runs

from .conftest import MakeRun

FILES = ("comparison.html", "comparison.md", "comparison.csv", "comparison.json")
FOCAL = ("loss.terms=[{name: focal}]",)


@pytest.fixture
def compared(two_losses: list[Path], tmp_path: Path) -> Path:
    compare_runs(two_losses, tmp_path / "out")
    return tmp_path / "out"


class TestFiles:
    def test_all_four_are_written_and_nothing_else(self, compared: Path) -> None:
        assert sorted(path.name for path in compared.iterdir()) == sorted(FILES)

    def test_one_run_a_method_never_says_the_word(self, two_losses: list[Path], tmp_path: Path) -> None:
        console = Console(file=io.StringIO(), width=200)
        compare_runs([two_losses[0], two_losses[3]], tmp_path / "single", console=console)
        texts = [(tmp_path / "single" / name).read_text(encoding="utf-8") for name in FILES] + [console.file.getvalue()]  # type: ignore[attr-defined]
        for text in texts:
            assert "significan" not in text.lower()
        for text in (texts[0], texts[1], texts[3], texts[4]):
            assert "difference between two trained models, not between losses" in text

    def test_repeated_runs_may_say_it(self, compared: Path) -> None:
        for name in ("comparison.html", "comparison.md", "comparison.json"):
            assert "focal is significantly better than bce_dice" in (compared / name).read_text(encoding="utf-8")

    def test_the_json_is_strict_and_complete(self, compared: Path) -> None:
        text = (compared / "comparison.json").read_text(encoding="utf-8")
        assert "NaN" not in text
        found = json.loads(text)
        assert [one["name"] for one in found["methods"]] == ["bce_dice", "focal"]
        assert found["tests"][0]["p_holm"] < 0.05
        assert set(found["rankings"]) == {"mean", "tests", "cases"}
        assert {"missed", "invented", "penalised", "both_empty", "values", "patients"} <= found["means"][0].keys()
        assert "p_holm" not in found["explored"][0]
        assert found["definitions"]["empty"]

    def test_the_csv_has_a_line_a_metric_class_and_method(self, compared: Path) -> None:
        with (compared / "comparison.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert len(lines) == 2 * 3 * 2
        primary = [line for line in lines if line["role"] == "primary"]
        assert [line["method"] for line in primary] == ["bce_dice", "focal"]
        assert primary[0]["difference_to_baseline"] == ""
        assert float(primary[1]["difference_to_baseline"]) == pytest.approx(0.04, abs=0.01)
        assert float(primary[1]["difference_ci95_low"]) < float(primary[1]["difference_ci95_high"])
        assert float(primary[1]["p_holm"]) < 0.05
        exploratory = next(line for line in lines if line["metric"] == "hd95" and line["method"] == "focal")
        assert exploratory["p"] == ""
        assert exploratory["difference_to_baseline"]

    def test_the_baseline_turns_the_differences(self, two_losses: list[Path], tmp_path: Path) -> None:
        compare_runs(two_losses, tmp_path / "other", baseline="focal")
        with (tmp_path / "other" / "comparison.csv").open(newline="") as file:
            first = next(line for line in csv.DictReader(file) if line["method"] == "bce_dice")
        assert float(first["difference_to_baseline"]) == pytest.approx(-0.04, abs=0.01)

    def test_the_markdown_has_whole_tables(self, compared: Path) -> None:
        text = (compared / "comparison.md").read_text(encoding="utf-8")
        for heading in ("## Leaderboard", "## Pairs", "## Rankings", "## All metrics", "## Sentences", "## Definitions"):
            assert heading in text
        for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
            assert len({line.count("|") - line.count("\\|") for line in block.splitlines()}) == 1

    def test_the_terminal_shows_the_leaderboard_and_the_verdict(self, two_losses: list[Path], tmp_path: Path) -> None:
        console = Console(file=io.StringIO(), width=160)
        compare_runs(two_losses, tmp_path / "out", console=console)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert "focal" in text
        assert "3 runs" in text
        assert "significantly better" in text
        assert "comparison.html" in text

    @pytest.mark.parametrize("width", [80, 100, 160])
    def test_the_terminal_cuts_nothing_and_tells_methods_apart(self, make_run: MakeRun, tmp_path: Path, width: int) -> None:
        names = [f"a_rather_long_name_of_a_method_{end}" for end in ("one", "two")]
        runs = [make_run(name, overrides=more, ref_empty=("case00",)) for name, more in zip(names, ((), FOCAL), strict=True)]
        console = Console(file=io.StringIO(), width=width)
        compare_runs(runs, tmp_path / "out", console=console)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        table = [line for line in text.splitlines() if line.startswith(("\u2502", "\u2503", "|"))]
        assert all(heading in " ".join(table) for heading in ("method", "rank", "own mean (n)", "missed", "invented", "both empty"))
        assert "\u2026" not in text
        assert all(name in text for name in names)

    def test_the_own_mean_stands_in_every_file(self, make_run: MakeRun, tmp_path: Path) -> None:
        runs = [make_run("a", ref_empty=("case00",), pred_empty=("case00",)), make_run("b", overrides=FOCAL, ref_empty=("case00",))]
        compare_runs(runs, tmp_path / "out")
        assert "own mean (n)" in (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
        assert "own mean (n)" in (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
        mean = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))["means"][0]
        with (tmp_path / "out" / "comparison.csv").open(newline="") as file:
            line = next(csv.DictReader(file))
        assert float(line["own_mean"]) == pytest.approx(mean["own"], abs=1e-6)
        assert float(line["own_mean"]) < float(line["mean"])
        assert line["own_cases"] == "40"


class Reader(HTMLParser):
    """Headings, and whether every tag is closed."""

    VOID = frozenset({"meta", "br", "input", "link", "hr", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


class TestPage:
    def test_it_is_whole_and_in_the_readers_order(self, compared: Path) -> None:
        reader = Reader()
        reader.feed((compared / "comparison.html").read_text(encoding="utf-8"))
        assert reader.open == []
        assert reader.headings == [
            "bce_dice against focal",
            "Leaderboard",
            "Classes",
            "Cases side by side",
            "Differences",
            "Rankings",
            "Lesions",
            "All metrics",
            "Every case",
            "Sentences for a paper",
            "Methods and definitions",
        ]

    def test_it_asks_nobody(self, compared: Path) -> None:
        text = (compared / "comparison.html").read_text(encoding="utf-8")
        assert not re.search(r"(src|href)=\"(?!#|data:)", text)
        assert "http://" not in text.replace("http://www.w3.org", "")
        assert "https://" not in text

    def test_colour_stands_only_where_a_difference_holds(self, two_losses: list[Path], compared: Path, tmp_path: Path) -> None:
        coloured = '<span class="worse">'
        assert (compared / "comparison.html").read_text(encoding="utf-8").count(coloured) == 1
        compare_runs([two_losses[0], two_losses[3]], tmp_path / "single")
        assert coloured not in (tmp_path / "single" / "comparison.html").read_text(encoding="utf-8")

    def test_names_cannot_inject(self, make_run: MakeRun, tmp_path: Path) -> None:
        runs = [make_run("a"), make_run("b<i>|x", config=False)]
        compare_runs(runs, tmp_path / "out")
        assert "b<i>" not in (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
        assert "b<i>\\|x" in (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")

    def test_every_chart_is_there(self, make_run: MakeRun, tmp_path: Path) -> None:
        runs = [make_run(name, 0, overrides=(f"optimizer.params.lr=0.{at}",)) for at, name in enumerate("abc", 1)]
        compare_runs(runs, tmp_path / "out")
        text = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
        for title in ("mean over classes", "by mean", "test, then rank", "rank, then aggregate", "Which pairs differ: Holm-corrected p"):
            assert f'aria-label="{title}"' in text
        assert "lesion: 120 lesions by size" in text
        assert len(text) < 1_000_000

    def test_one_class_and_no_lesions_leave_their_sections_out(self, make_run: MakeRun, tmp_path: Path) -> None:
        runs = [make_run(name, overrides=more, classes=("lesion",)) for name, more in (("a", ()), ("b", FOCAL))]
        for run in runs:
            (run / "evaluation" / "lesions.csv").unlink()
        compare_runs(runs, tmp_path / "out")
        reader = Reader()
        reader.feed((tmp_path / "out" / "comparison.html").read_text(encoding="utf-8"))
        assert "Classes" not in reader.headings
        assert "Lesions" not in reader.headings

    @pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
    def test_a_browser_shows_it_without_complaint(self, compared: Path, tmp_path: Path) -> None:
        command = [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--enable-logging=stderr",
        ]
        page = (compared / "comparison.html").as_uri()
        result = subprocess.run([*command, "--dump-dom", page], capture_output=True, text=True, encoding="utf-8", timeout=60, check=True)
        assert "CONSOLE" not in result.stderr
        assert 'id="tip"' in result.stdout  # the page's script ran

    @pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
    def test_the_first_tables_fit_the_page(self, make_run: MakeRun, tmp_path: Path) -> None:
        shared = {"cases": [f"case{at:02d}" for at in range(8)], "ref_empty": ("case00", "case01")}
        names = [f"unet_with_a_long_name_{end}" for end in ("one", "two", "three")]
        more = ({"pred_empty": ("case00",)}, {}, {})
        runs = [
            make_run(name, overrides=(f"optimizer.params.lr=0.{at}",), **shared, **one)
            for at, (name, one) in enumerate(zip(names, more, strict=True), 1)
        ]
        compare_runs(runs, tmp_path / "out")
        page = tmp_path / "out" / "comparison.html"
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
        probe = (
            "<script>document.body.dataset.wide = ['leaderboard', 'classes', 'pairs'].filter((name) => "
            "(table => table.offsetWidth > table.parentElement.clientWidth)(document.getElementById('table-' + name))).join(' ') || 'none';"
            "</script></body>"
        )
        page.write_text(text.replace("</body>", probe), encoding="utf-8")
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        size = "--window-size=1200,900"
        result = subprocess.run(
            [*command, size, "--dump-dom", page.as_uri()], capture_output=True, text=True, encoding="utf-8", timeout=60, check=True
        )
        assert 'data-wide="none"' in result.stdout
