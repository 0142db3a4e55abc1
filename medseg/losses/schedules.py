"""Weights of terms as functions of the epoch."""

from __future__ import annotations

import math

from medseg.config.schema import WeightSchedule


def weight_at(weight: float | WeightSchedule, epoch: int) -> float:
    """The weight in an epoch, counted from 0: `start` there, `end` from epoch `epochs` on.

    >>> weight_at(WeightSchedule("linear", start=0.0, end=1.0, epochs=4), epoch=1)
    0.25
    >>> weight_at(WeightSchedule("cosine", start=1.0, end=0.0, epochs=4), epoch=2)
    0.5
    """
    if not isinstance(weight, WeightSchedule):
        return float(weight)
    progress = min(max(epoch, 0) / weight.epochs, 1.0)
    if weight.schedule == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    return weight.start + (weight.end - weight.start) * progress
