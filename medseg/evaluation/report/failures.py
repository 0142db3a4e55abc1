"""What went wrong, worst first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from medseg.evaluation.report.source import Source, badness
from medseg.html import Column, Number, number, section, table
from medseg.metrics import Row

FAILED = 0.1
"""A Dice below this is a failure."""
LARGE = 0.5
"""False components of at least this share of the reference's volume are named."""
_UNUSABLE = "prediction missing or unusable"
MOST = 300
"""Lines of the table."""


def failures(source: Source, link: Mapping[str, str]) -> str:
    """Missed and invented structures, failed cases, and cases whose prediction or reference could not be used.

    Args:
        source: The evaluation.
        link: Case -> its id as the page shows it, linked to its pictures where there are any.
    """
    what = _extent(source)
    rows = [[link.get(case, case), name, said, size] for case, name, said, size in _found(source)]
    note = (
        "A structure is missed where the prediction lacks it and invented where the reference lacks it; a case has failed with a Dice "
        f"below {FAILED:g}; stray components are false ones of at least {LARGE:.0%} of the reference's {what}."
    )
    columns = [
        Column("case"),
        Column("class"),
        Column("what", wrap=True),
        Column(f"{what} ({source.volume_unit})", "Of what was missed, invented or stray."),
    ]
    if not rows:
        return section("Failures", "<p>None: no structure missed or invented, no Dice below 0.1, no large stray component.</p>", note=note)
    cut = f"The first {MOST} of {len(rows)}." if len(rows) > MOST else ""
    return section("Failures", table(columns, rows[:MOST], name="failures", caption=cut, search=len(rows) > 15), note=note)


def _found(source: Source) -> Iterator[tuple[str, str, str, Any]]:
    for case, why in source.unusable.items():
        volumes = [source.volume(row, "ref") for name in source.classes for row in source.per_class(name) if row.case_id == case]
        yield case, "all", f"{_UNUSABLE}: {why}", _volume(sum(volumes))
    for case, why in (source.summary.get("faults") or {}).items():
        yield case, "all", f"not scored: {why}", None
    for name in source.classes:
        rows = sorted(source.of("dice", name) or source.per_class(name), key=lambda row: -badness(source, row))
        for row in rows:
            if row.case_id in source.unusable:
                continue  # one line for all its classes stands above
            said = _kind(source, row)
            if said is not None:
                yield row.case_id, name, *said
    yield from _stray(source)


def _kind(source: Source, row: Row) -> tuple[str, Any] | None:
    if row.both_empty:
        return None
    if row.ref_empty and row.pred_empty:
        return _UNUSABLE, None
    if row.pred_empty:
        return "missed: the prediction lacks the class", _volume(source.volume(row, "ref"))
    if row.ref_empty:
        return "invented: the reference lacks the class", _volume(source.volume(row, "pred"))
    if row.metric == "dice" and row.value < FAILED:
        return f"failed: Dice {number(row.value, 3)}", _volume(source.volume(row, "ref"))
    return None


def _stray(source: Source) -> Iterator[tuple[str, str, str, Any]]:
    references = {(row.case_id, row.class_name): source.volume(row, "ref") for name in source.classes for row in source.per_class(name)}
    per_unit = 1.0 if source.flat else 1e-3
    false = [one for one in source.lesions if one.side == "prediction" and one.scored and not one.matched]
    for one in sorted(false, key=lambda one: -one.size):
        reference = references.get((one.case_id, one.class_name), math.nan)
        if reference > 0 and one.size * per_unit >= LARGE * reference:
            share = one.size * per_unit / reference
            yield (
                one.case_id,
                one.class_name,
                f"stray component of {share:.0%} of the reference's {_extent(source)}",
                _volume(one.size * per_unit),
            )


def _extent(source: Source) -> str:
    return "area" if source.flat else "volume"


def _volume(value: float) -> Number:
    return Number(value, number(value))
