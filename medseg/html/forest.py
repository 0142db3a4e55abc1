"""Forest plots: estimates with their intervals, one a line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from medseg.html.axis import Axis
from medseg.html.plot import BOTTOM, TOP, axes
from medseg.html.svg import SERIES, dot, drawing, label, line, notice, path, rect, shortened
from medseg.html.text import interval, number


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; without one where `low` or `high` is NaN."""

    name: str
    mean: float
    low: float = math.nan
    high: float = math.nan
    colour: int = 0
    text: str = ""
    """What stands at the end of the line; empty: the numbers."""


def forest(title: str, estimates: Sequence[Estimate], x: Axis, *, zero: float | None = None, margin: float | None = None) -> str:
    """Estimates below each other on one axis.

    Args:
        title: Heading.
        estimates: One a line; an undefined one is named and left empty.
        x: The axis.
        zero: Where a line stands for no difference.
        margin: A band of this width on both sides of `zero` is shaded: differences that do not matter.
    """
    values = [value for one in estimates for value in (one.mean, one.low, one.high) if math.isfinite(value)]
    if not values:
        return notice(title, "nothing to show")
    if zero is not None:
        values += [zero, *([] if margin is None else [zero - margin, zero + margin])]
    names = 12 + 6.4 * min(26, max(len(one.name) for one in estimates))
    width, row = names + 470, 22
    height = TOP + row * len(estimates) + BOTTOM + 4
    scale = x.scale(values, names, width - 170)
    parts = []
    if zero is not None and margin is not None:
        parts.append(rect(scale(zero - margin), TOP, scale(zero + margin) - scale(zero - margin), height - TOP - BOTTOM, "c6 band"))
    parts += axes(scale, None, width, height)
    if zero is not None:
        parts.append(line(scale(zero), TOP, scale(zero), height - BOTTOM, "rule"))
    for at, one in enumerate(estimates):
        y = TOP + row * (at + 0.5)
        parts.append(label(names - 8, y + 4, shortened(one.name, 26), "end", "ink"))
        if not math.isfinite(one.mean):
            continue
        look = f"c{one.colour % SERIES}"
        text = one.text or f"{number(one.mean)} {interval(one.low, one.high)}"
        if math.isfinite(one.low) and math.isfinite(one.high):
            parts.append(path([(scale(one.low), y), (scale(one.high), y)], f"{look} whisker"))
            parts += [path([(scale(end), y - 4), (scale(end), y + 4)], f"{look} whisker") for end in (one.low, one.high)]
        parts.append(dot(scale(one.mean), y, f"{look} dot", f"{one.name}: {text}", 4))
        parts.append(label(width - 160, y + 4, text))
    return drawing(title, parts, width, height)
