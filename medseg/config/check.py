"""Compare a config with the schema and with the signatures of the components it names."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING
from typing import Any, Literal, get_args, get_type_hints

from medseg.config import signatures
from medseg.config.errors import Problem, did_you_mean
from medseg.config.kinds import alternatives, describe, fits, kind, remedy, show
from medseg.config.losses import meant
from medseg.config.rules import check_rules
from medseg.config.schema import Config
from medseg.config.signatures import REGISTRIES, Parameter, Registry, Signature
from medseg.config.suggest import suggest_key, unknown_parameter, with_list
from medseg.config.tree import DEFAULT, KeyPath, Node, key_text

MISSING_MARK = "???"  # OmegaConf's way to write in a base that a child must set a key


def check(root: Node, schema: type = Config, partial: bool = False) -> list[Problem]:
    """Everything that is wrong with a config: keys, types, choices, components, parameters and plain rules.

    Args:
        root: The merged config.
        schema: The dataclass that describes it.
        partial: Whether required keys may be missing, as in a preset that other files extend.
    """
    checker = _Checker(schema, partial)
    checker.section(root, schema, (), root.origin)
    faulty = {problem.key for problem in checker.problems}
    return [*checker.problems, *(problem for problem in check_rules(root) if problem.key not in faulty)]


class _Checker:
    """Walks tree and schema side by side and notes what differs."""

    def __init__(self, schema: type, partial: bool) -> None:
        self.schema = schema
        self.registries = REGISTRIES if schema is Config else {}
        self.partial = partial
        self.problems: list[Problem] = []

    def note(self, origin: str, path: KeyPath, message: str, suggestion: str | None = None) -> None:
        self.problems.append(Problem(origin, key_text(path), message, suggestion))

    def section(self, node: Node, schema: type, path: KeyPath, source: str) -> None:
        """A mapping against a dataclass. `source` is who to name for a missing key when nobody wrote the section."""
        source = source if node.origin == DEFAULT else node.origin
        hints = get_type_hints(schema)
        registry = self.registries.get(_pattern(path)) or self.registries.get(_pattern((*path[:-1], "*")))
        signature = self.component(node, registry, path) if registry else None
        for key, child in node.value.items():
            here = (*path, key)
            if key not in hints:
                self.note(child.origin, here, "unknown key", suggest_key(key, path, self.schema, list(hints), signature))
            elif child.value == MISSING_MARK:
                if not self.partial:
                    self.note(child.origin, here, "must be set", f"expected {describe(hints[key])}")
            elif key == "params" and registry:
                self.params(child, node, hints, signature, here)
            else:
                self.value(child, hints[key], here, source)
        for field in dataclasses.fields(schema):
            required = field.default is MISSING and field.default_factory is MISSING
            if required and field.name not in node.value and not self.partial:
                self.note(source, (*path, field.name), "missing", f"expected {describe(hints[field.name])}")
        if registry and signature and "params" not in node.value:
            self.params(Node({}, source), node, hints, signature, (*path, "params"))

    def value(self, node: Node, annotation: Any, path: KeyPath, source: str) -> None:
        """Any value against an annotation; lists and sections item by item."""
        value = node.value
        for member in alternatives(annotation):
            top = kind(member)
            if isinstance(value, dict) and isinstance(top, type) and dataclasses.is_dataclass(top):
                return self.section(node, top, path, source)
            if isinstance(value, dict) and top is dict:
                inner = (*get_args(member), Any, Any)[1]
                return self.all_items(value.items(), inner, path, source)
            if isinstance(value, list) and top is list:
                return self.items(node, member, path, source)
        if isinstance(value, dict | list) and Any in alternatives(annotation):
            return self.all_items(value.items() if isinstance(value, dict) else enumerate(value), Any, path, source)
        is_plain = isinstance(value, str | int | float | bool | None)
        if not is_plain or not fits(value, annotation):
            self.mismatch(node, annotation, path)
        return None

    def all_items(self, items: Any, annotation: Any, path: KeyPath, source: str) -> None:
        for key, child in items:
            self.value(child, annotation, (*path, key), source)

    def items(self, node: Node, annotation: Any, path: KeyPath, source: str) -> None:
        """A list against `list[X]`, `tuple[X, ...]` or a tuple of fixed length."""
        types = get_args(annotation)
        is_fixed = getattr(annotation, "__origin__", None) is tuple and types and types[-1] is not ...
        if is_fixed and len(node.value) != len(types):
            self.note(node.origin, path, f"expected {len(types)} items, got {len(node.value)}")
            return
        for index, child in enumerate(node.value):
            self.value(child, types[index] if is_fixed else types[0] if types else Any, (*path, index), source)

    def mismatch(self, node: Node, annotation: Any, path: KeyPath) -> None:
        is_choice = all(kind(one) in (Literal, type(None)) for one in alternatives(annotation))
        if is_choice and isinstance(node.value, str):
            choices = [str(choice) for one in alternatives(annotation) for choice in (get_args(one) or ["null"])]
            suggestion = with_list(remedy(node.value, annotation), "choose from", choices)
            self.note(node.origin, path, f"{node.value!r} is not a choice", suggestion)
        else:
            self.note(node.origin, path, f"expected {describe(annotation)}, got {show(node.value)}", remedy(node.value, annotation))

    def component(self, node: Node, registry: Registry, path: KeyPath) -> Signature | None:
        """The signature of the component that a section names; an unknown name is a problem and has none."""
        name = node.value.get("name")
        if name is None or not isinstance(name.value, str) or name.value == MISSING_MARK:
            return None
        known = signatures.names(registry)
        if name.value in known:
            return signatures.signature(registry, name.value)
        near = (meant if registry.package == "medseg.losses" else did_you_mean)(name.value, known)
        suggestion = with_list(near, "there are", known)
        self.note(name.origin, (*path, "name"), f"unknown {registry.noun} {name.value!r}", suggestion)
        return None

    def params(self, node: Node, owner: Node, owner_keys: Iterable[str], signature: Signature | None, path: KeyPath) -> None:
        """The arguments of a component against its signature."""
        if not node.is_section:
            self.note(node.origin, path, f"expected a section of keys, got {show(node.value)}", "remove the line if there are none")
            return
        if signature is None:  # the name is missing or unknown, which is told already
            self.all_items(node.value.items(), Any, path, node.origin)
            return
        name = owner.value["name"]
        for key, child in node.value.items():
            parameter = signature.params.get(key)
            if parameter is None:
                self.note(child.origin, (*path, key), *unknown_parameter(key, name.value, path, signature, list(owner_keys)))
            elif child.value == MISSING_MARK:
                self.note(child.origin, (*path, key), "must be set", f"expected {describe(parameter.annotation)}")
            else:
                self.value(child, parameter.annotation, (*path, key), node.origin)
        if not self.partial:
            for key in _missing(signature.params, node.value):
                suggestion = f"expected {describe(signature.params[key].annotation)}"
                self.note(name.origin, (*path, key), f"missing parameter of {name.value}", suggestion)


def _missing(params: Mapping[str, Parameter], given: Mapping[str, Node]) -> list[str]:
    return [key for key, parameter in params.items() if parameter.required and key not in given]


def _pattern(path: KeyPath) -> str:
    """The path with `[]` for every index, as `REGISTRIES` writes it."""
    return re.sub(r"\[\d+\]", "[]", key_text(path))
