"""One implementation of each measure: a tidy row per case, class and metric, and one way to aggregate rows.

The registry is `measures.py`, the rule for empty masks `policy.py`; the rows are built from both, so they stand in files of their own.
"""

from __future__ import annotations

from medseg.metrics.calibration import CalibrationMetrics, calibration_rows, ece, reliability
from medseg.metrics.case import CaseScores, score, score_case
from medseg.metrics.case_metrics import CaseMetrics
from medseg.metrics.counts import ClassCounts, class_counts, confusion_table
from medseg.metrics.definitions import definitions
from medseg.metrics.detection import DetectionMetrics, average_precision, candidate_rows, froc, scored_lesions
from medseg.metrics.measures import METRICS, Metric, chosen, metric_of
from medseg.metrics.options import MetricOptions
from medseg.metrics.rows import CalibrationRow, CandidateRow, LesionRow, Row
from medseg.metrics.summary import Aggregate, aggregate

__all__ = [
    "METRICS",
    "Aggregate",
    "CalibrationMetrics",
    "CalibrationRow",
    "CandidateRow",
    "CaseMetrics",
    "CaseScores",
    "ClassCounts",
    "DetectionMetrics",
    "LesionRow",
    "Metric",
    "MetricOptions",
    "Row",
    "aggregate",
    "average_precision",
    "calibration_rows",
    "candidate_rows",
    "chosen",
    "class_counts",
    "confusion_table",
    "definitions",
    "ece",
    "froc",
    "metric_of",
    "reliability",
    "score",
    "score_case",
    "scored_lesions",
]
