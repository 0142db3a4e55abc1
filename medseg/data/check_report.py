"""The faults of a data set as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

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
            cells = (fault.case, str(fault.file or ""), fault.message, fault.remedy)
            table.add_row(f"[{style}]{fault.severity}[/]", *map(escape, cells))
        console.print(table)
    cases = len(dataset.cases) + len(dataset.test_cases)
    console.print(
        f"{dataset.name}: {cases} cases, {errors} errors, {len(faults) - errors} warnings", markup=False, highlight=False, soft_wrap=True
    )
    return 1 if errors else 0
