"""What `medseg losses` prints: every term by family, or all that is to know about one."""

from __future__ import annotations

import inspect
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import medseg.losses
from medseg.config.errors import Problem, did_you_mean
from medseg.losses import TERMS
from medseg.losses.errors import LossConfigError, LossInputError
from medseg.losses.plain_text import arguments, readable, sections, wrapped
from medseg.losses.plot import plot

OTHERS = {"WEIGHT_MAPS": "Weight maps, for loss.weight_map", "HEADS": "Heads, for the network's further outputs"}
"""Other registries of the loss library, and what the list calls them."""
APART = ("", "Args", "Example", "Raises")
"""Parts of a docstring that are not shown as they are."""


def width() -> int:
    """Columns to fill: the terminal's, within reason."""
    return min(120, max(60, shutil.get_terminal_size((100, 24)).columns))


def listing() -> str:
    """Every term under its family, with the first line of its docstring; then the other registries of the loss library."""
    lines = [f"{len(TERMS)} loss terms; `medseg losses NAME` explains one, with its formula, parameters and a plot."]
    for title, entries in _families():
        lines += ["", *textwrap.wrap(title, width())]
        longest = max(map(len, entries))
        for name, entry in entries.items():
            limit = f" [{entry.activation} only]" if getattr(entry, "activation", None) else ""
            text = f"{name:<{longest}}  {summary(entry)}{limit}"
            lines += textwrap.wrap(text, width(), initial_indent="  ", subsequent_indent=" " * (longest + 4), break_on_hyphens=False)
    return "\n".join(lines)


def description(name: str) -> str:
    """A term (or another entry of the loss library): summary, formula, parameters, behaviour, source, and for a term its plot.

    Raises:
        LossConfigError: There is no such thing; with the nearest name.
    """
    entry = TERMS.get(name) or next((entries[name] for entries in _others().values() if name in entries), None)
    if entry is None:
        known = [*TERMS, *(other for entries in _others().values() for other in entries)]
        hint = did_you_mean(name, known) or "`medseg losses` lists all"
        raise LossConfigError([Problem("losses", "", f"there is no loss term {name!r}", hint)])
    parts = sections(inspect.getdoc(entry) or "")
    text = parts[""].partition("\n")[2].strip()
    blocks = [f"{name}: {summary(entry)}"]
    if text:
        blocks.append(wrapped(text, width()))
    if getattr(entry, "activation", None):
        hint = f"; with the other take {entry.sibling}" if entry.sibling else ""
        blocks.append(f"Activation\n  {entry.activation} only{hint}")
    blocks.append("Parameters\n" + "\n".join(_parameters(entry, arguments(parts.get("Args", "")))))
    blocks += [f"{heading}\n{wrapped(parts[heading], width(), '  ')}" for heading in parts if heading not in APART]
    if name in TERMS:
        blocks.append(f"Plot, with the default parameters\n{_plot(name, entry)}")
    return "\n\n".join(blocks)


def summary(entry: Any) -> str:
    """The first line of its docstring."""
    return readable((inspect.getdoc(entry) or "").partition("\n")[0])


def _families() -> Iterator[tuple[str, dict[str, Any]]]:
    """Title and entries of each group: terms by the file they stand in, then the other registries."""
    families: dict[str, dict[str, Any]] = {}
    for name, term in TERMS.items():
        families.setdefault(term.__module__, {})[name] = term
    for module, entries in families.items():
        yield (sys.modules[module].__doc__ or module).strip().partition("\n")[0], entries
    yield from ((OTHERS[variable], dict(others)) for variable, others in _others().items())


def _others() -> dict[str, Mapping[str, Any]]:
    found = {variable: getattr(medseg.losses, variable, {}) for variable in OTHERS}
    return {variable: entries for variable, entries in found.items() if entries}


def _parameters(entry: Any, texts: Mapping[str, str]) -> Iterator[str]:
    """Name, type and default from the signature, the text from the docstring."""
    parameters = [one for one in inspect.signature(entry).parameters.values() if one.kind is one.KEYWORD_ONLY]
    if not parameters:
        yield "  none"
    for one in parameters:
        default = "  (must be given)" if one.default is one.empty else f" = {_yaml(one.default)}"
        yield f"  {one.name}: {one.annotation}{default}"
        if one.name in texts:
            yield wrapped(texts[one.name], width(), "      ")


def _yaml(value: object) -> str:
    """A default as a config would write it."""
    return {None: "null", True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool | None) else str(value)


def _plot(name: str, entry: Any) -> str:
    """The picture, or why there is none."""
    needed = [one.name for one in inspect.signature(entry).parameters.values() if one.kind is one.KEYWORD_ONLY and one.default is one.empty]
    if needed:
        return f"  none: it needs {', '.join(needed)}"
    try:
        return plot(name, entry.activation)
    except LossConfigError as error:
        return "  none: " + "; ".join(filter(None, (part for problem in error.problems for part in (problem.message, problem.suggestion))))
    except LossInputError as error:
        return f"  none: {error}"
