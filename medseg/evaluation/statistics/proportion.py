"""Interval of a share."""

from __future__ import annotations

import math

from scipy import stats

from medseg.evaluation.statistics.bootstrap import Interval


def wilson(hits: float, trials: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of hits / trials (JASA 1927): stays within [0, 1] and holds its level even for few trials or rare hits.

    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n) with p = hits / n. Trials are taken as independent: lesions of
    one patient are not quite, so that it is a little too narrow. Hits may be a mean over several runs. NaN without trials.
    """
    if not trials:
        return Interval(math.nan, math.nan, math.nan)
    share, z = hits / trials, float(stats.norm.ppf((1 + level) / 2))
    centre = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    scale = 1 + z * z / trials
    return Interval(share, max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale))
