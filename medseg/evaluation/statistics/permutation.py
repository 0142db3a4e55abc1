"""Sign-flip permutation test of a paired difference."""

from __future__ import annotations

import itertools

import numpy as np

EXACT = 15
"""Up to so many patients all signs are tried."""

_CHUNK = 1000


def sign_flip(contributions: np.ndarray, flips: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of the sum of the patients' contributions to a difference of means.

    If two trained models were interchangeable, each patient's contribution could as well have the other sign:
    p = share of sign patterns with |sum_g s_g d_g| >= |sum_g d_g| (Fisher, 1935; Good, 2005, 3.2). Exact over all 2^n patterns for
    n <= 15 patients with a contribution; else from random ones, as (1 + hits) / (1 + flips), which is never 0 (Phipson & Smyth, 2010).
    It holds its level at any n, and assumes independent patients, which is why cases of one patient are flipped together.
    It says nothing of the chance in training.

    Args:
        contributions: (patients,), such as `a.contributions() - b.contributions()`; NaN is left out.
        flips: Random patterns above `EXACT` patients.
        seed: Of the patterns.

    Returns:
        p in (0, 1]; 1 when no patient differs.
    """
    values = np.asarray(contributions, dtype=np.float64)
    values = values[~np.isnan(values) & (values != 0)]
    if not values.size:
        return 1.0
    observed = abs(values.sum())
    reached = observed - 1e-12 * np.abs(values).sum()  # equal sums may differ by rounding
    if values.size <= EXACT:
        patterns = list(itertools.product((-1.0, 1.0), repeat=values.size - 1))
        signs = np.array(patterns).reshape(len(patterns), values.size - 1)
        sums = np.abs(values[0] + signs @ values[1:])  # the other half is these patterns mirrored
        return float(np.mean(sums >= reached))
    generator = np.random.default_rng(seed)
    hits = 0
    for start in range(0, flips, _CHUNK):
        signs = generator.integers(0, 2, size=(min(_CHUNK, flips - start), values.size)) * 2.0 - 1.0
        hits += int(np.count_nonzero(np.abs(signs @ values) >= reached))
    return (1 + hits) / (1 + flips)
