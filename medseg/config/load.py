"""A config file and everything that it extends, laid over each other."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from medseg.config.errors import Problem
from medseg.config.find import find_in, nearest_config, shipped_configs
from medseg.config.read import read_file, shown_path
from medseg.config.tree import KeyPath, Node, key_text, merge, plain, wrap

_REFERENCE = re.compile(r"\$\{[.\w\[\]]+\}")


def load_file(path: Path, problems: list[Problem]) -> Node:
    """Read `path` and, through `extends`, its parents.

    Parents are laid over each other in the order given, each before its children. A file that is reached by several ways counts once, at
    its first place: in a diamond, what one parent changed of the common base is not undone by the other.
    """
    layers: dict[Path, Node] = {}
    _collect(path, [], layers, problems)
    merged = functools.reduce(merge, layers.values())
    return Node(merged.value, shown_path(path))


def _collect(path: Path, children: list[Path], layers: dict[Path, Node], problems: list[Problem]) -> None:
    key = path.resolve()
    layer = read_file(path, problems)
    extends = layer.value.pop("extends", None)
    for parent_key, parent in _parents(extends):
        if not isinstance(parent.value, str):
            message = "must be a path or a list of paths"
            problems.append(Problem(parent.origin, key_text(parent_key), message))
            continue
        found = find_in(parent.value, [path.parent, shipped_configs()])
        if found is None:
            suggestion = nearest_config(parent.value, path.parent)
            message = f"no such file: {parent.value} (looked in {shown_path(path.parent)} and in the configs of medseg)"
            problems.append(Problem(parent.origin, key_text(parent_key), message, suggestion))
        elif found.resolve() in (chain := [*children, key]):
            circle = " -> ".join(one.name for one in (*chain[chain.index(found.resolve()) :], found))
            problems.append(Problem(parent.origin, key_text(parent_key), f"files extend each other in a circle: {circle}"))
        elif found.resolve() not in layers:
            _collect(found, chain, layers, problems)
    layers[key] = layer


def _parents(extends: Node | None) -> list[tuple[KeyPath, Node]]:
    if extends is None:
        return []
    if isinstance(extends.value, list):
        return [(("extends", index), parent) for index, parent in enumerate(extends.value)]
    return [(("extends",), extends)]


def interpolate(root: Node, problems: list[Problem]) -> Node:
    """Replace references such as `${data.patch_size}` by what they name.

    Resolvers (`${oc.env:HOME}`) are refused: they reach outside the config.
    """
    if not any("${" in text for text in _texts(root)):
        return root
    from omegaconf import OmegaConf  # its import takes longer than everything else here, and few configs refer

    return _resolve(root, OmegaConf.create(_without_refused(plain(root))), (), problems)


def _refused(text: str) -> bool:
    return "${" in _REFERENCE.sub("", text)


def _without_refused(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_refused(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_without_refused(child) for child in value]
    return None if isinstance(value, str) and _refused(value) else value


def _texts(node: Node) -> list[str]:
    children = node.value.values() if isinstance(node.value, dict) else node.value if isinstance(node.value, list) else ()
    return [node.value] if isinstance(node.value, str) else [text for child in children for text in _texts(child)]


def _resolve(node: Node, values: Any, path: KeyPath, problems: list[Problem]) -> Node:
    if isinstance(node.value, dict):
        return Node({key: _resolve(child, values, (*path, key), problems) for key, child in node.value.items()}, node.origin)
    if isinstance(node.value, list):
        return Node([_resolve(child, values, (*path, index), problems) for index, child in enumerate(node.value)], node.origin)
    if not isinstance(node.value, str) or "${" not in node.value:
        return node
    if _refused(node.value):
        message = f"cannot use {node.value}: only plain references such as ${{data.root}} are allowed"
        problems.append(Problem(node.origin, key_text(path), message))
        return node
    return _referenced(node, values, path, problems)


def _referenced(node: Node, values: Any, path: KeyPath, problems: list[Problem]) -> Node:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        value: Any = values
        for part in path:
            value = value[part]
        if OmegaConf.is_config(value):
            value = OmegaConf.to_container(value, resolve=True)
        return wrap(value, node.origin)
    except (OmegaConfBaseException, RecursionError):
        message = f"{node.value} names nothing in this config, or itself"
        problems.append(Problem(node.origin, key_text(path), message))
        return node
