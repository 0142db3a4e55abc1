"""The only aggregation in medseg: from tidy rows to means, spreads and intervals. Validation, evaluation and sweeps all use it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from medseg.metrics.case import Row

DEFINITIONS: dict[str, str] = {
    "case": "every metric is computed per class on whole cases in their own grid; ignored voxels of the reference are no voxels at all",
    "empty": "class empty in prediction and reference: excluded from the mean and counted (n_both_empty); "
    "empty in one of them: overlap and lesion scores 0",
    "dice": "2 TP / (2 TP + FP + FN) over voxels",
    "iou": "TP / (TP + FP + FN) over voxels",
    "precision": "TP / (TP + FP) over voxels",
    "recall": "TP / (TP + FN) over voxels",
    "volume_difference_ml": "prediction minus reference, mL; not computed in 2-D",
    "lesion": "components 26-connected (8 in 2-D); a reference lesion is detected if it shares >= 1 voxel with the prediction, "
    "a predicted component is false if it shares none with the reference",
    "lesion_f1": "TP / (TP + (FP + FN) / 2), TP = detected reference lesions, FN = missed ones, FP = false predicted components",
    "lesion_precision": "TP / (TP + FP), counts as in lesion_f1",
    "lesion_recall": "TP / (TP + FN), counts as in lesion_f1",
    "mean": "of a class: over its valid cases; without a class: over the classes' means; "
    "sd and median without a class: over the cases' own means",
    "interval": "95 % percentile bootstrap of the mean; resampled are groups (patients) where they are known, else cases",
}
"""What the numbers mean; printed in every output."""


@dataclass(frozen=True)
class Aggregate:
    """One metric over the cases of one class, or over all classes."""

    metric: str
    class_name: str | None
    """None: over all classes."""
    mean: float
    """NaN when no case is valid."""
    sd: float
    """Sample standard deviation; NaN below two values."""
    median: float
    low: float
    """Lower end of the 95 % interval of the mean; NaN below two resampling units, or when no bootstrap was asked for."""
    high: float
    """Upper end."""
    n_valid: int
    """Values in the mean. Over all classes: pairs of case and class."""
    n_both_empty: int
    """Values left out because prediction and reference are both empty."""

    @property
    def key(self) -> str:
        """`dice/liver`, or `dice` over all classes."""
        return self.metric if self.class_name is None else f"{self.metric}/{self.class_name}"


def aggregate(rows: Iterable[Row], bootstrap: int = 2000, seed: int = 0) -> dict[str, Aggregate]:
    """Aggregate rows per metric and class, and per metric over all classes.

    A class without any valid case has a NaN mean and is left out of the mean over classes; when no class has one, that is NaN too.
    The result does not depend on the order of the cases.

    Args:
        rows: Tidy rows, at most one per case, class and metric.
        bootstrap: Resamples for the interval; 0 leaves it NaN.
        seed: Seed of the resampling.

    Returns:
        Key (`dice`, `dice/liver`) -> aggregate, in the order in which metrics and classes first occur.

    Raises:
        ValueError: When a case, class and metric occur twice: the mean would count that case twice.
    """
    rows = list(rows)
    metrics = list(dict.fromkeys(row.metric for row in rows))
    classes = list(dict.fromkeys(row.class_name for row in rows))
    cases = sorted({(row.group, row.case_id) for row in rows})
    groups, group_of_case = np.unique([group for group, _ in cases], return_inverse=True)
    values = _table(rows, metrics, classes, [case_id for _, case_id in cases])
    weights = _resamples(len(groups), bootstrap, seed)
    both_empty = Counter((row.metric, row.class_name) for row in rows if row.ref_empty and row.pred_empty)

    result = []
    for metric, of_metric in zip(metrics, values, strict=True):
        valid = ~np.isnan(of_metric)
        sums = _per_group(np.where(valid, of_metric, 0.0), group_of_case, len(groups))
        counts = _per_group(valid, group_of_case, len(groups))
        resampled = _divide(weights @ sums, weights @ counts)  # (resamples, classes)
        means = [_mean(column) for column in of_metric.T]
        result.append(
            Aggregate(
                metric,
                None,
                _mean(np.array(means)),
                *_spread(np.array([_mean(case) for case in of_metric])),
                *_interval(np.array([_mean(sample) for sample in resampled]), units=int(np.count_nonzero(counts.any(axis=1)))),
                n_valid=int(np.count_nonzero(valid)),
                n_both_empty=sum(both_empty[metric, name] for name in classes),
            )
        )
        result += [
            Aggregate(
                metric,
                name,
                means[index],
                *_spread(of_metric[:, index]),
                *_interval(resampled[:, index], units=int(np.count_nonzero(counts[:, index]))),
                n_valid=int(np.count_nonzero(valid[:, index])),
                n_both_empty=both_empty[metric, name],
            )
            for index, name in enumerate(classes)
        ]
    return {one.key: one for one in result}


def _table(rows: list[Row], metrics: list[str], classes: list[str], case_ids: list[str]) -> np.ndarray:
    """Rows -> values (metrics, cases, classes), NaN where there is none."""
    position = [{name: index for index, name in enumerate(names)} for names in (metrics, case_ids, classes)]
    values = np.full((len(metrics), len(case_ids), len(classes)), np.nan)
    seen = set()
    for row in rows:
        key = (row.metric, row.case_id, row.class_name)
        if key in seen:
            raise ValueError(f"case '{row.case_id}', class '{row.class_name}' has {row.metric} twice")
        seen.add(key)
        values[tuple(index[name] for index, name in zip(position, key, strict=True))] = row.value
    return values


def _per_group(values: np.ndarray, group_of_case: np.ndarray, groups: int) -> np.ndarray:
    """Sum (cases, classes) over the cases of each group: (groups, classes)."""
    return np.stack([np.bincount(group_of_case, column, groups) for column in values.T], axis=1)


def _resamples(units: int, bootstrap: int, seed: int) -> np.ndarray:
    """How often each unit is drawn in each resample: (bootstrap, units)."""
    if not units:
        return np.zeros((0, 0))
    return np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=bootstrap).astype(np.float64)


def _mean(values: np.ndarray) -> float:
    """Mean without NaN; NaN when nothing is left."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def _spread(values: np.ndarray) -> tuple[float, float]:
    """Sample standard deviation and median, without NaN."""
    values = values[~np.isnan(values)]
    return float(values.std(ddof=1)) if values.size > 1 else float("nan"), float(np.median(values)) if values.size else float("nan")


def _interval(resampled: np.ndarray, units: int) -> tuple[float, float]:
    """2.5 and 97.5 % of resampled means; NaN when fewer than two units carry a value."""
    resampled = resampled[~np.isnan(resampled)]
    if units < 2 or not resampled.size:
        return float("nan"), float("nan")
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(low), float(high)


def _divide(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
