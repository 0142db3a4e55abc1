"""A plan as a config file: runnable, commented, to be edited."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import Any

from medseg.config import load_dict, to_dict
from medseg.config.find import find_config, shipped_configs
from medseg.config.read import write_text
from medseg.data.planning.given import NOTE, Given
from medseg.data.planning.plan import Plan
from medseg.files import write_text as write_file

HEADER = "# Plan of `medseg prepare "
"""How a plan's first line begins, by which it is known."""

FINGERPRINT = "# fingerprint: "
"""How the line begins that says what the plan was made from."""


def write_plan(plan: Plan, given: Given, source: str, cases: int, digest: str, path: Path) -> None:
    """Writes a plan as a config that extends another.

    Settings that the config's file does not have, those of the command line, are written too, so that the plan trains what was planned.

    Args:
        plan: The plan.
        given: The config that it was made for, and what the command line says.
        source: Name or path of the config's file.
        cases: How many cases it was made from.
        digest: Of the snapshot of those.
        path: Where to.
    """
    lines = [
        f"{HEADER}{source}`: {cases} cases, {plan.memory_gib:g} GiB. Edit it; it is kept until --replan.",
        f"{FINGERPRINT}{digest}",
        f"# {plan.dimensions}.",
        *(
            line
            for warning in plan.warnings
            for line in textwrap.wrap(f"Note: {warning}.", 130, initial_indent="# ", subsequent_indent="#   ")
        ),
        f"extends: [{_quoted(_reference(source, path))}]",
    ]
    values: dict[str, Any] = {}
    notes: dict[tuple[str, ...], str] = {}
    _differences(load_dict(source), to_dict(given.config), values, notes, ())
    for decision in plan.decisions:
        keys = tuple(decision.key.split("."))
        section = values
        for key in keys[:-1]:
            section = section.setdefault(key, {})
        section[keys[-1]] = decision.value
        notes[keys] = decision.note
    decided = {decision.key for decision in plan.decisions}
    if "network.name" in decided:  # what is left are another network's own parameters
        params = values["network"].get("params", {})
        kept = {key: value for key, value in params.items() if (name := f"network.params.{key}") in decided or given.says(name)}
        values["network"] |= {"params": kept}
    write_file(path, "\n".join([*lines, *_emit(values, notes, ())]) + "\n")


def is_plan(path: Path) -> bool:
    """Whether a config file is a plan, by its first line."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readline().startswith(HEADER)


def _reference(source: str, path: Path) -> str:
    """How the plan names the config that it extends: shipped ones by name, others as seen from the plan's folder."""
    found = find_config(source).resolve()
    shipped = shipped_configs().resolve()
    if not found.is_relative_to(shipped):
        return Path(os.path.relpath(found, path.resolve().parent)).as_posix()
    name = found.relative_to(shipped).as_posix()
    beside = path.parent / name  # would be found first
    return found.as_posix() if beside == path or beside.exists() else name


def _differences(old: Any, new: Any, values: dict[str, Any], notes: dict[tuple[str, ...], str], at: tuple[str, ...]) -> None:
    """Puts what differs in `new` into `values`; a component of another name differs as a whole, and what is gone becomes null."""
    for key in old.keys() - new.keys():
        values[key], notes[(*at, key)] = None, NOTE
    for key, value in new.items():
        before = old.get(key)
        if value == before:
            continue
        if isinstance(value, dict) and isinstance(before, dict) and value.get("name") == before.get("name"):
            _differences(before, value, values.setdefault(key, {}), notes, (*at, key))
        else:
            values[key] = value
            notes[(*at, key)] = NOTE


def _emit(values: dict[str, Any], notes: dict[tuple[str, ...], str], at: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    indent = "  " * len(at)
    for key, value in values.items():
        path = (*at, key)
        if isinstance(value, dict) and value and path not in notes:
            lines += [f"{indent}{key}:", *_emit(value, notes, path)]
            continue
        text = write_text({key: value}).rstrip("\n").splitlines()
        note = f"  # {notes[path]}" if path in notes else ""
        if len(text) == 1:
            lines.append(f"{indent}{text[0]}{note}")
        else:
            lines += [f"{indent}{note.strip()}"] * bool(note) + [indent + line for line in text]
    return lines


def _quoted(text: str) -> str:
    return write_text({"x": text}).rstrip("\n").removeprefix("x: ")
