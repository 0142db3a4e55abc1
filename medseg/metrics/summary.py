"""The only aggregation in medseg: from tidy rows to means, spreads and intervals. Validation, evaluation and sweeps all use it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.metrics.intervals import Clusters
from medseg.metrics.measures import Better, metric_of
from medseg.metrics.rows import Row

FAILED = 0.1
"""A Dice below this is a failure."""


@dataclass(frozen=True)
class Aggregate:
    """One metric over the cases of one class, or over all classes.

    Without a class, the spread and the percentiles are those of the cases' own means over their classes.
    """

    metric: str
    class_name: str | None
    """None: over all classes."""
    mean: float
    """NaN when no case is valid."""
    sd: float
    """Sample standard deviation; NaN below two values."""
    median: float
    low: float
    """Lower end of the 95 % bootstrap interval of the mean; NaN below two resampling units, or when no bootstrap was asked for."""
    high: float
    """Upper end."""
    n_valid: int
    """Values in the mean. Over all classes: pairs of case and class."""
    n_both_empty: int
    """Values where prediction and reference are both empty: left out of the mean, or the best value, by the rule. None of a case without a
    usable prediction."""
    q25: float
    """First quartile."""
    q75: float
    """Third quartile."""
    p5: float
    """5th percentile from the worse end: 95 % of the values are at least as good. Of signed differences: the size that 95 % stay below."""
    n_penalised: int
    """Values that are the penalty of a structure that is empty in just one of the masks, and those of cases without a usable prediction."""
    mean_unpenalised: float
    """Mean without those; NaN when nothing is left. To be read beside `mean`, never instead: it forgives what was missed."""
    n_failed: int
    """Dice below 0.1; 0 for other metrics."""
    t_low: float
    """Lower end of the t interval of the mean, for 2 to 29 resampling units, where the bootstrap is too narrow; else NaN."""
    t_high: float
    """Upper end."""

    @property
    def key(self) -> str:
        """`dice/liver`, or `dice` over all classes."""
        return self.metric if self.class_name is None else f"{self.metric}/{self.class_name}"


@dataclass
class _Table:
    """One metric: (cases, classes)."""

    values: np.ndarray
    """NaN where there is no row or no value."""
    penalised: np.ndarray


def aggregate(rows: Iterable[Row], bootstrap: int = 2000, seed: int = 0) -> dict[str, Aggregate]:
    """Aggregate rows per metric and class, and per metric over all classes.

    A class without any valid case has a NaN mean and is left out of the mean over classes; when no class has one, that is NaN too.
    The result does not depend on the order of the cases.

    Args:
        rows: Tidy rows, at most one per case, class and metric.
        bootstrap: Resamples for the interval; 0 leaves it NaN.
        seed: Seed of the resampling.

    Returns:
        Key (`dice`, `dice/liver`) -> aggregate, in the order in which metrics and classes first occur. A class that has no row of a
        metric (no tolerance of its own) has no aggregate of it.

    Raises:
        ValueError: When a case, class and metric occur twice (the mean would count that case twice), and for unknown metrics.
    """
    by_metric: dict[str, list[Row]] = {}
    for row in (rows := list(rows)):
        by_metric.setdefault(row.metric, []).append(row)
    cases = sorted({(row.group, row.case_id) for row in rows})
    clusters = Clusters([group for group, _ in cases], bootstrap, seed)
    place = {case_id: index for index, (_, case_id) in enumerate(cases)}

    result: list[Aggregate] = []
    for metric, of_metric in by_metric.items():
        classes = list(dict.fromkeys(row.class_name for row in of_metric))
        table = _table(of_metric, classes, place)
        both_empty = Counter(row.class_name for row in of_metric if row.both_empty)
        summaries = [_summarise(metric, table, index, clusters, both_empty[name]) for index, name in enumerate(classes)]
        result.append(Aggregate(metric, None, **_summarise(metric, table, slice(None), clusters, both_empty.total())))
        result += [Aggregate(metric, name, **summary) for name, summary in zip(classes, summaries, strict=True)]
    return {one.key: one for one in result}


def _table(rows: list[Row], classes: list[str], place: dict[str, int]) -> _Table:
    column = {name: index for index, name in enumerate(classes)}
    table = _Table(np.full((len(place), len(classes)), np.nan), np.zeros((len(place), len(classes)), dtype=np.bool_))
    seen = set()
    for row in rows:
        at = place[row.case_id], column[row.class_name]
        if at in seen:
            raise ValueError(f"case '{row.case_id}', class '{row.class_name}' has {row.metric} twice")
        seen.add(at)
        table.values[at], table.penalised[at] = row.value, row.penalised
    return table


def _summarise(metric: str, table: _Table, classes: int | slice, clusters: Clusters, both_empty: int) -> dict[str, Any]:
    """Everything about some classes, as fields of `Aggregate`."""
    columns = slice(classes, classes + 1) if isinstance(classes, int) else classes
    values, penalised = table.values[:, columns], table.penalised[:, columns]
    valid = ~np.isnan(values)
    cases = np.array([_mean(case) for case in values])
    cases = cases[~np.isnan(cases)]
    low, high = clusters.bootstrap_interval(values)
    t_low, t_high = clusters.t_interval(values)
    return {
        "mean": _mean(_means(values)),
        "sd": _sd(cases),
        "median": _percentile(cases, 50),
        "low": low,
        "high": high,
        "n_valid": int(np.count_nonzero(valid)),
        "n_both_empty": both_empty,
        "q25": _percentile(cases, 25),
        "q75": _percentile(cases, 75),
        "p5": _worst(cases, metric_of(metric).better),
        "n_penalised": int(np.count_nonzero(penalised)),
        "mean_unpenalised": _mean(_means(np.where(penalised, np.nan, values))),
        "n_failed": int(np.count_nonzero(values[valid] < FAILED)) if metric == "dice" else 0,
        "t_low": t_low,
        "t_high": t_high,
    }


def _worst(values: np.ndarray, better: Better) -> float:
    if better == "higher":
        return _percentile(values, 5)
    return _percentile(np.abs(values) if better == "zero" else values, 95)


def _means(values: np.ndarray) -> np.ndarray:
    """(cases, classes) -> each class's mean."""
    return np.array([_mean(column) for column in values.T])


def _mean(values: np.ndarray) -> float:
    """Mean without NaN; NaN when nothing is left."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if values.size > 1 and np.isfinite(values).all() else float("nan")


def _percentile(values: np.ndarray, percent: float) -> float:
    """Linear between neighbours; the higher of two where it is infinite."""
    if not values.size:
        return float("nan")
    return float(np.percentile(values, percent, method="linear" if np.isfinite(values).all() else "higher"))
