"""Every case with every number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg.evaluation.report.source import Source, badness
from medseg.html import Column, Number, number, section, table

MOST = 4000
"""Rows in the page; cases.csv has all."""


def cases(source: Source, link: Mapping[str, str]) -> str:
    """A row for each case and class, the worst by the primary metric first.

    Args:
        source: The evaluation.
        link: Case -> its id as the page shows it.
    """
    unit = source.volume_unit
    columns = [Column("case"), Column("patient", csv="group"), Column("class")]
    columns += [Column(source.title(name), source.definition(name), csv=name) for name in source.metrics]
    columns += [
        Column(f"reference ({unit})", "Volume (area in 2-D) of the class in the reference."),
        Column(f"predicted ({unit})", "Volume (area in 2-D) of the class in the prediction."),
        Column("lesions", "Connected components of the reference."),
        Column("predicted lesions", "Connected components of the prediction."),
        Column("penalised", "Metrics that are a penalty here: only one of the masks has the class, or there is no usable prediction."),
    ]
    grouped = any(row.group != row.case_id for row in source.rows)
    if not grouped:
        del columns[1]
    order = [row for name in source.classes for row in source.of(source.primary, name)]
    order.sort(key=lambda row: badness(source, row), reverse=True)
    order.sort(key=lambda row: row.both_empty)
    rows: list[list[Any]] = []
    for row in order[:MOST]:
        cells: list[Any] = [link.get(row.case_id, row.case_id), *([row.group] if grouped else []), row.class_name]
        penalised = []
        for name in source.metrics:
            one = source.table.get((name, row.class_name), {}).get(row.case_id)
            cells.append(None if one is None else Number(one.value, number(one.value, source.digits(name))))
            if one is not None and one.penalised:
                penalised.append(source.title(name).partition(",")[0])
        volumes = [Number(value, number(value)) for value in (source.volume(row, "ref"), source.volume(row, "pred"))]
        rows.append([*cells, *volumes, row.ref_lesions, row.pred_lesions, ", ".join(penalised)])
    cut = f" The first {MOST} of {len(order)} are shown; cases.csv has all." if len(order) > MOST else ""
    note = f"n = {len(source.cases)} cases, worst first by {source.title(source.primary)}; undefined values are shown as -.{cut}"
    return section("Cases", table(columns, rows, name="cases", search=True), note=note)
