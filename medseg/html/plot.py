"""Plots: lines with bands, points and rules on two axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from medseg.html.axis import Axis, Scale
from medseg.html.svg import SERIES, dot, drawing, label, line, notice, path, shortened
from medseg.html.text import number

WIDTH, HEIGHT = 420, 290
LEFT, RIGHT, TOP, BOTTOM = 64, 22, 28, 42
_LEGEND = 16


@dataclass(frozen=True)
class Line:
    """A line, with a band from `low` to `high` where they are given; it is broken at values that are not finite."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    steps: bool = False
    """Whether it keeps its height up to the next x."""
    dots: bool = False
    """Whether each point is marked."""
    colour: int | None = None
    """Number of its colour and dash; None: its place among the layers."""


@dataclass(frozen=True)
class Points:
    """Points, with whiskers from `low` to `high` where they are given."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    tips: Sequence[str] = ()
    """What hovering over each says; empty: its numbers."""
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    hollow: bool = False
    colour: int | None = None


@dataclass(frozen=True)
class Rule:
    """A line over the whole plot, dashed unless `solid`: level at `y`, upright at `x`, or, with neither, where x = y."""

    name: str = ""
    y: float | None = None
    x: float | None = None
    solid: bool = False


Layer = Line | Points | Rule


@dataclass
class _Frame:
    """The two scales and what is drawn so far."""

    x: Scale
    y: Scale
    parts: list[str] = field(default_factory=list)

    def places(self, xs: Iterable[float], ys: Iterable[float]) -> list[list[tuple[float, float]]]:
        """Runs of points in pixels, parted where a point has no place."""
        runs: list[list[tuple[float, float]]] = [[]]
        for x, y in zip(xs, ys, strict=True):
            if self.x.axis.shows(x) and self.y.axis.shows(y):
                runs[-1].append((self.x(x), self.y(y)))
            elif runs[-1]:
                runs.append([])
        return [run for run in runs if run]


def plot(
    title: str,
    layers: Sequence[Layer],
    x: Axis,
    y: Axis,
    *,
    width: float = WIDTH,
    height: float = HEIGHT,
    legend: bool = True,
) -> str:
    """Draw layers on two axes; rules are drawn below, and a legend names the others where there are several.

    Args:
        title: Heading.
        layers: What is drawn, in this order.
        x: The level axis.
        y: The upright axis.
        width: Of the figure in pixels.
        height: Of the plot; a legend comes below it.
        legend: Whether there may be one.
    """
    series = [layer for layer in layers if not isinstance(layer, Rule)]
    rules = [layer for layer in layers if isinstance(layer, Rule)]
    xs = [float(value) for layer in series for value in layer.x]
    ys = [float(value) for layer in series for value in (*layer.y, *layer.low, *layer.high)]
    if not any(x.shows(a) and y.shows(b) for layer in series for a, b in zip(layer.x, layer.y, strict=True)):
        return notice(title, "nothing to show", width)
    xs += [rule.x for rule in rules if rule.x is not None]
    ys += [rule.y for rule in rules if rule.y is not None]
    frame = _Frame(x.scale(xs, LEFT, width - RIGHT), y.scale(ys, height - BOTTOM, TOP))
    frame.parts += axes(frame.x, frame.y, width, height)
    for rule in rules:
        _rule(frame, rule)
    for place, layer in enumerate(series):
        number_ = place if layer.colour is None else layer.colour
        if isinstance(layer, Line):
            _line(frame, layer, number_)
        else:
            _points(frame, layer, number_)
    names = [(layer.name, place if layer.colour is None else layer.colour, layer) for place, layer in enumerate(series) if layer.name]
    if legend and len(names) > 1:
        height += _legend(frame.parts, names, width, height)
    return drawing(title, frame.parts, width, height)


def axes(x: Scale, y: Scale | None, width: float, height: float) -> list[str]:
    """Grid lines, ticks and names of both axes."""
    parts = []
    floor, top = height - BOTTOM, TOP
    for value, text in y.ticks() if y else ():
        assert y is not None
        parts += [line(x.start, y(value), x.stop, y(value), "grid"), label(x.start - 6, y(value) + 4, text, "end")]
    last = -math.inf
    for value, text in x.ticks():
        parts.append(line(x(value), floor, x(value), floor + 4, "axis"))
        room = 3.3 * len(text) + 3
        if x(value) - room > last:
            parts.append(label(x(value), floor + 16, text, "middle"))
            last = x(value) + room
    parts.append(line(x.start, floor, x.stop, floor, "axis"))
    suffix = ", log" if x.axis.log else ""
    parts.append(label((x.start + x.stop) / 2, height - 8, x.axis.name + suffix, "middle", "ink"))
    if y and y.axis.name:
        place = (top + floor) / 2
        name = y.axis.name + (", log" if y.axis.log else "")
        text = label(12, place, name, "middle", "ink")
        parts.append(text.replace("<text ", f'<text transform="rotate(-90 12 {place:.1f})" ', 1))
    return parts


def _rule(frame: _Frame, rule: Rule) -> None:
    x, y, look = frame.x, frame.y, "axis" if rule.solid else "rule"
    if rule.y is not None:
        frame.parts += [line(x.start, y(rule.y), x.stop, y(rule.y), look), label(x.stop, y(rule.y) - 4, rule.name, "end")]
    elif rule.x is not None:
        frame.parts += [line(x(rule.x), y.start, x(rule.x), y.stop, look), label(x(rule.x) + 4, y.stop + 10, rule.name)]
    else:
        low, high = max(x.low, y.low), min(x.high, y.high)
        if high > low:
            frame.parts.append(line(x(low), y(low), x(high), y(high), look))


def _line(frame: _Frame, layer: Line, colour: int) -> None:
    xs, ys = list(map(float, layer.x)), list(map(float, layer.y))
    look = f"c{colour % SERIES}"
    if layer.low:
        lows, highs = frame.places(xs, map(float, layer.low)), frame.places(xs, map(float, layer.high))
        for below, above in zip(lows, highs, strict=False):
            frame.parts.append(path([*below, *reversed(above)], f"{look} band", closed=True))
    for run in frame.places(xs, ys):
        shown = [place for a, b in pairwise(run) for place in (a, (b[0], a[1]))] + run[-1:] if layer.steps else run
        frame.parts.append(path(shown, f"{look} curve{_dash(colour)}"))
        if len(run) == 1 and not layer.dots:
            frame.parts.append(dot(*run[0], f"{look} dot", f"{layer.name}"))
    if layer.dots:
        for a, b in zip(xs, ys, strict=True):
            if frame.x.axis.shows(a) and frame.y.axis.shows(b):
                head = f"{layer.name}: " if layer.name else ""
                frame.parts.append(dot(frame.x(a), frame.y(b), f"{look} dot", f"{head}{number(b)} at {number(a)}"))


def _points(frame: _Frame, layer: Points, colour: int) -> None:
    look = f"c{colour % SERIES}"
    for at, (a, b) in enumerate(zip(layer.x, layer.y, strict=True)):
        if not (frame.x.axis.shows(a) and frame.y.axis.shows(b)):
            continue
        x, y = frame.x(a), frame.y(b)
        if layer.low:
            frame.parts.append(path([(x, frame.y(layer.low[at])), (x, frame.y(layer.high[at]))], f"{look} whisker"))
        tip = layer.tips[at] if layer.tips else f"{number(a)}, {number(b)}"
        frame.parts.append(dot(x, y, f"{look} {'hollow' if layer.hollow else 'dot'}", tip))


def _legend(parts: list[str], names: Sequence[tuple[str, int, Layer]], width: float, height: float) -> float:
    """Write the legend below the plot and tell its height."""
    x, y = float(LEFT), height + 6
    for name, colour, layer in names:
        shown = shortened(name, 40)
        room = 34 + 6.9 * len(shown)
        if x + room > width and x > LEFT:
            x, y = float(LEFT), y + _LEGEND
        look = f"c{colour % SERIES}"
        if isinstance(layer, Line):
            parts.append(path([(x, y), (x + 18, y)], f"{look} curve{_dash(colour)}"))
        else:
            parts.append(dot(x + 9, y, f"{look} {'hollow' if isinstance(layer, Points) and layer.hollow else 'dot'}"))
        parts.append(label(x + 23, y + 4, shown))
        x += room
    return y + 10 - height


def _dash(colour: int) -> str:
    """Lines differ in dash as well as in colour."""
    return f" dash{colour % 4}" if colour % 4 else ""
