"""A config while it is put together: plain values that remember who set them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeAlias

COMMAND_LINE = "command line"
DEFAULT = "default"

KeyPath: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True)
class Node:
    """A value and its origin.

    Args:
        value: A dict of nodes, a list of nodes, or a scalar (str, int, float, bool, None).
        origin: Who set it: `configs/x.yaml:12`, `command line` or `default`.
    """

    value: Any
    origin: str

    @property
    def is_section(self) -> bool:
        """Whether the value is a mapping."""
        return isinstance(self.value, dict)


def plain(node: Node) -> Any:
    """The value without its origins: dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def wrap(value: Any, origin: str) -> Node:
    """The inverse of `plain`, everything with one origin.

    Tuples become lists and paths become text; other objects are left for the checker.
    """
    if isinstance(value, Mapping):
        return Node({str(key): wrap(child, origin) for key, child in value.items()}, origin)
    if isinstance(value, list | tuple):
        return Node([wrap(child, origin) for child in value], origin)
    return Node(str(value) if isinstance(value, PurePath) else value, origin)


def merge(parent: Node, child: Node) -> Node:
    """Lay `child` over `parent`: sections merge key by key, everything else is replaced, lists included.

    A child that changes the `name` of a component starts with empty `params`, since the parent's belong to another constructor.
    Params of the child's own origin stay: on the command line, the order of name and params does not matter.
    """
    if not (parent.is_section and child.is_section):
        return child
    merged = dict(parent.value)
    if _renamed(parent, child):
        kept = {key: value for key, value in parent.value["params"].value.items() if value.origin == child.origin}
        merged["params"] = Node(kept, parent.value["params"].origin)
    for key, value in child.value.items():
        merged[key] = merge(merged[key], value) if key in merged else value
    return Node(merged, child.origin)


def _renamed(parent: Node, child: Node) -> bool:
    old, new, params = parent.value.get("name"), child.value.get("name"), parent.value.get("params")
    return old is not None and new is not None and params is not None and params.is_section and plain(old) != plain(new)


def key_text(path: KeyPath) -> str:
    """The path as users write it: `("loss", "terms", 0)` is `loss.terms[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
