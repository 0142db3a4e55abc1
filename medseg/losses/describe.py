"""What `medseg losses` prints: every term by family, or all that is to know about one."""

from __future__ import annotations

import inspect
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import medseg.losses
from medseg.config.errors import Problem
from medseg.config.losses import meant
from medseg.losses import TERMS
from medseg.losses.errors import LossConfigError, LossInputError
from medseg.losses.example import example, written
from medseg.losses.plain_text import arguments, readable, sections, wrapped
from medseg.losses.plot import plot

OTHERS = {"WEIGHT_MAPS": "Weight maps, for loss.weight_map", "HEADS": "Heads, for the network's further outputs"}
"""Other registries of the loss library, and what the list calls them."""
APART = ("", "Args", "Example", "Raises")
"""Parts of a docstring that are not shown as they are."""
EMPTY = """
| Options of loss.empty, for a class that an image (reduce_over: sample) or the
| whole batch (reduce_over: batch) has none of; S is the volume predicted for
| it, N the voxels, s the term's smooth:
|   smooth  the formula as it stands. Dice: loss S / (S + s), gradient
|           s / (S + s)^2, that is 1 / s at S = 0 and next to none once S >> s
|   skip    the class is not in the mean: no loss, no gradient there, so the
|           sum needs a voxelwise partner
|   volume  loss S / N, the fraction of voxels predicted; gradient 1 / N,
|           whatever S
|   batch   the formula with the counts of the whole batch: the gradient that
|           the other images' lesions give (only with reduce_over: sample)
"""
"""What `term.region_mean` does, for the terms that look at `empty`."""


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
        hint = meant(name, known) or "`medseg losses` lists all"
        raise LossConfigError([Problem("losses", "", f"there is no loss term, head or weight map {name!r}", hint)])
    parts = sections(inspect.getdoc(entry) or "")
    text = parts[""].partition("\n")[2].strip()
    blocks = [f"{name}: {summary(entry)}"]
    if text:
        blocks.append(wrapped(text, width()))
    if getattr(entry, "activation", None):
        hint = f"; with the other take {entry.sibling}" if entry.sibling else ""
        blocks.append(f"Activation\n  {entry.activation} only{hint}")
    blocks.append("Parameters\n" + "\n".join(_parameters(entry, arguments(parts.get("Args", "")))))
    for heading in parts:
        if heading not in APART:
            blocks.append(f"{heading}\n{wrapped(parts[heading], width(), '  ')}")
        if heading == "Empty foreground" and "empty" in getattr(entry, "looks_at", ()):
            blocks.append(EMPTY.strip().replace("| ", "  "))
    if name in TERMS:
        blocks.append(f"Plot, with the default parameters\n{_plot(name, entry)}")
    blocks.append(f"Config\n{textwrap.indent(example(name), '  ')}")
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
    types = get_type_hints(entry.__init__)
    for one in parameters:
        default = "  (must be given)" if one.default is one.empty else f" = {written(one.default)}"
        choices = get_args(types[one.name]) if get_origin(types[one.name]) is Literal else ()
        yield f"  {one.name}: {' | '.join(choices) or one.annotation}{default}"
        if one.name in texts:
            yield wrapped(texts[one.name], width(), "      ")


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
