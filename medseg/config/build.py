"""Between plain dicts and the dataclasses of the schema."""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING
from typing import Any, TypeVar, get_args, get_type_hints

from medseg.config.kinds import alternatives, kind
from medseg.config.schema import Component
from medseg.config.tree import DEFAULT, Node, wrap

T = TypeVar("T")


def build(schema: type[T], values: dict[str, Any]) -> T:
    """The dataclass tree of checked plain values."""
    hints = get_type_hints(schema)
    return schema(**{key: _typed(value, hints[key]) for key, value in values.items()})


def _typed(value: Any, annotation: Any) -> Any:
    for member in alternatives(annotation):
        top = kind(member)
        if isinstance(value, dict) and dataclasses.is_dataclass(top):
            return build(top, value)  # type: ignore[arg-type]
        if isinstance(value, list) and top is list:
            return [_typed(item, get_args(member)[0]) for item in value]
        if isinstance(value, dict) and top is dict:
            return {key: _typed(item, (*get_args(member), Any, Any)[1]) for key, item in value.items()}
        if top is float and type(value) is int:
            return float(value)
    return value


def defaults(schema: type) -> Node:
    """The schema's defaults as a tree; sections without a default hold those of their fields, components without one are left out."""
    values: dict[str, Node] = {}
    hints = get_type_hints(schema)
    for field in dataclasses.fields(schema):
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if dataclasses.is_dataclass(default):
            values[field.name] = wrap(dataclasses.asdict(default), DEFAULT)  # type: ignore[arg-type]
        elif default is not MISSING:
            values[field.name] = wrap(default, DEFAULT)
        elif dataclasses.is_dataclass(hints[field.name]) and not issubclass(hints[field.name], Component):
            values[field.name] = defaults(hints[field.name])
    return Node(values, DEFAULT)
