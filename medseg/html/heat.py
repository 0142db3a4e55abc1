"""Heat maps: a number for each pair of a row and a column."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medseg.html.svg import drawing, label, notice, rect, shortened
from medseg.html.text import number


def heat_map(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float]],
    *,
    low: float | None = None,
    high: float | None = None,
    texts: Sequence[Sequence[str]] = (),
) -> str:
    """Cells as dark as their values are high, each with its number, so that no colour has to be read.

    Args:
        title: Heading.
        rows: Names at the left.
        columns: Names above.
        values: A number a cell; NaN is drawn as an empty cell.
        low: The value that is drawn white; None: the smallest.
        high: The value that is drawn full; None: the largest.
        texts: What stands in the cells instead of the numbers.
    """
    known = [value for row in values for value in row if math.isfinite(value)]
    if not known:
        return notice(title, "nothing to show")
    low, high = min(known) if low is None else low, max(known) if high is None else high
    left = 14 + 6.4 * min(24, max(map(len, rows)))
    cell, tall, top = max(56.0, 6.6 * min(14, max(map(len, columns)))), 26, 48
    parts = [label(left + cell * (at + 0.5), top - 8, shortened(name, 14), "middle", "ink") for at, name in enumerate(columns)]
    for down, name in enumerate(rows):
        y = top + tall * down
        parts.append(label(left - 8, y + 17, shortened(name, 24), "end", "ink"))
        for across, value in enumerate(values[down]):
            x = left + cell * across
            text = texts[down][across] if texts else number(value)
            tip = f"{name}, {columns[across]}: {text}"
            if math.isfinite(value):
                share = min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5
                # At most 55 %, so that ink stands out on every cell.
                shape = rect(x + 1, y + 1, cell - 2, tall - 2, "cell", tip)
                parts.append(shape.replace("<rect ", f'<rect fill-opacity="{0.55 * share:.2f}" ', 1))
            else:
                parts.append(rect(x + 1, y + 1, cell - 2, tall - 2, "cell none", tip))
            parts.append(label(x + cell / 2, y + 17, text, "middle", "ink"))
    return drawing(title, parts, max(left + cell * len(columns) + 8, 300), top + tall * len(rows) + 8)
