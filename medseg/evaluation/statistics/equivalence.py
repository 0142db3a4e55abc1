"""Whether two methods are practically equal."""

from __future__ import annotations

from medseg.evaluation.statistics.bootstrap import Interval

LEVEL = 0.9
"""Of the interval of the difference: two one-sided tests at 5 % each."""


def practically_equal(difference: Interval, margin: float) -> bool:
    """Whether the 90 % interval of a difference lies within the margin: -margin < low and high < margin.

    That is the outcome of two one-sided tests (TOST) at 5 % each (Schuirmann, J Pharmacokinet Biopharm 1987): a missing difference is
    *shown*, which a large p-value does not do. The margin must be declared before the runs are seen. NaN ends are never equal.

    Args:
        difference: Its 90 % interval.
        margin: Largest difference that does not matter, in the metric's unit.
    """
    return -margin < difference.low and difference.high < margin
