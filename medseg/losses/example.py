"""Lines of a config for each entry of the loss library, to copy."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from medseg.losses import HEADS, TERMS, WEIGHT_MAPS

FILE = "vgg19.pth"
"""Stands for a file that the user has to provide."""
WEIGHTS = {"boundary": 0.01, "hausdorff_dt": 10.0}
"""Of terms whose unit makes another weight than 1 the one to start from."""


def example(name: str) -> str:
    """YAML that a config takes: the term, head or weight map `name` with its defaults, those that are null left out.

    >>> print(example("focal"))
    loss:
      terms:
        - {name: focal, weight: 1.0, params: {gamma: 2.0}}
    """
    if name in WEIGHT_MAPS:
        return f"loss:\n  weight_map: {_entry(name, WEIGHT_MAPS[name])}"
    if name in HEADS:
        fitting = [term for term, entry in TERMS.items() if name in entry.kinds]
        return _with_head(next((term for term in fitting if TERMS[term].needs_head), fitting[0]), name)
    if TERMS[name].needs_head:
        return _with_head(name, TERMS[name].kinds[0])
    line = f"loss:\n  terms:\n    - {_entry(name, TERMS[name], f'weight: {WEIGHTS.get(name, 1.0)}')}"
    kinds = " or ".join(TERMS[name].kinds)
    return f"{line}\n    # or on a head of the kind {kinds}: add `head: NAME`, and the head to network.heads" if kinds else line


def written(value: object) -> str:
    """A value as a config would write it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(written, value))}]"
    text = str(value)
    return text.replace("e", ".0e") if isinstance(value, float) and "e" in text and "." not in text else text  # 1e-05 is no number in YAML


def _with_head(term: str, kind: str) -> str:
    entry = _entry(term, TERMS[term], f"head: my_{kind}", "weight: 0.1")
    return f"network:\n  heads:\n    my_{kind}: {_entry(kind, HEADS[kind])}\nloss:\n  terms:\n    - {entry}"


def _entry(name: str, entry: Any, *more: str) -> str:
    params = {one.name: one.default for one in inspect.signature(entry).parameters.values() if one.kind is one.KEYWORD_ONLY}
    return "{" + ", ".join([f"name: {name}", *more, *_params(params)]) + "}"


def _params(defaults: Mapping[str, Any]) -> list[str]:
    given = {key: FILE if value is inspect.Parameter.empty else value for key, value in defaults.items() if value is not None}
    return [f"params: {{{', '.join(f'{key}: {written(value)}' for key, value in given.items())}}}"] if given else []
