"""Rankings of methods, and how they hold when the sample is drawn anew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from medseg.evaluation.statistics.holm import holm_rows


@dataclass(frozen=True)
class Ranking:
    """Ranks of all methods by one rule, 1 the best; methods that tie share the best of their ranks."""

    ranks: np.ndarray
    """(methods,), from all data."""
    frequency: np.ndarray
    """(methods, ranks): share of the resamples in which a method got a rank."""
    low: np.ndarray
    """(methods,): 2.5 % of its ranks over the resamples."""
    high: np.ndarray
    """(methods,): 97.5 %."""
    tau: float
    """Mean of Kendall's tau-b between the ranks and each resample's: 1 when the order never changes; NaN when all methods tie."""

    @classmethod
    def of(cls, ranks: np.ndarray, resampled: np.ndarray) -> Ranking:
        """From ranks (methods,) and resampled ranks (resamples, methods)."""
        frequency = np.stack([(resampled == rank).mean(axis=0) for rank in range(1, len(ranks) + 1)], axis=1)
        low, high = np.quantile(resampled, [0.025, 0.975], axis=0, method="inverted_cdf")
        return cls(ranks, frequency, low, high, _mean_tau(ranks, resampled))


def rank_by_mean(means: np.ndarray, higher_is_better: bool) -> np.ndarray:
    """Aggregate, then rank: ranks of the means, (draws, methods)."""
    ranks: np.ndarray = stats.rankdata(np.round(-means if higher_is_better else means, 12), method="min", axis=1)
    return ranks.astype(np.int64)


def rank_by_tests(p_values: np.ndarray, differences: np.ndarray, higher_is_better: bool, alpha: float = 0.05) -> np.ndarray:
    """Test, then rank: by how many others a method beats, (draws, methods) (challengeR: Wiesenfarth et al., Sci Rep 2021).

    A method beats another when it is better and the pair's two-sided p-value is below alpha after Holm's correction over all pairs.
    Methods that no test tells apart share a rank, so that a small gap of means does not make an order.

    Args:
        p_values: (draws, pairs), uncorrected, of the pairs in the order of `numpy.triu_indices(methods, 1)`.
        differences: (draws, pairs): first minus second.
        higher_is_better: Else lower is.
        alpha: Level of all tests together.
    """
    pairs = p_values.shape[1]
    methods = round((1 + np.sqrt(1 + 8 * pairs)) / 2)
    first, second = np.triu_indices(methods, 1)
    beaten = holm_rows(p_values) < alpha
    ahead = (differences > 0) == higher_is_better
    wins = np.zeros((len(p_values), methods))
    for pair in range(pairs):
        wins[:, first[pair]] += beaten[:, pair] & ahead[:, pair]
        wins[:, second[pair]] += beaten[:, pair] & ~ahead[:, pair]
    ranks: np.ndarray = stats.rankdata(-wins, method="min", axis=1)
    return ranks.astype(np.int64)


def rank_by_case_ranks(values: np.ndarray, weights: np.ndarray, higher_is_better: bool) -> np.ndarray:
    """Rank, then aggregate: the methods in each case (ties share the mean rank), then their mean ranks, (draws, methods).

    Robust against a few cases with extreme values, and blind to how large a gap is.

    Args:
        values: (draws or 1, cases, methods); NaN in a case leaves it out.
        weights: (draws, cases): how often each case counts.
        higher_is_better: Else lower is.
    """
    used = ~np.isnan(values).any(axis=2)
    ranks = stats.rankdata(np.round(np.nan_to_num(-values if higher_is_better else values), 12), axis=2)
    weights = weights * used
    total = np.einsum("dc,dcm->dm", weights, np.broadcast_to(ranks, (len(weights), *ranks.shape[1:])))
    mean = total / np.maximum(weights.sum(axis=1, keepdims=True), 1e-30)
    return rank_by_mean(mean, higher_is_better=False)


def _mean_tau(ranks: np.ndarray, resampled: np.ndarray) -> float:
    """Mean of Kendall's tau-b (Biometrika 1945); a resample in which all methods tie counts 0."""
    first, second = np.triu_indices(len(ranks), 1)
    full = np.sign(ranks[first] - ranks[second])
    drawn = np.sign(resampled[:, first] - resampled[:, second])
    norm = np.sqrt(np.count_nonzero(full) * np.count_nonzero(drawn, axis=1).astype(np.float64))
    if not np.count_nonzero(full):
        return float("nan")
    return float(np.divide(drawn @ full, norm, out=np.zeros(len(drawn)), where=norm > 0).mean())
