"""Who gets how many patches of each batch, so that shares are exact all along a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction


class Shares:
    r"""Seats of a batch for each of several shares $f_j$ that add up to 1, batch after batch.

    In each batch of $B$ share $j$ has $\lfloor B f_j \rfloor$ or $\lceil B f_j \rceil$ seats, and in the first $t$ batches together
    $\lfloor t B f_j \rfloor$ or $\lceil t B f_j \rceil$: never a whole patch more or less than its due, whatever the shares and
    the batch size. (Rounding in each batch instead would give a share of 1/3 nothing at all where the batch size is 1.)

    The seats that are left after rounding down are given as in fair scheduling of periodic tasks: a share may have its $k$-th of them from
    batch $\lfloor (k-1)/w \rfloor$ on and must have it before batch $\lceil k/w \rceil$, with $w$ the fraction that rounding cut off.
    The most urgent come first, equally urgent ones by the rule of the algorithm PD², which always meets all deadlines.

    Shares are read as fractions with a denominator of up to a million, so that 0.3333333 is a third. Seats repeat after the
    least common denominator of all $B f_j$ batches, and are worked out no further than they are asked for.

    Args:
        fractions: At least one, in [0, 1], taken in proportion to their sum.
        batch_size: Seats of a batch.

    Example:
        >>> shares = Shares([0.5, 0.25, 0.25], batch_size=1)
        >>> [shares.seats(batch) for batch in range(4)]
        [(1, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1)]

    Source:
        Anderson and Srinivasan, "Mixed Pfair/ERfair scheduling of asynchronous periodic tasks", Journal of Computer and System
        Sciences 68 (2004).
    """

    def __init__(self, fractions: Sequence[float], batch_size: int) -> None:
        exact = [Fraction(fraction).limit_denominator(10**6) for fraction in fractions]
        due = [batch_size * fraction / sum(exact) for fraction in exact]
        self._sure = tuple(math.floor(share) for share in due)
        self._open = batch_size - sum(self._sure)
        self._period = math.lcm(*(share.denominator for share in due))
        self._parts = [int((share - sure) * self._period) for share, sure in zip(due, self._sure, strict=True)]
        """What rounding down cut off each share, in parts of `_period`."""
        self._given = [0] * len(due)
        self._known: list[tuple[int, ...]] = []
        self._rows: dict[tuple[int, ...], tuple[int, ...]] = {}  # a long run has millions of batches, of few kinds

    def seats(self, batch: int) -> tuple[int, ...]:
        """Number of seats of each share in a batch, counted from 0."""
        if not self._open:
            return self._sure
        batch %= self._period
        while len(self._known) <= batch:
            self._add()
        return self._known[batch]

    def _add(self) -> None:
        now, period = len(self._known), self._period
        ready = [index for index, part in enumerate(self._parts) if part and self._given[index] * period // part <= now]
        chosen = sorted(ready, key=self._urgency)[: self._open]
        for index in chosen:
            self._given[index] += 1
        row = tuple(sure + (index in chosen) for index, sure in enumerate(self._sure))
        self._known.append(self._rows.setdefault(row, row))

    def _urgency(self, index: int) -> tuple[int, bool, int]:
        """Sorts by PD²: the deadline, then whether the next seat may come only after it, then how long a chain of tight deadlines is."""
        part, period, next_one = self._parts[index], self._period, self._given[index] + 1
        deadline = _up(next_one * period, part)
        chain = _up(_up(deadline * (period - part), period) * period, period - part) if 2 * part >= period else 0
        return deadline, next_one * period % part == 0, -chain


def _up(number: int, divisor: int) -> int:
    """The quotient, rounded up."""
    return -(-number // divisor)
