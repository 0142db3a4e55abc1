"""Label maps against references, case by case: the tidy tables, their summary, and the files and tables that show them."""

from __future__ import annotations

from medseg.evaluation.folders import Evaluation, Settings, evaluate_dataset, evaluate_folders
from medseg.evaluation.labels import find_labels, named_labels
from medseg.evaluation.options import metric_options
from medseg.evaluation.scores import (
    read_calibration,
    read_candidates,
    read_lesions,
    read_rows,
    read_summary,
    summarise,
    write_scores,
)
from medseg.evaluation.tables import print_evaluation, summary_table

__all__ = [
    "Evaluation",
    "Settings",
    "evaluate_dataset",
    "evaluate_folders",
    "find_labels",
    "metric_options",
    "named_labels",
    "print_evaluation",
    "read_calibration",
    "read_candidates",
    "read_lesions",
    "read_rows",
    "read_summary",
    "summarise",
    "summary_table",
    "write_scores",
]
