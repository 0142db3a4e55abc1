from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from medseg.html import bars, histogram


class TestFigures:
    def heights(self, svg: str) -> list[float]:
        return [float(bar.get("height", 0)) for bar in ElementTree.fromstring(svg).iter("rect")]

    def test_bars_are_as_high_as_their_counts(self) -> None:
        heights = self.heights(histogram("x", [0] * 10 + [1] * 5, bins=2))
        assert heights[0] == pytest.approx(2 * heights[1], abs=0.1)

    def test_log_bins_grow_by_factors(self) -> None:
        values = 10.0 ** np.arange(4)
        assert len(self.heights(histogram("x", values, log=True, bins=4))) == 4
        assert len(self.heights(histogram("x", values, bins=4))) == 2

    @pytest.mark.parametrize(("values", "text"), [([], "none"), ([3.0, 3.0], "3 mm in all 2"), ([0.0, np.nan], "none")])
    def test_nothing_to_draw_is_said(self, values: list[float], text: str) -> None:
        assert text in histogram("x", values, "mm", log=True)

    def test_named_bars_show_numbers(self) -> None:
        svg = bars("x", {"a": 2, "b": 1, "none": 0})
        widths = [float(bar.get("width", 0)) for bar in ElementTree.fromstring(svg).iter("rect")]
        assert widths == [160, 80, 0]
        logged = [float(bar.get("width", 0)) for bar in ElementTree.fromstring(bars("x", {"a": 10, "b": 1}, log=True)).iter("rect")]
        assert logged == [160, 80]
        assert "none" in bars("x", {"a": 0})
