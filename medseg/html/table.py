"""Tables that can be sorted, searched and downloaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from medseg.html.page import anchor
from medseg.html.text import Markup, html_of, number


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    tip: str = ""
    """Its definition, shown on hover and focus."""
    digits: int | None = None
    """Digits behind the point of its numbers; None: 3 significant ones."""
    csv: str = ""
    """Its name in the downloaded file; empty: `name`."""
    wrap: bool = False
    """Whether its text may break into lines."""


@dataclass(frozen=True)
class Number:
    """A number that is shown as a text, such as a mean with its interval, but sorted and downloaded as itself."""

    value: float | None
    text: str


Cell = str | float | int | Number | None
"""Text, `Markup`, or a number; None and NaN are shown as `-`."""


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    *,
    name: str,
    caption: str = "",
    search: bool = False,
    strong: Sequence[int] = (),
) -> Markup:
    """A table whose headings sort it, with a button that saves it as a CSV file, numbers in full.

    One that is wider than the page scrolls in a box of its own: its first column stays, and a shadow at the edge says that there is more.

    Args:
        columns: Headings.
        rows: Cells, as many a row as there are columns.
        name: Makes the name of the downloaded file and the table's id, so unique in a page.
        caption: What is shown: n, units and rules.
        search: Whether a box filters the rows; the table then scrolls in a window of its own.
        strong: Numbers of rows in bold.

    Raises:
        ValueError: A row is longer or shorter than the columns.
    """
    numeric = [any(isinstance(row[at], (int, float, Number)) for row in rows if at < len(row)) for at in range(len(columns))]
    head = "".join(_heading(column, of_numbers) for column, of_numbers in zip(columns, numeric, strict=True))
    body = "\n".join(_row(columns, row, number in strong, numeric) for number, row in enumerate(rows))
    key, file = f"table-{anchor(name)}", f"{anchor(name)}.csv"
    box = '<label>filter <input type="search" size="18"></label><output></output>' if search else ""
    save = f'<button type="button" title="Save this table, numbers in full, as {file}">Save {file}</button>'
    more = '<span class="aside" hidden>scroll sideways for more columns &#8594;</span>'
    tools = f'<div class="tools" data-for="{key}" hidden>{save}{box}{more}</div>'
    said = f"<caption><span>{html_of(caption)}</span></caption>" if caption else ""
    return Markup(
        f'{tools}<div class="sheet"><div class="scroll{" tall" if search else ""}"><table class="data sortable" id="{key}" '
        f'data-name="{escape(name)}" data-file="{file}">{said}<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div></div>'
    )


def _heading(column: Column, of_numbers: bool) -> str:
    kind = ' class="n"' if of_numbers else ""
    # The definition hangs on the button itself: it is what the keyboard reaches.
    tip = f' data-tip="{escape(column.tip)}" class="term"' if column.tip else ""
    return (
        f'<th scope="col" aria-sort="none" data-name="{escape(column.csv or column.name)}"{kind}>'
        f'<button type="button"{tip}>{html_of(column.name)}</button></th>'
    )


def _row(columns: Sequence[Column], row: Sequence[Cell], strong: bool, numeric: Sequence[bool]) -> str:
    cells = "".join(_cell(column, cell, of_numbers) for column, cell, of_numbers in zip(columns, row, numeric, strict=True))
    return f'<tr class="strong">{cells}</tr>' if strong else f"<tr>{cells}</tr>"


def _cell(column: Column, cell: Cell, of_numbers: bool) -> str:
    if isinstance(cell, str):
        kinds = " ".join(kind for kind, wanted in (("wrap", column.wrap), ("n", of_numbers)) if wanted)
        return f'<td class="{kinds}">{html_of(cell)}</td>' if kinds else f"<td>{html_of(cell)}</td>"
    if isinstance(cell, Number):
        return f'<td class="n" data-v="{_exact(cell.value)}">{html_of(cell.text)}</td>'
    shown = str(cell) if isinstance(cell, int) else number(cell, column.digits)
    return f'<td class="n" data-v="{_exact(cell)}">{shown}</td>'


def _exact(value: float | None) -> str:
    """For sorting and CSV: in full; empty where undefined."""
    if value is None or math.isnan(value):
        return ""
    return ("Infinity" if value > 0 else "-Infinity") if math.isinf(value) else repr(value)
