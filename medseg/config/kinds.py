"""Type checks of single values against annotations, in the words of a user."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from medseg.config.errors import did_you_mean

_WORDS: dict[Any, str] = {
    float: "a number", int: "a whole number", bool: "true or false", str: "text",
    type(None): "null", Any: "anything", list: "a list", dict: "a section of keys",
}  # fmt: skip
_TRUTH = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; any other annotation is its own only member."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def kind(annotation: Any) -> Any:
    """What an annotation is at its top: `list`, `dict`, a dataclass, `Literal`, or the scalar type itself."""
    origin = get_origin(annotation) or annotation
    if origin in (list, tuple, Sequence):
        return list
    if origin in (dict, Mapping):
        return dict
    return type(None) if origin is None else origin


def describe(annotation: Any) -> str:
    """The annotation in words: `a whole number or null`."""
    words = [_describe_one(one) for one in alternatives(annotation)]
    return " or ".join(dict.fromkeys(words))


def _describe_one(annotation: Any) -> str:
    top = kind(annotation)
    if top is Literal:
        return ("one of " if len(get_args(annotation)) > 1 else "") + ", ".join(map(str, get_args(annotation)))
    if dataclasses.is_dataclass(top):
        return f"a section ({', '.join(field.name for field in dataclasses.fields(top))})"
    if top is list and get_args(annotation):
        return f"a list (each item {describe(get_args(annotation)[0])})"
    return _WORDS.get(top, str(annotation))


def fits(value: Any, annotation: Any) -> bool:
    """Whether a scalar has one of the annotation's scalar types. An int is a float, a bool is no number, text is never one."""
    return any(_fits_one(value, one) for one in alternatives(annotation))


def _fits_one(value: Any, annotation: Any) -> bool:
    top = kind(annotation)
    if top is Any:
        return True
    if top is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(annotation))
    if top is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return top in (int, bool, str, type(None)) and type(value) is top


def show(value: Any) -> str:
    """A value as messages show it, with its type where that is the point."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 60 else f"the text {value[:57]!r}..."
    if isinstance(value, list):
        return "a list"
    return "a section of keys" if isinstance(value, dict) else f"an object of type {type(value).__name__}"


def remedy(value: Any, annotation: Any) -> str | None:
    """What was probably meant by a value that does not fit."""
    members = alternatives(annotation)
    choices = [str(choice) for one in members if kind(one) is Literal for choice in get_args(one)]
    if isinstance(value, str):
        if choices:
            return did_you_mean(value, choices)
        if bool in members and value.lower() in _TRUTH:
            return f"write {_TRUTH[value.lower()]}"
        if bool in members and value.lower() in ("true", "false"):
            return "remove the quotes"
        return _number_remedy(value, annotation)
    if str in members and isinstance(value, bool | int | float):
        return f'put it in quotes: "{str(value).lower() if isinstance(value, bool) else value}"'
    if any(kind(one) is list for one in members) and isinstance(value, int | float) and not isinstance(value, bool):
        return f"write a list, as in [{value}, {value}]"
    return None


def _number_remedy(text: str, annotation: Any) -> str | None:
    bare = text.replace("_", "")
    for convert in (int, float):
        try:
            number = convert(bare)
        except ValueError:
            continue
        return f"write {number}" if fits(number, annotation) else None
    return None
