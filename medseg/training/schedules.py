"""Learning-rate factor as a function of progress in [0, 1]; keyword-only parameters are what a config may set."""

from __future__ import annotations

import math


def _warm(progress: float, warmup: float) -> float:
    """Linear ramp over the first `warmup` share of the training, never 0 so that the first step counts."""
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup is a share of the training and must lie in [0, 1), got {warmup}")
    return min(1.0, (progress + 1e-3) / (warmup + 1e-3)) if warmup else 1.0


def constant(progress: float, *, warmup: float = 0.0) -> float:
    """Hold the factor at 1 after the warm-up."""
    return _warm(progress, warmup)


def cosine(progress: float, *, warmup: float = 0.05, final: float = 0.0) -> float:
    """Fall from 1 to `final` along half a cosine (Loshchilov & Hutter, ICLR 2017, Eq. 5, without restarts)."""
    if not 0 <= final <= 1:
        raise ValueError(f"final is a share of the learning rate and must lie in [0, 1], got {final}")
    rising = _warm(progress, warmup)
    done = max(0.0, (progress - warmup) / (1.0 - warmup))
    return rising * (final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done))))


def polynomial(progress: float, *, exponent: float = 0.9, warmup: float = 0.0) -> float:
    """Fall as (1 - progress)^exponent, nnU-Net's schedule at 0.9."""
    if not exponent > 0:
        raise ValueError(f"exponent must be above 0, got {exponent}")
    return _warm(progress, warmup) * max(0.0, 1.0 - progress) ** exponent
