"""Parts of inline SVG figures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

SERIES = 7
"""Colours that series take in turn: Okabe and Ito's, which colour-blind readers can tell apart, fitted to paper and to the dark."""


def drawing(title: str, parts: Sequence[str], width: float, height: float) -> str:
    """An SVG with a heading, which is also what a screen reader says."""
    head = f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{escape(title)}">'
    return "\n".join([head, label(8, 15, title, "start", "title"), *parts, "</svg>"])


def label(x: float, y: float, text: str, anchor: str = "start", kind: str = "label") -> str:
    """A text at a place; `anchor` is `start`, `middle` or `end`."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line."""
    return f'<line class="{kind}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def rect(x: float, y: float, width: float, height: float, kind: str = "", tip: str = "") -> str:
    """A rectangle; `tip` is shown on hover."""
    look = f' class="{kind}"' if kind else ""
    shape = f'<rect{look} x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f"{shape}><title>{escape(tip)}</title></rect>" if tip else f"{shape}/>"


def dot(x: float, y: float, kind: str, tip: str = "", radius: float = 3) -> str:
    """A circle; `tip` is shown on hover."""
    shape = f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"'
    return f"{shape}><title>{escape(tip)}</title></circle>" if tip else f"{shape}/>"


def path(points: Sequence[tuple[float, float]], kind: str, closed: bool = False) -> str:
    """A line through points; empty below two."""
    if len(points) < 2:
        return ""
    return f'<path class="{kind}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}{"Z" if closed else ""}"/>'


def notice(title: str, text: str, width: float = 360) -> str:
    """A figure with nothing to draw says why."""
    return drawing(title, [label(8, 38, text)], width, 50)


def shortened(text: str, most: int) -> str:
    """At most so many letters."""
    return text if len(text) <= most else f"{text[: most - 2]}.."
