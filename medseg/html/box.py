"""Boxes with every value beside them: where values lie, group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medseg.html.axis import Axis, Scale
from medseg.html.plot import BOTTOM, LEFT, RIGHT, TOP
from medseg.html.svg import SERIES, dot, drawing, label, line, notice, path, rect, shortened
from medseg.html.text import number


def boxes(
    title: str,
    groups: Mapping[str, Sequence[float]],
    y: Axis,
    *,
    names: Sequence[str] = (),
    joined: bool = False,
    height: float = 290,
) -> str:
    """A box (quartiles and median) and a strip (every value) for each group.

    Whiskers end at the last value within 1.5 times the interquartile range (Tukey), and the strip shows all that lie beyond. Places within
    a strip spread by the values' order alone, so that the same numbers always give the same picture.

    Args:
        title: Heading.
        groups: Name -> values; those that are not finite are left out.
        y: The axis.
        names: What each value belongs to, shown on hover: one for each place in a group.
        joined: Whether values at the same place in neighbouring groups are joined by a line: the same case under two methods.
        height: Of the figure in pixels.
    """
    table = {name: np.asarray(values, dtype=np.float64) for name, values in groups.items()}
    known = [value for values in table.values() for value in values[np.isfinite(values)]]
    if not known:
        return notice(title, "nothing to show")
    each = 86.0
    width = max(420.0, LEFT + RIGHT + each * len(table))
    scale = y.scale(known, height - BOTTOM, TOP)
    parts = []
    for value, text in scale.ticks():
        parts += [line(LEFT, scale(value), width - RIGHT, scale(value), "grid"), label(LEFT - 6, scale(value) + 4, text, "end")]
    place = (TOP + height - BOTTOM) / 2
    parts.append(label(12, place, y.name, "middle", "ink").replace("<text ", f'<text transform="rotate(-90 12 {place:.1f})" ', 1))
    each = (width - LEFT - RIGHT) / max(len(table), 1)
    centres = [LEFT + each * (number_ + 0.5) for number_ in range(len(table))]
    if joined:
        parts += _joints(list(table.values()), centres, scale)
    for at, (name, values) in enumerate(table.items()):
        parts += _box(values[np.isfinite(values)], centres[at] - 22, scale, f"c{at % SERIES}")
        parts += _strip(values, centres[at] + 12, scale, f"c{at % SERIES} dot", names)
        parts.append(label(centres[at], height - BOTTOM + 16, shortened(name, 14), "middle", "ink"))
        parts.append(label(centres[at], height - BOTTOM + 30, f"n = {np.isfinite(values).sum()}", "middle"))
    return drawing(title, parts, width, height)


def _box(values: np.ndarray, x: float, scale: Scale, look: str) -> list[str]:
    if values.size == 0:
        return []
    q25, median, q75 = np.percentile(values, [25, 50, 75])
    reach = 1.5 * (q75 - q25)
    low, high = values[values >= q25 - reach].min(), values[values <= q75 + reach].max()
    tip = f"median {number(median)}, quartiles {number(q25)} and {number(q75)}, n = {values.size}"
    middle = x + 10
    return [
        path([(middle, scale(low)), (middle, scale(q25))], f"{look} whisker"),
        path([(middle, scale(q75)), (middle, scale(high))], f"{look} whisker"),
        rect(x, scale(q75), 20, max(scale(q25) - scale(q75), 1), f"{look} box", tip),
        path([(x, scale(median)), (x + 20, scale(median))], f"{look} whisker"),
    ]


def _strip(values: np.ndarray, x: float, scale: Scale, look: str, names: Sequence[str]) -> list[str]:
    parts = []
    order = np.argsort(values, kind="stable")
    for rank, at in enumerate(order):
        if np.isfinite(values[at]):
            shift = (rank * 0.618034) % 1 * 22 - 11  # the golden ratio: neighbours in value lie far apart
            said = f"{names[at]}: {number(values[at])}" if names else number(values[at])
            parts.append(dot(x + shift, scale(values[at]), look, said, 2.4))
    return parts


def _joints(columns: list[np.ndarray], centres: list[float], scale: Scale) -> list[str]:
    parts = []
    for at in range(min(map(len, columns))):
        run = [(centre + 12, scale(values[at])) for centre, values in zip(centres, columns, strict=True) if np.isfinite(values[at])]
        parts.append(path(run, "joint"))
    return parts
