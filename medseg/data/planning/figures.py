"""Histograms and bars as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 360, 150, 8, 22, 26


def histogram(title: str, values: Sequence[float] | np.ndarray, unit: str = "", log: bool = False, bins: int = 24) -> str:
    """A histogram with its median marked; `log` spaces the bins by factors. Empty or constant values become a line of text.

    Args:
        title: What is counted.
        values: The values; not finite ones, and with `log` those not above 0, are left out.
        unit: Stands behind the numbers.
        log: Whether the axis is logarithmic.
        bins: Bars.
    """
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    array = array[np.isfinite(array) & ((array > 0) | (not log))]
    if array.size == 0:
        return _text(title, "none")
    low, high, median = float(array.min()), float(array.max()), float(np.median(array))
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-30):
        return _text(title, f"{_number(low)} {unit}".strip() + f" in all {array.size}")
    scaled, ends = (np.log10(array), (np.log10(low), np.log10(high))) if log else (array, (low, high))
    counts, edges = np.histogram(scaled, bins=bins, range=ends)
    width = (WIDTH - 2 * LEFT) / bins
    floor = HEIGHT - BOTTOM
    parts = []
    for number, count in enumerate(counts):
        if count:
            height = max(1.0, (floor - TOP) * count / counts.max())
            start, stop = (10**edge if log else edge for edge in edges[number : number + 2])
            parts.append(
                f'<rect x="{LEFT + number * width:.1f}" y="{floor - height:.1f}" width="{max(width - 1, 1):.1f}" height="{height:.1f}">'
                f"<title>{_number(start)} to {_number(stop)}: {count}</title></rect>"
            )
    place = LEFT + (WIDTH - 2 * LEFT) * ((np.log10(median) if log else median) - ends[0]) / (ends[1] - ends[0])
    parts.append(f'<line class="median" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{floor}"/>')
    parts.append(_label(LEFT, HEIGHT - 6, _number(low), "start"))
    parts.append(_label(WIDTH - LEFT, HEIGHT - 6, f"{_number(high)} {unit}".strip(), "end"))
    scale = " (log)" if log else ""
    return _figure(f"{title}{scale}, n = {array.size}, median {_number(median)}", parts, HEIGHT)


def bars(title: str, values: Mapping[str, float], log: bool = False) -> str:
    """One horizontal bar a name, its number behind it; `log` draws factors, down to a thousandth of the smallest.

    Args:
        title: What is shown.
        values: Name -> number, at least 0.
        log: Whether lengths are logarithmic.
    """
    positive = [value for value in values.values() if value > 0]
    if not positive:
        return _text(title, "none")
    high = max(positive)
    low = min(positive) / 10
    parts = []
    for number, (name, value) in enumerate(values.items()):
        share = 0.0 if value <= 0 else float(np.log(value / low) / np.log(high / low)) if log else value / high
        y = TOP + number * 18
        parts.append(_label(LEFT + 112, y + 11, name if len(name) < 19 else f"{name[:17]}..", "end"))
        parts.append(
            f'<rect x="{LEFT + 118}" y="{y}" width="{160 * share:.1f}" height="13"><title>{escape(name)}: {value:.4g}</title></rect>'
        )
        parts.append(_label(LEFT + 122 + 160 * share, y + 11, _number(value), "start"))
    return _figure(title + (" (log)" if log else ""), parts, TOP + 18 * len(values) + 6)


def _figure(title: str, parts: Sequence[str], height: float) -> str:
    head = f'<svg viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" role="img" aria-label="{escape(title)}">'
    return "\n".join([head, _label(LEFT, 15, title, "start", "title"), *parts, "</svg>"])


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _text(title: str, text: str) -> str:
    return _figure(title, [_label(LEFT, 38, text, "start")], 50)


def _label(x: float, y: float, text: str, anchor: str, kind: str = "label") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
