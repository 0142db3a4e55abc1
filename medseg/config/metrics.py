"""Rules on the names of metrics in a config: which there are, and which belong together."""

from __future__ import annotations

import re
from collections.abc import Iterator

from medseg.config import signatures
from medseg.config.errors import Problem, did_you_mean
from medseg.config.suggest import with_list
from medseg.config.tree import KeyPath, Node, key_text

TOLERANT = ("nsd", "nsd_surfel")
"""Metrics that are computed once a tolerance, each under a name of its own."""

_WITH_TOLERANCE = re.compile(rf"({'|'.join(TOLERANT)})_(\d+(?:\.\d+)?)mm")


def metric_names() -> tuple[str, ...]:
    """The keys of `medseg.metrics.METRICS`, read without importing it."""
    return signatures.keys("medseg.metrics.measures", "METRICS")


def check_metrics(root: Node) -> Iterator[Problem]:
    """Metrics that do not exist, and a primary or monitored one that would not be computed."""
    listed = _at(root, ("evaluation", "metrics"))
    chosen: list[str] = []
    for number, item in enumerate(listed.value if listed and isinstance(listed.value, list) else ()):
        yield from _known(item, ("evaluation", "metrics", number), metric_names())
        chosen.append(str(item.value))
    for path in (("evaluation", "primary"), ("validation", "monitor")):
        node = _at(root, path)
        if node is None or not isinstance(node.value, str):
            continue
        tolerant = _WITH_TOLERANCE.fullmatch(node.value)
        name = tolerant[1] if tolerant else node.value
        if name in TOLERANT and not tolerant:
            yield Problem(node.origin, key_text(path), f"{name!r} is computed at several tolerances", f"name one: {name}_1mm")
        elif name not in metric_names():
            yield from _known(node, path, metric_names())
        elif tolerant and float(tolerant[2]) not in _tolerances(root):
            message = f"{tolerant[2]} mm is none of evaluation.tolerances"
            yield Problem(node.origin, key_text(path), message, "add it there, for every class")
        elif chosen and name not in chosen:
            yield Problem(node.origin, key_text(path), f"{name!r} is not among evaluation.metrics", "add it there")


def _known(node: Node, path: KeyPath, names: tuple[str, ...]) -> Iterator[Problem]:
    if isinstance(node.value, str) and node.value not in names:
        suggestion = with_list(did_you_mean(node.value, names), "there are", names)
        yield Problem(node.origin, key_text(path), f"unknown metric {node.value!r}", suggestion)


def _tolerances(root: Node) -> set[float]:
    """The tolerances that every class has."""
    node = _at(root, ("evaluation", "tolerances"))
    if node is None:
        return set()
    lists = node.value.values() if isinstance(node.value, dict) else [node]
    sets = [
        {float(item.value) for item in one.value if isinstance(item.value, int | float)} for one in lists if isinstance(one.value, list)
    ]
    return set.intersection(*sets) if sets else set()


def _at(root: Node, path: KeyPath) -> Node | None:
    node: Node | None = root
    for part in path:
        node = node.value.get(part) if node and node.is_section else None
    return node
