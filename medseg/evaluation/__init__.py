"""Label maps against references, case by case: the tidy tables, their summary, and the files and tables that show them."""

from __future__ import annotations

from medseg.evaluation.folders import Evaluation, evaluate_dataset, evaluate_folders
from medseg.evaluation.labels import find_labels
from medseg.evaluation.scores import read_rows, read_summary, summarise, write_scores
from medseg.evaluation.tables import print_evaluation, summary_table

__all__ = [
    "Evaluation",
    "evaluate_dataset",
    "evaluate_folders",
    "find_labels",
    "print_evaluation",
    "read_rows",
    "read_summary",
    "summarise",
    "summary_table",
    "write_scores",
]
