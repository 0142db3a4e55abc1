"""Axes: where a value lies, and which values are marked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from medseg.html.text import number


@dataclass(frozen=True)
class Axis:
    """What an axis shows.

    Args:
        name: With its unit: `volume (mL)`.
        log: Whether equal steps are equal factors; values not above 0 are then left out.
        low: Its lower end; None: the smallest value.
        high: Its upper end; None: the largest.
        ticks: The values to mark; empty: chosen.
        whole: Whether only whole numbers are marked.
    """

    name: str = ""
    log: bool = False
    low: float | None = None
    high: float | None = None
    ticks: tuple[float, ...] = ()
    whole: bool = False

    def shows(self, value: float) -> bool:
        """Whether a value has a place at all."""
        return math.isfinite(value) and (value > 0 or not self.log)

    def scale(self, values: Iterable[float], start: float, stop: float) -> Scale:
        """Fit the axis to values, to be drawn from pixel `start` to pixel `stop`."""
        known = [value for value in values if self.shows(value)]
        low = self.low if self.low is not None else min(known, default=1.0 if self.log else 0.0)
        high = self.high if self.high is not None else max(known, default=1.0)
        if not high > low:
            # One value only: it stands in the middle.
            low, high = (low / 2, low * 2) if self.log else (low - (abs(low) * 0.1 or 0.5), low + (abs(low) * 0.1 or 0.5))
        elif not self.log:
            gap = 0.04 * (high - low)
            low, high = (low - gap if self.low is None else low), (high + gap if self.high is None else high)
        else:
            gap = (high / low) ** 0.04
            low, high = (low / gap if self.low is None else low), (high * gap if self.high is None else high)
        return Scale(self, low, high, start, stop)


@dataclass(frozen=True)
class Scale:
    """An axis with its ends, in values and in pixels."""

    axis: Axis
    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """The pixel of a value, cut off at the ends."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.axis.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (self.stop - self.start) * (value - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """The marked values and their texts."""
        if self.axis.ticks:
            return [(value, number(value)) for value in self.axis.ticks if self.low <= value <= self.high]
        values = self._decades() if self.axis.log else self._steps()
        texts = [number(value) for value in values]
        if len(set(texts)) < len(texts):  # they differ by less than three digits show
            texts = [f"{value:.7g}" for value in values]
        return list(zip(values, texts, strict=True))

    def _steps(self) -> list[float]:
        """About five of 1, 2 or 5 times a power of ten."""
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = min((factor * power for factor in (1, 2, 5, 10)), key=lambda step: abs(step - rough))
        if self.axis.whole:
            step = max(1.0, round(step))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(at * step, 12) for at in range(first, last + 1)]

    def _decades(self) -> list[float]:
        """Powers of ten; with 2 and 5 times them where these are few."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = max(1, (last - first) // 6)
        tens = [10.0**power for power in range(first, last + 1, every)]
        inside = [value for value in tens if self.low <= value <= self.high]
        if len(inside) > 2:
            return inside
        for factors in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
            fine = [factor * ten for ten in tens for factor in factors if self.low <= factor * ten <= self.high]
            if len(fine) > 2:
                break
        return fine if len(fine) > 1 else self._steps()
