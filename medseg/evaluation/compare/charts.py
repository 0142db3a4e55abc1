"""Charts that only a comparison has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medseg.evaluation.compare.comparison import Comparison
from medseg.evaluation.statistics import Ranking, wilson
from medseg.html import Axis, Line, plot
from medseg.html.svg import SERIES, dot, drawing, label, line, shortened
from medseg.metrics import LesionRow

_BINS = 6
_LEAST = 5
_BANDS = 2


def blobs(title: str, names: Sequence[str], order: Sequence[int], ranking: Ranking) -> str:
    """How often each method got each rank: circles whose area is the share of the resamples; a ring marks the rank from all data."""
    number = len(names)
    left = 14 + 6.4 * min(20, max(map(len, names)))
    cell, tall, top = 46.0, 34.0, 52.0
    parts = [label(left + cell * (rank + 0.5), top - 8, str(rank + 1), "middle", "ink") for rank in range(number)]
    for row, method in enumerate(order):
        y = top + tall * (row + 0.5)
        parts += [label(left - 8, y + 4, shortened(names[method], 20), "end", "ink"), line(left, y, left + cell * number, y, "grid")]
        for rank in range(number):
            share = float(ranking.frequency[method, rank])
            x = left + cell * (rank + 0.5)
            if share > 0:
                tip = f"{names[method]}, rank {rank + 1}: {100 * share:.1f} % of the resamples"
                parts.append(dot(x, y, f"c{method % SERIES} dot", tip, round(15 * share**0.5, 2)))
            if int(ranking.ranks[method]) == rank + 1:
                parts.append(dot(x, y, f"c{method % SERIES} hollow", f"{names[method]}: rank {rank + 1} in all data", 16))
    return drawing(title, parts, max(left + cell * number + 8, 260), top + tall * number + 8)


def detection_by_size(comparison: Comparison, lesions: Mapping[int, Sequence[LesionRow]], class_name: str, unit: str) -> str:
    """Share of reference lesions that were found, by their size: a line a method, averaged over runs.

    Bins hold the same number of lesions, so that none is empty; they are those of all methods, as the lesions are the same.

    Args:
        comparison: For the names.
        lesions: Method -> its lesion rows, of all runs.
        class_name: The class.
        unit: Of the sizes.
    """
    rows = {method: _reference(found, class_name) for method, found in lesions.items()}
    sizes = np.array([row.size for found in rows.values() for row in found])
    edges = np.unique(np.quantile(sizes, np.linspace(0, 1, _BINS + 1))) if len(sizes) >= _LEAST else np.array([])
    if len(edges) < 3:
        return ""
    layers = []
    for method, found in rows.items():
        runs = _runs_of_a_case(comparison, method)
        size, matched = np.array([row.size for row in found]), np.array([row.matched for row in found], dtype=np.bool_)
        place = np.clip(np.searchsorted(edges, size, side="right") - 1, 0, len(edges) - 2)
        filled = [at for at in range(len(edges) - 1) if (place == at).any()]
        # The same lesions in several runs are no more lesions.
        shares = [wilson(matched[place == at].sum() / runs, int((place == at).sum()) // runs) for at in filled]
        layers.append(
            Line(
                comparison.labels[method],
                [float(np.exp(np.log(size[place == at]).mean())) for at in filled],
                [one.estimate for one in shares],
                [one.low for one in shares] if len(rows) <= _BANDS else [],
                [one.high for one in shares] if len(rows) <= _BANDS else [],
                dots=True,
                colour=method,
            )
        )
    method, found = next((method, found) for method, found in rows.items() if found)
    bands = "; bands: Wilson's 95 % interval" if len(rows) <= _BANDS else ""
    title = f"{class_name}: {len(found) // _runs_of_a_case(comparison, method)} lesions by size{bands}"
    return plot(title, layers, Axis(f"size ({unit})", log=True), Axis("found", low=0, high=1))


def lesion_table(comparison: Comparison, lesions: Mapping[int, Sequence[LesionRow]]) -> list[list[str | float | int]]:
    """A line a method and class: lesions found of all, with Wilson's interval, and false components a case and run."""
    rows: list[list[str | float | int]] = []
    for name in comparison.cases.classes:
        for method in comparison.order():
            reference = _reference(lesions.get(method, ()), name)
            wrong = [row for row in lesions.get(method, ()) if row.class_name == name and row.side == "prediction"]
            wrong = [row for row in wrong if row.scored and not row.matched]
            if not reference and not wrong:
                continue
            runs = _runs_of_a_case(comparison, method)
            share = wilson(sum(row.matched for row in reference) / runs, len(reference) // runs)
            rows.append(
                [
                    name,
                    comparison.names[method],
                    len(reference) // runs,
                    share.estimate,
                    f"[{share.low:.3f}, {share.high:.3f}]" if reference else "-",
                    len(wrong) / (len(comparison.cases.ids) * runs),
                    float(np.median([row.size for row in wrong])) if wrong else float("nan"),
                ]
            )
    return rows


def _reference(lesions: Sequence[LesionRow], class_name: str) -> list[LesionRow]:
    return [row for row in lesions if row.side == "reference" and row.scored and row.class_name == class_name]


def _runs_of_a_case(comparison: Comparison, method: int) -> int:
    """How many runs of a method scored each case."""
    return len(comparison.methods[method].runs) // comparison.folds
