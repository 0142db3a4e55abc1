"""Overrides of single keys, as given on the command line: `loss.terms[1].weight=0.25`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medseg.config.errors import Problem, did_you_mean
from medseg.config.kinds import show
from medseg.config.read import read_value
from medseg.config.tree import COMMAND_LINE, KeyPath, Node, key_text, merge

_KEY = re.compile(r"\w[\w-]*(\[\d+\])*(\.\w[\w-]*(\[\d+\])*)*")
_PART = re.compile(r"\[(\d+)\]|(\w[\w-]*)")


def apply_overrides(root: Node, overrides: Sequence[str], problems: list[Problem], source: str = COMMAND_LINE) -> Node:
    """Lay `key=value` pairs over a config, in order.

    An override acts like a child file with that one key: a section merges, everything else is replaced, and a new `name` drops the old
    component's params. The value is a YAML scalar, a flow list or a flow mapping; everything after the first `=` belongs to it. `source` is
    who gave them, for messages.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals:
            problems.append(Problem(source, override, "an override needs a value", f"write {override}=VALUE"))
        elif not _KEY.fullmatch(key):
            meant = _KEY.search(key)
            suggestion = f"write {meant[0]}=VALUE" if meant else "write key=VALUE"
            problems.append(Problem(source, override, "not a key of a config", suggestion))
        elif key == "extends":
            problems.append(Problem(source, key, "can only stand in a file"))
        else:
            path = tuple(int(index) if index else name for index, name in _PART.findall(key))
            value = read_value(text, path, source, problems)
            root = root if value is None else _set(root, path, 0, value, problems)
    return root


def _set(node: Node, path: KeyPath, depth: int, value: Node, problems: list[Problem]) -> Node:
    """`node`, which lies at `path[:depth]`, with `value` at `path`."""
    part, last = path[depth], depth == len(path) - 1
    fault = _fault(node, path, depth, value.origin)
    if fault:
        problems.append(fault)
        return node
    if isinstance(part, int):
        items = list(node.value)
        items[part] = merge(items[part], value) if last else _set(items[part], path, depth + 1, value, problems)
        return Node(items, node.origin)
    if last:
        return Node(merge(node, Node({part: value}, value.origin)).value, node.origin)
    child = node.value.get(part, Node({}, value.origin))
    return Node({**node.value, part: _set(child, path, depth + 1, value, problems)}, node.origin)


def _fault(node: Node, path: KeyPath, depth: int, source: str) -> Problem | None:
    """Why `path[depth]` cannot be reached from `node`."""
    part, here, whole = path[depth], key_text(path[:depth]), key_text(path)
    if isinstance(part, int):
        if not isinstance(node.value, list):
            message = f"{here} is not a list in this config" if node.value != {} else f"there is no list {here} in this config"
            return Problem(source, whole, message, "set it as a whole, as in key=[1,2]")
        if part >= len(node.value):
            have = f"0 to {len(node.value) - 1}" if node.value else "none: the list is empty"
            return Problem(source, whole, f"{here} has no item {part}", f"its items are {have}")
        return None
    if isinstance(node.value, list):
        suggestion = f"write {here}[{part}]" if part.isdigit() else f"write {here}[0].{part}"
        return Problem(source, whole, f"{here} is a list", suggestion)
    if not node.is_section:
        return Problem(source, whole, f"{here} is {show(node.value)} in this config and has no keys")
    following = path[depth + 1] if depth + 1 < len(path) else None
    if isinstance(following, int) and part not in node.value:
        known = [key for key, child in node.value.items() if isinstance(child.value, list)]
        prefix = f"{here}." if here else ""
        return Problem(source, whole, f"there is no list {prefix}{part} in this config", did_you_mean(part, known, prefix))
    return None
