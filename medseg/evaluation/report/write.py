"""One HTML file that shows an evaluation to a reader who has nothing else."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from medseg.evaluation.report.calibration import calibration
from medseg.evaluation.report.cases import cases
from medseg.evaluation.report.curves import curves
from medseg.evaluation.report.detection import detection
from medseg.evaluation.report.failures import failures
from medseg.evaluation.report.header import header
from medseg.evaluation.report.lesions import lesions
from medseg.evaluation.report.overlays import overlays
from medseg.evaluation.report.sentences import sentences
from medseg.evaluation.report.source import Source
from medseg.evaluation.report.summary import summary
from medseg.evaluation.report.surfaces import surfaces
from medseg.evaluation.report.volumes import volumes
from medseg.files import write_text
from medseg.html import Markup, contents, html_of, page

_HERE = Path(__file__).parent


def write_report(folder: Path, out: Path | None = None, *, console: Console | None = None) -> Path:
    """Write the report of a run, or of a folder that `medseg evaluate` wrote.

    Everything stands in the one file: it can be opened offline, sent by mail and kept beside a paper.

    Args:
        folder: The folder.
        out: The HTML file; None: `report.html` in the folder.
        console: Where progress is shown; None shows none.

    Returns:
        The file.

    Raises:
        DataError: The folder holds no finished evaluation, or one of another version.
    """
    source = Source.open(folder)
    path = Path(folder) / "report.html" if out is None else Path(out)
    if console is None:
        write_text(path, report_page(source))
    else:
        with console.status("drawing pictures"):
            write_text(path, report_page(source))
    return path


def report_page(source: Source) -> str:
    """The text of the file."""
    pictures = overlays(source)
    link = {case: Markup(f'<a href="#{key}">{html_of(case)}</a>') for case, key in pictures.anchors.items()}
    sections = {
        "Summary": summary(source),
        "Pictures": pictures.html,
        "Failures": failures(source, link),
        "Lesions": lesions(source),
        "Detection": detection(source),
        "Areas" if source.flat else "Volumes": volumes(source),
        "Surface distance": surfaces(source),
        "Calibration": calibration(source),
        "Training": curves(source),
        "Cases": cases(source, link),
        "Sentences for a paper": sentences(source),
    }
    shown = {title: html for title, html in sections.items() if html}
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("viewer.css", "viewer.js"))
    body = [*header(source), contents(list(shown)), *shown.values()]
    return page(f"{source.name}: report", body, scripts=[script], style=style)
