"""The table a run ends with."""

from __future__ import annotations

from rich.console import Console

from medseg.evaluation import read_summary, summary_table
from medseg.training.run_folder import RunFolder

SPLITS = {"test": "test cases, never used for training or choosing", "val": "validation cases, which also chose the checkpoint"}


def print_closing(run: RunFolder, console: Console | None = None) -> None:
    """Print the scores per class and where the run lies."""
    console = console or Console()
    summary = read_summary(run.evaluation / "summary.json")
    chose = " and the post-processing" if summary.get("postprocessing_chosen_on_scored_cases") else ""
    title = f"{summary['cases']} {SPLITS[summary['split']]}{chose}: mean [95 % interval]"
    console.print(summary_table(summary, title, console.width))
    console.print(f"run: {run.path}", markup=False, highlight=False, soft_wrap=True)
