"""What the fields that templates capture decide: ids, patients, and which cases are for the test."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.config.errors import did_you_mean
from medseg.data.formats import layout
from medseg.data.formats.problems import raise_all
from medseg.data.formats.rows import read_rows
from medseg.data.formats.templates import Template
from medseg.errors import DataError

Fields = Mapping[str, str]
Ranges = tuple[tuple[int, int], ...]

_RANGE = re.compile(r"(-?\d+)(?:-(-?\d+))?")
_TABLE = ("file", "case", "column", "values")


def unknown(key: str, noun: str, name: object, choices: Iterable[str]) -> str:
    """The message for a name that is none of the choices, with the nearest one."""
    choices = list(choices)
    return f"{key}: unknown {noun} '{name}'; {did_you_mean(str(name), choices) or ('there are ' + (', '.join(choices) or 'none'))}"


def default_id(fields: Fields) -> str:
    """All fields that are not empty, joined by "_"."""
    return "_".join(value.strip("/").replace("/", "_") for value in fields.values() if value.strip("/"))


def naming(text: object, key: str, finders: Sequence[Template]) -> Callable[[Fields], str | None]:
    """Read a template of names, such as "{site}_{id}".

    Args:
        text: The template, of literal text and fields alone.
        key: Its config key, for messages.
        finders: The templates that capture the fields: each of them must capture all that the name needs.

    Returns:
        What makes a name of fields, "/" becoming "_"; None where a field is lacking.

    Raises:
        DataError: When the template is no such one.
    """
    template = Template.parse(text, key)
    if template.definitions or None in template.parts:
        raise DataError(f"{key}: {text!r} may hold text and {{field}} alone")
    for finder in finders:
        for name in template.fields:
            if name not in finder.fields:
                raise DataError(unknown(key, f"field, not captured by {finder.text},", name, finder.fields))
    needed = frozenset(template.fields)
    return lambda fields: template.fill(fields).prefix.strip("/").replace("/", "_") if needed <= fields.keys() else None


def group_rule(group: object, key: str, finders: Sequence[Template]) -> Callable[[Fields], str | None]:
    """Read what makes a patient: a template, or one field's values and ranges of numbers, each a patient.

    Raises:
        DataError: When it is neither. What is returned raises it for a value that is in no range.
    """
    if not isinstance(group, Mapping):
        return naming(group, key, finders)
    if len(group) != 1:
        raise DataError(f"{key}: {group!r} must name one field and its ranges, such as {{frame: [1-25, 26-50]}}")
    name, given = next(iter(group.items()))
    condition({name: ""}, key, dict.fromkeys(field for finder in finders for field in finder.fields))
    ranges = read_ranges(given, f"{key}.{name}")

    def rule(fields: Fields) -> str:
        value = fields.get(name, "")
        span = next(((low, high) for low, high in ranges if value.isdecimal() and low <= int(value) <= high), None)
        if span is None:
            raise DataError(f"{key}.{name}: '{value}' lies in none of its ranges; add it, so that no patient is split")
        return f"{name} {span[0]}-{span[1]}"

    return rule


def applies(where: Mapping[str, tuple[str, ...]], fields: Fields) -> bool:
    """Whether each field has one of the values that a condition lists for it."""
    return all(fields.get(name) in values for name, values in where.items())


def condition(where: Any, key: str, fields: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read {field: value or [values]}.

    Raises:
        DataError: When it is none, or names a field that the images' templates do not capture.
    """
    if not isinstance(where, Mapping) or not where:
        raise DataError(f"{key}: {where!r} is no condition; give {{field: value}} or {{field: [values]}}")
    known = tuple(fields)
    for name in where:
        if name not in known:
            raise DataError(unknown(key, "field", name, known))
    return {name: tuple(str(value) for value in (values if isinstance(values, list) else [values])) for name, values in where.items()}


def held_out(test: Any, key: str, fields: Iterable[str]) -> Callable[[Path], Callable[[str, Fields], bool]]:
    """Read which cases are for the test: a condition on fields, or the rows of a table below the data set's folder.

    Returns:
        For the data set's folder, what says it of a case's id and fields. A table that is not there names no case.

    Raises:
        DataError: When it is neither. What is returned raises it for a table that lacks a column, or has none of the values in it.
    """
    if not (isinstance(test, Mapping) and {"file", "column"} <= test.keys()):
        where = condition(test, key, fields)
        return lambda root: lambda case, values: applies(where, values)
    for name in test:
        if name not in _TABLE:
            raise DataError(unknown(key, "key", name, _TABLE))
    lacking = [name for name in _TABLE if name not in test]
    if lacking:
        raise DataError(f"{key}.{lacking[0]}: missing; a table of test cases needs {', '.join(_TABLE)}")
    wanted = [str(value) for value in (test["values"] if isinstance(test["values"], list) else [test["values"]])]

    def listed(root: Path) -> Callable[[str, Fields], bool]:
        path = layout.inside(root, test["file"], Path(f"{key}.file"))
        names: set[str] = set()
        if path.is_file():
            problems: list[str] = []
            rows, columns = read_rows(path, problems)
            raise_all(problems)
            for column in (test["case"], test["column"]):
                if column not in columns:
                    raise DataError(unknown(str(path), "column", column, columns))
            names = {row[test["case"]] for _, row in rows if row[test["column"]] in wanted}
            if not names:
                found = ", ".join(sorted({row[test["column"]] for _, row in rows})[:8])
                raise DataError(f"{path}: no line has {' or '.join(wanted)} in the column {test['column']} ({found}); correct {key}.values")
        return lambda case, values: case in names or bool(names & set(values.values()))

    return listed


def read_ranges(given: Any, key: str) -> Ranges:
    """Read whole numbers and ranges: 3, "55-70", or a list of such.

    Returns:
        (low, high) of each, both included.

    Raises:
        DataError: For anything else.
    """
    ranges = []
    for value in given if isinstance(given, list) else [given]:
        match = _RANGE.fullmatch(str(value)) if isinstance(value, int | str) and not isinstance(value, bool) else None
        if match is None:
            raise DataError(f"{key}: {value!r} is neither a whole number nor a range such as 55-70; correct it")
        low = int(match[1])
        high = low if match[2] is None else int(match[2])
        if high < low:
            raise DataError(f"{key}: the range {value} ends before it begins; correct it")
        ranges.append((low, high))
    if not ranges:
        raise DataError(f"{key}: has no value; give one")
    return tuple(ranges)
