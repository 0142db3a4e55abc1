"""Holm's correction for several tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjusted p-values: all below alpha may be rejected, with a chance of at most alpha that any of them is wrong.

    The i-th smallest of m becomes max over j <= i of min(1, (m - j + 1) p_(j)) (Holm, Scand J Stat 1979). Valid whatever the dependence
    between the tests. NaN stays and does not count.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    values = np.asarray(p_values, dtype=np.float64)
    return holm_rows(values[None])[0]


def holm_rows(p_values: np.ndarray) -> np.ndarray:
    """`holm` of each row of (draws, tests)."""
    order = np.argsort(p_values, axis=1)  # NaN last
    tests = np.count_nonzero(~np.isnan(p_values), axis=1)[:, None]
    factors = np.maximum(tests - np.arange(p_values.shape[1]), 1)
    adjusted = np.minimum(np.maximum.accumulate(np.take_along_axis(p_values, order, axis=1) * factors, axis=1), 1.0)
    result = np.empty_like(p_values)
    np.put_along_axis(result, order, adjusted, axis=1)
    return result
