"""YAML text to a tree of plain values, safely.

Only mappings, lists, text, numbers, true/false and null: a tag that would construct an object is a problem, never executed. Plain
words follow YAML 1.2, not PyYAML's 1.1: `off`, `no`, `010`, `1_000`, `1:30` and `2024-01-01` stay text, so that the checker can say
what is wrong where a truth value or a number is expected, and `1e-5` is a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import yaml

from medseg.config.errors import Problem
from medseg.config.tree import KeyPath, Node, key_text

_TAG = "tag:yaml.org,2002:"
_IMPLICIT = {
    "null": (re.compile(r"^(~|null|Null|NULL|)$"), [*"~nN", ""]),
    "bool": (re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    "int": (re.compile(r"^[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789")),
    "float": (
        re.compile(r"^([-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"),
        list("-+.0123456789"),
    ),
}
_SCALARS: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": int,
    "float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    "str": str,
}
_MAX_NODES = 100_000  # aliases of aliases grow exponentially


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]


class _Dumper(yaml.SafeDumper):
    """Quotes whatever either reading of YAML, 1.1 or ours, would not take for text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_list(dumper: _Dumper, data: list[Any]) -> yaml.Node:
    flow = not any(isinstance(item, dict | list) for item in data)
    return dumper.represent_sequence(_TAG + "seq", data, flow_style=flow)


_Dumper.add_representer(list, _represent_list)


for _name, (_pattern, _first) in _IMPLICIT.items():
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, _first)
    _Dumper.add_implicit_resolver(_TAG + _name, _pattern, _first)


def read_file(path: Path, problems: list[Problem]) -> Node:
    """Read a YAML file whose top is a mapping; faults are added to `problems` and the readable rest is returned."""
    shown = shown_path(path)
    empty = Node({}, shown)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        problems.append(Problem(shown, "", f"cannot be read: {reason}"))
        return empty
    node = _read(text, lambda mark: f"{shown}:{mark.line + 1}", shown, (), problems)
    if node is None or (node.value is None):  # a syntax fault, or nothing but comments
        return empty
    if not node.is_section:
        problems.append(Problem(node.origin, "", "the file must be a mapping of keys to values"))
        return empty
    return Node(node.value, shown)


def read_value(text: str, path: KeyPath, source: str, problems: list[Problem]) -> Node | None:
    """Read the value of an override: a YAML flow list, mapping or quoted text, else the whole text as one plain scalar."""
    text = text.strip()
    if text[:1] in ("[", "{", '"', "'"):
        return _read(text, lambda mark: source, source, path, problems)
    name = next((name for name, (pattern, _) in _IMPLICIT.items() if pattern.match(text)), "str")
    return _scalar(name, text, source, path, problems)


def write_text(values: dict[str, Any]) -> str:
    """YAML text of plain values, in their order, read back the same by `read_file` and by any other YAML reader."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def shown_path(path: Path) -> str:
    """The path as messages show it: relative to the working directory where it lies below it."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)


def _read(text: str, origin: Callable[[yaml.Mark], str], whole: str, path: KeyPath, problems: list[Problem]) -> Node | None:
    try:
        root = yaml.compose(text, _Loader)
        return None if root is None else _Reader(origin, problems).node(root, path)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problems.append(Problem(origin(mark) if mark else whole, key_text(path), f"not valid YAML: {error.problem or error.context}"))
    except yaml.YAMLError as error:
        problems.append(Problem(whole, key_text(path), f"not valid YAML: {' '.join(str(error).split())}"))
    except RecursionError:
        problems.append(Problem(whole, key_text(path), "nested too deeply"))
    return None


class _Reader:
    """Turns PyYAML's nodes, which carry line numbers, into ours."""

    def __init__(self, origin: Callable[[yaml.Mark], str], problems: list[Problem]) -> None:
        self.origin = origin
        self.problems = problems
        self.open: list[yaml.Node] = []
        self.count = 0

    def node(self, node: yaml.Node, path: KeyPath, origin: str | None = None) -> Node | None:
        origin = origin or self.origin(node.start_mark)
        self.count += 1
        if self.count > _MAX_NODES:
            raise yaml.YAMLError(f"more than {_MAX_NODES} values")
        if any(node is one for one in self.open):
            self.problems.append(Problem(origin, key_text(path), "an alias that contains itself"))
            return None
        name = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.ScalarNode) and name in _SCALARS:
            return _scalar(name, node.value, origin, path, self.problems)
        self.open.append(node)
        try:
            if isinstance(node, yaml.MappingNode) and name == "map":
                return self.mapping(node, path, origin)
            if isinstance(node, yaml.SequenceNode) and name == "seq":
                children = [self.node(child, (*path, index)) for index, child in enumerate(node.value)]
                return Node([child for child in children if child is not None], origin)
        finally:
            self.open.pop()
        message = f"the tag {node.tag.replace(_TAG, '!!')} is not allowed"
        self.problems.append(Problem(origin, key_text(path), message, "a config holds plain values only"))
        return None

    def mapping(self, node: yaml.MappingNode, path: KeyPath, origin: str) -> Node:
        values: dict[str, Node] = {}
        seen: dict[str, str] = {}
        for key_node, value_node in node.value:
            place = self.origin(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem(place, key_text(path), "a key must be text"))
                continue
            key = key_node.value
            if key == "<<":
                self.problems.append(Problem(place, key_text(path), "merge keys (<<) are not supported", "use `extends`"))
            elif key in seen:
                self.problems.append(Problem(place, key_text((*path, key)), f"given twice, first at {seen[key]}", "remove one"))
            else:
                seen[key] = place
                value = self.node(value_node, (*path, key), place)
                if value is not None:
                    values[key] = value
        return Node(values, origin)


def _scalar(name: str, text: str, origin: str, path: KeyPath, problems: list[Problem]) -> Node | None:
    try:
        return Node(_SCALARS[name](text), origin)
    except (ValueError, KeyError):  # only an explicit tag or a number of thousands of digits comes here
        problems.append(Problem(origin, key_text(path), f"cannot be read as {name}: {text[:40]}"))
        return None
