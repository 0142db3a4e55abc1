"""Histograms and named bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medseg.html.svg import drawing, label, line, notice, rect, shortened
from medseg.html.text import number

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 360, 158, 8, 22, 34


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
        return notice(title, "none")
    low, high, median = float(array.min()), float(array.max()), float(np.median(array))
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-30):
        return notice(title, f"{number(low)} {unit}".strip() + f" in all {array.size}")
    scaled, ends = (np.log10(array), (np.log10(low), np.log10(high))) if log else (array, (low, high))
    counts, edges = np.histogram(scaled, bins=bins, range=ends)
    width = (WIDTH - 2 * LEFT) / bins
    floor = HEIGHT - BOTTOM
    parts = []
    for place, count in enumerate(counts):
        if count:
            height = max(1.0, (floor - TOP) * count / counts.max())
            start, stop = (10**edge if log else edge for edge in edges[place : place + 2])
            said = f"{number(start)} to {number(stop)}: {count}"
            parts.append(rect(LEFT + place * width, floor - height, max(width - 1, 1), height, tip=said))
    tallest = int(counts.argmax())
    parts.append(label(LEFT + (tallest + 0.5) * width, TOP - 3, str(counts[tallest]), "middle"))
    middle = LEFT + (WIDTH - 2 * LEFT) * ((np.log10(median) if log else median) - ends[0]) / (ends[1] - ends[0])
    parts.append(line(middle, TOP, middle, floor, "median"))
    parts.append(label(LEFT, HEIGHT - 6, number(low)))
    parts.append(label(WIDTH - LEFT, HEIGHT - 6, f"{number(high)} {unit}".strip(), "end"))
    scale = " (log)" if log else ""
    return drawing(f"{title}{scale}, n = {array.size}, median {number(median)}", parts, WIDTH, HEIGHT)


def bars(title: str, values: Mapping[str, float], log: bool = False) -> str:
    """One horizontal bar a name, its number behind it; `log` draws factors, down to a tenth of the smallest.

    Args:
        title: What is shown.
        values: Name -> number, at least 0.
        log: Whether lengths are logarithmic.
    """
    positive = [value for value in values.values() if value > 0]
    if not positive:
        return notice(title, "none")
    high = max(positive)
    low = min(positive) / 10
    parts = []
    for place, (name, value) in enumerate(values.items()):
        share = 0.0 if value <= 0 else float(np.log(value / low) / np.log(high / low)) if log else value / high
        y = TOP + place * 18
        parts.append(label(LEFT + 112, y + 11, shortened(name, 18), "end"))
        parts.append(rect(LEFT + 118, y, 160 * share, 13, tip=f"{name}: {value:.4g}"))
        parts.append(label(LEFT + 122 + 160 * share, y + 11, number(value)))
    return drawing(title + (" (log)" if log else ""), parts, WIDTH, TOP + 18 * len(values) + 6)
