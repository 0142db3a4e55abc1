"""Bins of lesion size: the same for every report in the same unit, so that reports can be laid side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from medseg.html import number


@dataclass(frozen=True)
class Bin:
    """Lesions from `low` on, below `high`."""

    low: float
    high: float

    def holds(self, size: float) -> bool:
        """Whether a lesion belongs here."""
        return self.low <= size < self.high

    @property
    def middle(self) -> float:
        """Geometric."""
        return math.sqrt(self.low * self.high)

    @property
    def name(self) -> str:
        """`10 to 32`."""
        return f"{number(self.low)} to {number(self.high)}"


def size_bins(sizes: Sequence[float], per_decade: int = 1) -> list[Bin]:
    """Bins between powers of ten, or of their roots, that cover all sizes.

    Args:
        sizes: Above 0.
        per_decade: Bins a factor of ten.
    """
    sizes = [size for size in sizes if size > 0]
    if not sizes:
        return []
    # A little slack, so that 1000 is 10^3 and not just below.
    first = math.floor(math.log10(min(sizes)) * per_decade + 1e-9)
    last = math.floor(math.log10(max(sizes)) * per_decade + 1e-9)
    edges = [10 ** (at / per_decade) for at in range(first, last + 2)]
    edges = [round(edge, 12) if edge < 1 else round(edge, 6) for edge in edges]
    return [Bin(low, high) for low, high in pairwise(edges)]
