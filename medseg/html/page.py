"""The skeleton of a page that is one file and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path

from medseg.html.text import Markup, html_of

_HERE = Path(__file__).parent
_SIZE = re.compile(r'viewBox="0 0 (\d+)')
_WIDE = '<figure class="wide"'

WIDEST = 700
"""Width in pixels up to which a chart may stand beside another: made smaller than that, its letters could not be read."""


def page(title: str, body: Sequence[str], *, scripts: Sequence[str] = (), style: str = "", interactive: bool = True) -> str:
    """Put a body into a page with the house's style, light or dark as the reader's system is.

    The page forbids its own browser any request (Content-Security-Policy): pictures are data URIs, styles and scripts stand in it, and
    only the scripts given here run, by their digests.

    Args:
        title: Of the window; escaped.
        body: Finished HTML.
        scripts: More JavaScript, run after the page's own.
        style: More CSS.
        interactive: Whether tables can be sorted and definitions pop up, which takes a script.

    Returns:
        The text of the file.
    """
    code = [_read("script.js"), *scripts] if interactive else list(scripts)
    for script in code:
        if "</script" in script.lower():
            raise ValueError("a script must not hold its own end tag: write '<\\/script'")
    allowed = " ".join(f"'sha256-{_digest(script)}'" for script in code) or "'none'"
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'; form-action 'none'"
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">'
        f"<title>{escape(title)}</title><style>{_read('style.css')}{style}</style>"
    )
    tail = "".join(f"\n<script>{script}</script>" for script in code)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(body) + f"{tail}\n</body></html>\n"


def section(title: str, *parts: str, note: str = "") -> Markup:
    """A chapter with a heading that `contents` can point to; empty when it has no part that is not.

    Args:
        title: Heading.
        parts: Finished HTML.
        note: One or two sentences below the heading: what is shown, and how to read it.
    """
    parts = tuple(part for part in parts if part)
    if not parts:
        return Markup("")
    said = f'<p class="note">{html_of(note)}</p>' if note else ""
    return Markup(f'<section id="{anchor(title)}"><h2>{html_of(title)}</h2>{said}\n' + "\n".join(parts) + "</section>")


def contents(titles: Sequence[str]) -> Markup:
    """A bar of links to sections."""
    links = "".join(f'<a href="#{anchor(title)}">{escape(title)}</a>' for title in titles)
    return Markup(f'<nav aria-label="sections">{links}</nav>')


def anchor(title: str) -> str:
    """The id of a section."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def facts(pairs: Sequence[tuple[str, str]]) -> Markup:
    """Names and what they are, one a line; pairs with nothing to say are left out."""
    lines = "".join(f"<dt>{html_of(name)}</dt><dd>{html_of(text)}</dd>" for name, text in pairs if text)
    return Markup(f'<dl class="facts">{lines}</dl>') if lines else Markup("")


def figures(*charts: str) -> Markup:
    """Charts side by side over the whole width: two or four in rows of two, one with its caption at its side, others in rows of three.

    A wide chart takes a row of its own, and on a narrow screen every chart does. Nothing when there is none.
    """
    charts = tuple(chart if chart.startswith("<figure") else figure(chart) for chart in charts if chart)
    if not charts:
        return Markup("")
    beside = sum(not chart.startswith(_WIDE) for chart in charts)
    columns = {1: 1, 2: 2, 4: 2}.get(beside, 3)
    return Markup(f'<div class="figures of-{columns}">' + "\n".join(charts) + "</div>")


def figure(chart: str, caption: str = "") -> Markup:
    """A chart with a caption: n, units and rules."""
    if not chart:
        return Markup("")
    said = f"<figcaption>{html_of(caption)}</figcaption>" if caption else ""
    size = _SIZE.search(chart)
    if size is None:
        return Markup(f"<figure>{chart}{said}</figure>")
    # By its own width a style knows how far a chart may be enlarged.
    head = _WIDE if int(size[1]) > WIDEST else "<figure"
    return Markup(f'{head} style="--own:{size[1]}px">{chart}{said}</figure>')


def folded(title: str, *parts: str) -> Markup:
    """Something to unfold."""
    return Markup(f"<details><summary>{html_of(title)}</summary>{''.join(parts)}</details>")


@cache
def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
