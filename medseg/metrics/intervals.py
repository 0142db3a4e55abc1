"""95 % intervals of a mean over cases that come in clusters: of a patient, who is the unit that was sampled."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from scipy import stats

FEW = 30
"""Below so many units the percentile bootstrap covers less than it says (0.84 to 0.90 at 15 to 30), and a t interval stands beside it."""


class Clusters:
    """The cases of one table, by cluster.

    Args:
        groups: The group of each case.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """

    def __init__(self, groups: Sequence[str], resamples: int, seed: int) -> None:
        names, self._group_of_case = np.unique(groups, return_inverse=True)
        self._size, self._resamples, self._seed = len(names), resamples, seed

    def bootstrap_interval(self, values: np.ndarray) -> tuple[float, float]:
        """Percentile interval of the mean over classes of the means over cases; whole clusters are drawn (Efron & Tibshirani 1993, ch. 13).

        Shape:
            values (cases, classes), NaN where there is none.

        Returns:
            Both ends; NaN when fewer than two clusters carry a value, or without resamples.
        """
        counts = self._per_cluster(~np.isnan(values))
        if np.count_nonzero(counts.any(axis=1)) < 2 or not self._resamples:
            return float("nan"), float("nan")
        infinite = self._per_cluster(np.isinf(values))
        sums = self._weights @ self._per_cluster(np.nan_to_num(values, nan=0.0, posinf=0.0))
        means = _divide(sums, self._weights @ counts)
        means[self._weights @ infinite > 0] = np.inf
        valid = ~np.isnan(means)
        drawn = valid.any(axis=1)
        resampled = np.where(valid, means, 0.0).sum(axis=1)[drawn] / valid.sum(axis=1)[drawn]
        method: Literal["linear", "higher"] = "linear" if np.isfinite(resampled).all() else "higher"
        low, high = np.percentile(resampled, [2.5, 97.5], method=method)
        return float(low), float(high)

    def t_interval(self, values: np.ndarray) -> tuple[float, float]:
        r"""Student's t interval of the same mean, with the cluster-robust standard error.

        $s^2 = \frac{G}{G - 1} \sum_g u_g^2$ with $u_g$ the mean over classes of $\sum_{i \in g} (x_i - m) / n$; without clusters that is
        the usual $sd^2 / n$ (Liang & Zeger, Biometrika 1986).

        Shape:
            values (cases, classes), NaN where there is none.

        Returns:
            Both ends; NaN unless 2 to 29 clusters carry a value, and for infinite values.
        """
        valid = ~np.isnan(values)
        used = valid.any(axis=0)
        values, valid = values[:, used], valid[:, used]
        units = int(np.count_nonzero(self._per_cluster(valid).any(axis=1))) if used.any() else 0
        if not 2 <= units < FEW or np.isinf(values).any():
            return float("nan"), float("nan")
        means = np.nanmean(values, axis=0)
        influence = self._per_cluster(np.where(valid, values - means, 0.0)) / valid.sum(axis=0)
        error = np.sqrt(units / (units - 1) * (influence.mean(axis=1) ** 2).sum())
        half, mean = float(stats.t.ppf(0.975, units - 1) * error), float(means.mean())
        return mean - half, mean + half

    @cached_property
    def _weights(self) -> np.ndarray:
        """How often each cluster is drawn in each resample: (resamples, clusters)."""
        draws = np.random.default_rng(self._seed).multinomial(self._size, np.full(self._size, 1 / self._size), size=self._resamples)
        return draws.astype(np.float64)

    def _per_cluster(self, values: np.ndarray) -> np.ndarray:
        """Sum (cases, classes) over the cases of each cluster: (clusters, classes)."""
        return np.stack([np.bincount(self._group_of_case, column, self._size) for column in values.T], axis=1)


def _divide(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
