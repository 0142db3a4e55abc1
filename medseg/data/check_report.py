"""What was found out about a data set, on the terminal and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from medseg.data.case import Fault
from medseg.data.check import Inspection
from medseg.data.check_case import EMPTY
from medseg.files import write_text

LISTED = 5
"""Empty masks that are listed one by one; of more, this many are named."""
_STYLES = {"error": "bold red", "warning": "yellow"}


def print_inspection(inspection: Inspection, console: Console) -> int:
    """Print how frequent the classes are, warnings, errors (the last thing on the screen) and a closing line.

    More than `LISTED` empty masks become one warning; the JSON holds all.

    Where the output is no terminal every row is one line, however long.

    Returns:
        1 when there are errors, else 0.
    """
    dataset = inspection.dataset
    _print(_class_table(inspection), console)
    for severity, faults in (("warning", inspection.warnings), ("error", inspection.errors)):
        if faults:
            _print(_fault_table(severity, faults, dataset.root), console)
    cases = len(dataset.cases) + len(dataset.test_cases)
    console.print(
        f"{dataset.name} in {dataset.root}: {cases} cases, {len(inspection.errors)} errors, {len(inspection.warnings)} warnings; "
        f"{inspection.labelled} labelled, {inspection.empty} of them empty, {cases - inspection.labelled} without a readable label",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return 1 if inspection.errors else 0


def to_json(inspection: Inspection) -> str:
    """The inspection as JSON text (`Inspection.to_dict`)."""
    return json.dumps(inspection.to_dict(), indent=1, ensure_ascii=False) + "\n"


def write_json(inspection: Inspection, path: Path) -> None:
    """Write the inspection as JSON; the file appears complete or not at all."""
    write_text(path, to_json(inspection))


def _class_table(inspection: Inspection) -> Table:
    table = Table(title="classes", title_justify="left", box=None, pad_edge=False)
    for heading in ("class", "cases", "voxels", "share of voxels"):
        table.add_column(heading, justify="left" if heading == "class" else "right", no_wrap=heading != "class")
    for count in inspection.classes:
        table.add_row(Text(count.name), f"{count.cases} of {inspection.labelled}", f"{count.voxels:,}", f"{100 * count.share:.4g} %")
    return table


def _fault_table(severity: str, faults: Sequence[Fault], root: Path) -> Table:
    table = Table(title=f"{severity}s ({len(faults)})", title_justify="left", title_style=_STYLES[severity], box=None, pad_edge=False)
    table.add_column("severity", no_wrap=True, style=_STYLES[severity])
    for heading in ("case", "file", "message", "remedy"):
        table.add_column(heading, overflow="fold")
    for fault in _united(faults):
        table.add_row(severity, Text(fault.case or "-"), Text(_shown(fault.file, root)), Text(fault.message), Text(fault.remedy))
    return table


def _united(faults: Sequence[Fault]) -> list[Fault]:
    """The faults with the empty masks as one where there are many."""
    empty = [fault for fault in faults if fault.message.startswith(EMPTY)]
    if len(empty) <= LISTED:
        return list(faults)
    some = ", ".join(fault.case for fault in empty[:LISTED])
    message = f"{len(empty)} masks are empty{empty[0].message.removeprefix(EMPTY)}: {some}, ..."
    return [Fault(empty[0].severity, "", None, message, empty[0].remedy), *(fault for fault in faults if fault not in empty)]


def _print(table: Table, console: Console) -> None:
    width = console.width
    if not console.is_terminal:
        console.width = max(width, console.measure(table, options=console.options.update(width=10**6)).maximum)
    console.print(table)
    console.width = width


def _shown(file: Path | None, root: Path) -> str:
    """The file as seen from the data set's folder, which the closing line names."""
    if file is None:
        return "-"
    return str(file.relative_to(root) if file.is_relative_to(root) else file)
