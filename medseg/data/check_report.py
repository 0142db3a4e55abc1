"""The faults of a data set as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medseg.data.case import DataSet, Fault


def print_faults(dataset: DataSet, faults: Sequence[Fault], console: Console) -> int:
    """Print every fault with its remedy, and a closing line.

    Returns:
        1 when there are errors, else 0.
    """
    errors = sum(fault.severity == "error" for fault in faults)
    if faults:
        table = Table("severity", "case", "file", "what is wrong", "remedy", show_lines=True)
        for fault in faults:
            style = "red" if fault.severity == "error" else "yellow"
            cells = (fault.case, _shown(fault.file, dataset.root), fault.message, fault.remedy)
            table.add_row(f"[{style}]{fault.severity}[/]", *map(escape, cells))
        console.print(table)
    cases = len(dataset.cases) + len(dataset.test_cases)
    console.print(
        f"{dataset.name} in {dataset.root}: {cases} cases, {errors} errors, {len(faults) - errors} warnings",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return 1 if errors else 0


def _shown(file: Path | None, root: Path) -> str:
    """The file as seen from the data set's folder, which is printed below."""
    if file is None:
        return ""
    return str(file.relative_to(root) if file.is_relative_to(root) else file)
