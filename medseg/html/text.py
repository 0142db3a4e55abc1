"""Escaped text, numbers and definitions."""

from __future__ import annotations

import math
from html import escape


class Markup(str):
    """HTML that is finished: it is not escaped again."""

    __slots__ = ()


def html_of(text: str) -> str:
    """Escape a text, unless it is `Markup`."""
    return text if isinstance(text, Markup) else escape(text)


def term(text: str, definition: str) -> Markup:
    """A word with its definition, shown on hover and on keyboard focus. Without a definition the word alone."""
    if not definition:
        return Markup(html_of(text))
    return Markup(f'<span class="term" tabindex="0" title="{escape(definition)}">{html_of(text)}</span>')


def number(value: float | None, digits: int | None = None) -> str:
    """A number for readers: `-` where it is undefined, whole from 1000 on, else 3 significant digits.

    Args:
        value: The number; None and NaN are undefined.
        digits: Digits behind the point instead.
    """
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if digits is not None:
        return f"{value:,.{digits}f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def interval(low: float | None, high: float | None, digits: int | None = None) -> str:
    """`[low, high]`, empty where one of them is undefined."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"[{number(low, digits)}, {number(high, digits)}]"
