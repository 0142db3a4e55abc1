"""The faults of a data set on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from medseg.data.case import DataSet, Fault

_STYLES = {"error": "bold red", "warning": "yellow"}


def print_faults(dataset: DataSet, faults: Sequence[Fault], console: Console) -> int:
    """Print every fault with its remedy on a line of its own, uncut whatever the terminal's width, and a closing line.

    Returns:
        1 when there are errors, else 0.
    """
    for fault in faults:
        where = _shown(fault.file, dataset.root) or fault.case or "data set"
        line = Text.assemble((fault.severity, _STYLES[fault.severity]), f" {where}: {fault.message}; {fault.remedy}")
        console.print(line, soft_wrap=True)
    errors = sum(fault.severity == "error" for fault in faults)
    cases = len(dataset.cases) + len(dataset.test_cases)
    closing = f"{dataset.name} in {dataset.root}: {cases} cases, {errors} errors, {len(faults) - errors} warnings"
    console.print(f"{closing}; classes {', '.join(dataset.labels.classes)}", markup=False, highlight=False, soft_wrap=True)
    return 1 if errors else 0


def _shown(file: Path | None, root: Path) -> str:
    """The file as seen from the data set's folder, which the closing line names."""
    if file is None:
        return ""
    return str(file.relative_to(root) if file.is_relative_to(root) else file)
