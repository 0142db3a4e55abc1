"""Which cases are shown: of each class the best, the median, the worst, and an empty one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from medseg.evaluation.report.source import Source, badness
from medseg.metrics import Row

Kind = Literal["best", "median", "worst", "empty"]

MOST_CLASSES = 12
"""Classes that are shown, those with the worst means first; the tables have all."""


@dataclass(frozen=True)
class Pick:
    """A class of a case that is worth a look."""

    class_name: str
    kind: Kind
    row: Row

    @property
    def case(self) -> str:
        """Its id."""
        return self.row.case_id


def choose(source: Source) -> list[Pick]:
    """Pick by the primary metric among the cases whose reference has the class; one without it by what was predicted there.

    The empty case is the one with the most false voxels: where the reference is empty, all that is predicted is wrong. Equal values are
    told apart by the case's id, so that the same tables always give the same pictures.
    """
    picks: list[Pick] = []
    for name in shown_classes(source):
        rows = source.of(source.primary, name)
        there = sorted(
            (row for row in rows if not row.ref_empty and not math.isnan(row.value)), key=lambda row: (badness(source, row), row.case_id)
        )
        kinds: dict[str, Kind] = {}
        if there:
            kinds[there[-1].case_id] = "worst"
            kinds.setdefault(there[0].case_id, "best")
            kinds.setdefault(there[len(there) // 2].case_id, "median")
        empty = max((row for row in rows if row.ref_empty), key=lambda row: (row.pred_voxels, row.case_id), default=None)
        if empty is not None:
            kinds.setdefault(empty.case_id, "empty")
        order: tuple[Kind, ...] = ("best", "median", "worst", "empty")
        by_case = {row.case_id: row for row in rows}
        picks += [Pick(name, kind, by_case[case]) for kind in order for case, of in kinds.items() if of == kind]
    return picks


def shown_classes(source: Source) -> list[str]:
    """The classes that are shown, in the order of the tables."""
    if len(source.classes) <= MOST_CLASSES:
        return source.classes
    metric = source.metric(source.primary)
    sign = -1 if metric is not None and metric.better != "higher" else 1

    def mean(name: str) -> float:
        value = source.aggregate(source.primary, name).get("mean")
        return math.inf if value is None else sign * float(value)

    worst = sorted(source.classes, key=mean)[:MOST_CLASSES]
    return [name for name in source.classes if name in worst]
