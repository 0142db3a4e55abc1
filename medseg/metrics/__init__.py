"""One implementation of each measure: functions of counts, a tidy row per case, class and metric, and one way to aggregate rows.

The registry is `measures.py`; the rows are built from it, so it stands in a file of its own.
"""

from __future__ import annotations

from medseg.metrics.case import CaseCounts, LesionRow, Row, count_case, rows_of, score_case
from medseg.metrics.case_metrics import CaseMetrics
from medseg.metrics.counts import ClassCounts, confusion_table
from medseg.metrics.lesions import Components, match_lesions
from medseg.metrics.measures import METRICS
from medseg.metrics.summary import DEFINITIONS, Aggregate, aggregate

__all__ = [
    "DEFINITIONS",
    "METRICS",
    "Aggregate",
    "CaseCounts",
    "CaseMetrics",
    "ClassCounts",
    "Components",
    "LesionRow",
    "Row",
    "aggregate",
    "confusion_table",
    "count_case",
    "match_lesions",
    "rows_of",
    "score_case",
]
