"""Weights by epoch."""

from __future__ import annotations

import pytest

from medseg.config.schema import WeightSchedule
from medseg.losses.schedules import weight_at


class TestWeightAt:
    def test_a_number_stays(self) -> None:
        assert [weight_at(0.5, epoch) for epoch in (0, 100)] == [0.5, 0.5]

    def test_linear(self) -> None:
        schedule = WeightSchedule("linear", start=1.0, end=0.0, epochs=4)
        assert [weight_at(schedule, epoch) for epoch in range(6)] == [1, 0.75, 0.5, 0.25, 0, 0]

    def test_cosine(self) -> None:
        schedule = WeightSchedule("cosine", start=0.0, end=2.0, epochs=4)
        assert [weight_at(schedule, epoch) for epoch in range(6)] == pytest.approx([0, 0.292893, 1, 1.707107, 2, 2])
