"""Detection by probability: what a lower or higher threshold would find."""

from __future__ import annotations

from typing import Any

from medseg.evaluation.report.source import Source
from medseg.html import Axis, Column, Line, figure, figures, number, plot, section, table
from medseg.metrics import average_precision, froc, scored_lesions
from medseg.metrics.detection import FP_PER_CASE, Froc

MOST_CLASSES = 7
"""Classes in the diagram."""


def detection(source: Source) -> str:
    """FROC and precision-recall; nothing where no probabilities were looked at or there is no lesion."""
    looked_at = {row.case_id for row in source.candidates} | {row.case_id for row in source.calibration}
    if not looked_at:
        return ""
    lesions = [row for row in source.lesions if row.case_id in looked_at]
    curves: dict[str, tuple[Froc, float, int, int]] = {}
    for name in source.classes:
        own = [row for row in source.candidates if row.class_name == name]
        numbers = scored_lesions(looked_at, lesions, name)
        count = sum(map(len, numbers.values()))
        if count:
            curves[name] = froc(own, numbers), average_precision(own, numbers), count, len(own)
    if not curves:
        return ""
    said = source.summary.get("detection", {}).get("definition", "")
    note = f"{said}. {len(looked_at)} cases whose probabilities were looked at." if said else ""
    return section("Detection", _table(curves), figures(_chart(curves, len(looked_at))), note=note)


def _table(curves: dict[str, tuple[Froc, float, int, int]]) -> str:
    columns = [
        Column("class"),
        Column("lesions", "Scored reference lesions of these cases."),
        Column("candidates"),
        Column("average precision", "Area under the precision-recall curve of detection.", 3),
        Column("FROC", "Mean of the sensitivities at the right.", 3),
        *(Column(f"at {number(rate)} FP", f"Sensitivity at {rate:g} false candidates a case.", 3) for rate in FP_PER_CASE),
    ]
    rows: list[list[Any]] = [[name, lesions, found, ap, curve.mean, *curve.at] for name, (curve, ap, lesions, found) in curves.items()]
    return table(columns, rows, name="detection")


def _chart(curves: dict[str, tuple[Froc, float, int, int]], cases: int) -> str:
    lines = []
    for colour, (name, (curve, _, _, _)) in enumerate(list(curves.items())[:MOST_CLASSES]):
        # Without a false candidate the curve has no place on a logarithmic axis: it enters from the left at the height it has there.
        low = FP_PER_CASE[0] / 2
        points = [(max(rate, low), height) for rate, height in zip(curve.fp_per_case, curve.sensitivity, strict=True)]
        x, y = zip(*points, strict=True)
        lines.append(Line(name, x, y, colour=colour))
    x_axis = Axis("false candidates a case", log=True, low=FP_PER_CASE[0] / 2, high=16.0, ticks=FP_PER_CASE)
    chart = plot("FROC", lines, x_axis, Axis("sensitivity", low=0.0, high=1.0))
    return figure(chart, f"n = {cases} cases. A point of the curve is a threshold of the score; all lesions of all cases pooled.")
