"""What an unknown key was probably meant to be."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import get_type_hints

from medseg.config.errors import did_you_mean
from medseg.config.signatures import REGISTRIES, Signature
from medseg.config.tree import KeyPath, key_text


def suggest_key(key: str, path: KeyPath, schema: type, siblings: Sequence[str], signature: Signature | None) -> str:
    """For a key that the section at `path` does not have: a parameter, a sibling with a typo, or another section's key."""
    if signature and key in signature.params:
        return f"it belongs to params: {key_text((*path, 'params', key))}"
    prefix = f"{key_text(path)}." if path else ""
    suggestion = did_you_mean(key, siblings if path else [*siblings, "extends"], prefix)
    elsewhere = _sections(schema).get(key)
    if elsewhere and not suggestion:
        return "it belongs to " + " or ".join(f"{place}: {place}.{key}" if place else "the top level" for place in elsewhere)
    return suggestion or f"it takes {', '.join(siblings)}"


def unknown_parameter(key: str, name: str, path: KeyPath, signature: Signature, siblings: Sequence[str]) -> tuple[str, str]:
    """Message and suggestion for a parameter that the component `name` does not take; `siblings` are the keys beside `params`."""
    if key in signature.supplied:
        return f"not for a config to say: medseg gives {key} to {name} itself", "remove it"
    message = f"unknown parameter of {name}"
    if key in siblings and key not in ("name", "params"):
        return message, f"it belongs one level up: {key_text((*path[:-1], key))}"
    if not signature.params:
        return message, "it takes none"
    return message, with_list(did_you_mean(key, signature.params), "it takes", signature.params)


def with_list(suggestion: str | None, words: str, choices: Iterable[str]) -> str:
    """The suggestion with all choices behind it, or these alone."""
    listed = f"{words} {', '.join(choices)}"
    return f"{suggestion} ({listed})" if suggestion else listed


@functools.cache
def _sections(schema: type, place: str = "") -> dict[str, list[str]]:
    """Key -> the sections that have it, the inside of components left out."""
    places: dict[str, list[str]] = {}
    for key, annotation in get_type_hints(schema).items():
        places.setdefault(key, []).append(place)
        here = f"{place}.{key}" if place else key
        if isinstance(annotation, type) and dataclasses.is_dataclass(annotation) and here not in REGISTRIES:
            for inner, inner_places in _sections(annotation, here).items():
                places.setdefault(inner, []).extend(inner_places)
    return places
