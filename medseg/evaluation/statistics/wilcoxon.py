"""Wilcoxon's signed-rank test, its effect size, and wins, ties and losses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Wilcoxon:
    """What the ranks of the paired differences say."""

    p: float
    """Two-sided; 1 when nothing differs."""
    effect: float
    """Matched-pairs rank-biserial correlation, in [-1, 1]: 1 when every patient is scored higher; 0 when nothing differs."""


def wilcoxon(differences: np.ndarray) -> Wilcoxon:
    """Signed-rank test of paired differences, one a patient; NaN and zero differences are left out (Wilcoxon's own rule).

    With W+ and W- the sums of the ranks of |d| over d > 0 and d < 0, the effect is (W+ - W-) / (W+ + W-) (Kerby, Compr Psychol 2014).
    Exact without ties up to 50 patients, else the normal approximation (`scipy.stats.wilcoxon`). It assumes that the differences are
    symmetric, and is given for comparison with other papers: decisions rest on the sign-flip and the hierarchical test.
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[~np.isnan(values) & (values != 0)]
    if not values.size:
        return Wilcoxon(1.0, 0.0)
    ranks = stats.rankdata(np.abs(values))
    effect = float((ranks * np.sign(values)).sum() / ranks.sum())
    return Wilcoxon(float(stats.wilcoxon(values).pvalue), effect)


def win_tie_loss(differences: np.ndarray, higher_is_better: bool = True, tie: float = 1e-9) -> tuple[int, int, int]:
    """Patients for whom the first method is better, equal and worse.

    Args:
        differences: First minus second, one a patient; NaN is left out.
        higher_is_better: Else lower is.
        tie: Differences up to this are ties.
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[~np.isnan(values)] * (1 if higher_is_better else -1)
    wins, losses = int(np.count_nonzero(values > tie)), int(np.count_nonzero(values < -tie))
    return wins, values.size - wins - losses, losses
