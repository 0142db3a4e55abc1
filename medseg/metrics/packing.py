"""Rows of a case as plain types and back, so that a torchmetrics state can hold them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from itertools import groupby
from typing import Any

from medseg.metrics.rows import Row

_OWN = ("metric", "value", "penalised")  # what differs between the rows of one class in one case


def pack(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """What the rows of a class in a case have in common, once, and under `values` what they have of their own. In types of JSON."""
    packed = []
    for _, run in groupby(rows, lambda row: (row.case_id, row.class_name)):
        of_class = list(run)
        shared = {name: value for name, value in asdict(of_class[0]).items() if name not in _OWN}
        packed.append(shared | {"values": [[getattr(row, name) for name in _OWN] for row in of_class]})
    return packed


def unpack(packed: Iterable[dict[str, Any]]) -> list[Row]:
    """Inverse of `pack`."""
    rows = []
    for one in packed:
        shared = {name: value for name, value in one.items() if name != "values"} | {"spacing": tuple(one["spacing"])}
        rows += [Row(**shared, **dict(zip(_OWN, own, strict=True))) for own in one["values"]]
    return rows
