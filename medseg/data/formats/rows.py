"""Tables on disk: CSV with a header line, or a JSON list of objects."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from medseg.errors import DataError

Row = tuple[str, dict[str, str]]
"""Where a row stands, for messages ("line 3"), and its cells by column."""


def read_rows(path: Path, problems: list[str]) -> tuple[list[Row], tuple[str, ...]]:
    """Read a table as text.

    The separator of a CSV file is the one of comma, semicolon and tab that its header holds most of. Blanks around cells are dropped, empty
    lines skipped, and cells that are missing or null are empty.

    Args:
        path: The table.
        problems: Gets a message for each row that cannot be used: one with more cells than columns, or no object of plain values.

    Returns:
        The other rows, and the columns in order.

    Raises:
        DataError: When the file cannot be read, or a column is named twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the table cannot be read ({error}); give a CSV file in UTF-8 or a JSON list") from error
    return _json_rows(path, text, problems) if path.suffix.lower() == ".json" else _csv_rows(path, text, problems)


def _csv_rows(path: Path, text: str, problems: list[str]) -> tuple[list[Row], tuple[str, ...]]:
    if not text.strip():
        raise DataError(f"{path}: the table is empty; its first line must name the columns")
    header = text.splitlines()[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count), strict=True)
    rows: list[Row] = []
    columns: tuple[str, ...] = ()
    try:
        columns = tuple(cell.strip() for cell in next(reader))
        for name in columns:
            if columns.count(name) > 1:
                raise DataError(f"{path}: line 1 names the column '{name}' twice; rename one")
        for cells in reader:
            if len(cells) > len(columns):
                problems.append(
                    f"{path}: line {reader.line_num} has {len(cells)} cells for {len(columns)} columns; quote cells that hold the separator"
                )
            elif any(cell.strip() for cell in cells):
                cells += [""] * (len(columns) - len(cells))
                rows.append((f"line {reader.line_num}", {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}))
    except csv.Error as error:
        problems.append(f"{path}: line {reader.line_num} cannot be read ({error}), nor what follows; correct it")
    return rows, columns


def _json_rows(path: Path, text: str, problems: list[str]) -> tuple[list[Row], tuple[str, ...]]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON, line {error.lineno} column {error.colno}: {error.msg}; correct the file") from error
    if not isinstance(content, list):
        raise DataError(
            f'{path}: holds a {type(content).__name__}, a list of {{"image": path, "label": path}} is expected; correct the file'
        )
    rows: list[Row] = []
    columns: dict[str, None] = {}
    for index, entry in enumerate(content):
        if not isinstance(entry, dict) or any(isinstance(value, dict | list) for value in entry.values()):
            problems.append(f'{path}: entry {index} must be an object of plain values, as in {{"image": path}}; correct it')
            continue
        columns |= dict.fromkeys(entry)
        rows.append((f"entry {index}", {name: "" if value is None else str(value).strip() for name, value in entry.items()}))
    return [(place, dict.fromkeys(columns, "") | row) for place, row in rows], tuple(columns)
