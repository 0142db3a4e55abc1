from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from medseg.html import Axis, Estimate, Line, Points, Rule, boxes, forest, heat_map, plot


def dots(svg: str) -> list[tuple[float, float]]:
    return [(float(one.get("cx", 0)), float(one.get("cy", 0))) for one in ElementTree.fromstring(svg).iter("circle")]


def paths(svg: str, kind: str) -> list[list[tuple[float, float]]]:
    found = [one.get("d", "") for one in ElementTree.fromstring(svg).iter("path") if kind in one.get("class", "").split()]
    return [[tuple(map(float, pair.split())) for pair in re.split("[ML]", d.rstrip("Z")) if pair] for d in found]  # type: ignore[misc]


def texts(svg: str) -> list[str]:
    return [one.text or "" for one in ElementTree.fromstring(svg).iter("text")]


class TestAxis:
    def test_a_logarithmic_axis_gives_equal_room_to_equal_factors(self) -> None:
        scale = Axis(log=True, low=1, high=100).scale([], 0, 100)
        assert scale(10) == pytest.approx(50)

    def test_values_beyond_the_ends_are_cut_off(self) -> None:
        scale = Axis(low=0, high=1).scale([], 0, 100)
        assert (scale(-5), scale(0.25), scale(7)) == (0, 25, 100)

    @pytest.mark.parametrize("log", [False, True])
    @pytest.mark.parametrize("values", [[3.0, 3.0], [2.0, 2.1], [1.0, 1e6], [1e-7, 3e-7], []])
    def test_every_axis_has_ticks_within_its_ends(self, values: list[float], log: bool) -> None:
        scale = Axis(log=log).scale(values, 0, 100)
        ticks = [value for value, _ in scale.ticks()]
        assert len(ticks) >= 2
        assert all(scale.low * (1 - 1e-9) <= value <= scale.high * (1 + 1e-9) for value in ticks)
        assert len({text for _, text in scale.ticks()}) == len(ticks)

    def test_epochs_are_whole(self) -> None:
        assert all(value == int(value) for value, _ in Axis(whole=True).scale([1, 3], 0, 100).ticks())

    def test_chosen_ticks_are_kept(self) -> None:
        assert [text for _, text in Axis(low=0, high=2, ticks=(0.125, 1, 5)).scale([], 0, 1).ticks()] == ["0.125", "1"]


class TestPlot:
    def test_points_stand_where_their_values_are(self) -> None:
        (a, b, c) = dots(plot("t", [Points("", [0, 1, 2], [0, 1, 2])], Axis(), Axis()))
        assert b[0] == pytest.approx((a[0] + c[0]) / 2, abs=0.1)
        assert b[1] == pytest.approx((a[1] + c[1]) / 2, abs=0.1)
        assert a[1] > c[1]

    def test_a_line_breaks_where_a_value_is_missing(self) -> None:
        runs = paths(plot("t", [Line("a", range(5), [1, 2, math.nan, 3, 4])], Axis(), Axis()), "curve")
        assert [len(run) for run in runs] == [2, 2]

    def test_what_has_no_logarithm_is_left_out(self) -> None:
        assert len(dots(plot("t", [Points("", [0, 1, 10], [1, 1, 1])], Axis(log=True), Axis()))) == 2

    def test_a_band_goes_forth_and_back(self) -> None:
        (band,) = paths(plot("t", [Line("a", [0, 1], [1, 2], low=[0, 1], high=[2, 3])], Axis(), Axis()), "band")
        assert len(band) == 4
        assert band[0][0] == band[3][0]

    def test_steps_keep_their_height(self) -> None:
        (run,) = paths(plot("t", [Line("a", [0, 1], [1, 2], steps=True)], Axis(), Axis()), "curve")
        assert run[0][1] == run[1][1]
        assert run[1][0] == run[2][0]

    def test_hovering_says_what_a_point_is(self) -> None:
        assert "<title>case &lt;7&gt;</title>" in plot("t", [Points("", [1], [1], ["case <7>"])], Axis(), Axis())
        assert "<title>a: 2 at 1</title>" in plot("t", [Line("a", [1], [2], dots=True)], Axis(), Axis())

    def test_whiskers_are_drawn(self) -> None:
        (whisker,) = paths(plot("t", [Points("", [1], [2], low=[1], high=[3])], Axis(), Axis()), "whisker")
        assert whisker[0][1] > whisker[1][1]

    def test_a_legend_names_several_series_and_not_one(self) -> None:
        one, two = Line("first", [0, 1], [0, 1]), Line("second", [0, 1], [1, 0])
        assert "first" not in texts(plot("t", [one], Axis(), Axis()))
        assert {"first", "second"} <= set(texts(plot("t", [one, two], Axis(), Axis())))
        assert "first" not in texts(plot("t", [one, two], Axis(), Axis(), legend=False))

    def test_series_differ_in_more_than_colour(self) -> None:
        svg = plot("t", [Line(str(at), [0, 1], [0, at]) for at in range(3)], Axis(), Axis(), legend=False)
        looks = [one.get("class") for one in ElementTree.fromstring(svg).iter("path")]
        assert looks == ["c0 curve", "c1 curve dash1", "c2 curve dash2"]

    def test_rules_are_level_upright_or_diagonal(self) -> None:
        svg = plot("t", [Rule("a", y=1), Rule("b", x=1), Rule(), Rule(y=0, solid=True), Points("", [0, 2], [0, 2])], Axis(), Axis())
        lines = [one for one in ElementTree.fromstring(svg).iter("line") if one.get("class") == "rule"]
        assert [(one.get("x1") == one.get("x2"), one.get("y1") == one.get("y2")) for one in lines] == [
            (False, True),
            (True, False),
            (False, False),
        ]
        assert {"a", "b"} <= set(texts(svg))

    def test_size_and_axis_names_are_kept(self) -> None:
        svg = plot("t", [Points("", [1, 2], [1, 2])], Axis("volume", log=True), Axis("n"), width=500, height=200)
        assert 'width="500" height="200"' in svg
        assert {"volume, log", "n"} <= set(texts(svg))

    def test_nothing_to_draw_is_said(self) -> None:
        assert "nothing to show" in plot("t", [Points("", [math.nan], [1])], Axis(), Axis())


class TestBoxes:
    def test_the_box_is_that_of_the_quartiles(self) -> None:
        svg = boxes("t", {"a": [0.0, 1.0, 2.0, 3.0, 4.0]}, Axis(low=0, high=4), height=300)
        assert "median 2, quartiles 1 and 3, n = 5" in svg
        assert 'height="300"' in svg

    def test_values_that_are_missing_keep_their_names_in_place(self) -> None:
        svg = boxes("t", {"a": [1.0, math.nan, 3.0]}, Axis(), names=["x", "y", "z"])
        assert "<title>z: 3</title>" in svg
        assert "y:" not in svg

    def test_the_same_cases_are_joined(self) -> None:
        groups = {"a": [1.0, 2.0, math.nan], "b": [2.0, 1.0, 1.0]}
        assert len(paths(boxes("t", groups, Axis(), joined=True), "joint")) == 2
        assert not paths(boxes("t", groups, Axis()), "joint")

    def test_nothing_to_draw_is_said(self) -> None:
        assert "nothing to show" in boxes("t", {"a": [math.nan]}, Axis())
        assert "n = 0" in boxes("t", {"a": [], "b": [1.0, 2.0]}, Axis())


class TestForest:
    def test_estimates_stand_between_their_ends(self) -> None:
        svg = forest("t", [Estimate("a", 1.0, 0.5, 2.0), Estimate("b", 0.0)], Axis("difference"), zero=0.0, margin=0.25)
        (low, high), *_ = paths(svg, "whisker")
        assert low[0] < dots(svg)[0][0] < high[0]
        assert "1 [0.5, 2]" in texts(svg)
        assert len([one for one in ElementTree.fromstring(svg).iter("rect") if "band" in one.get("class", "")]) == 1

    def test_an_undefined_one_is_named(self) -> None:
        svg = forest("t", [Estimate("a", math.nan), Estimate("b", 1.0, text="one")], Axis())
        assert {"a", "b", "one"} <= set(texts(svg))
        assert "nothing to show" in forest("t", [Estimate("a", math.nan)], Axis())


class TestHeatMap:
    def test_higher_values_are_darker_and_all_are_written(self) -> None:
        svg = heat_map("t", ["r"], ["a", "b", "c"], [[0.0, 1.0, math.nan]])
        cells = list(ElementTree.fromstring(svg).iter("rect"))
        assert [one.get("fill-opacity") for one in cells] == ["0.00", "0.55", None]
        assert {"0", "1", "-"} <= set(texts(svg))

    def test_ends_and_texts_can_be_given(self) -> None:
        svg = heat_map("t", ["r"], ["a"], [[0.5]], low=0.0, high=1.0, texts=[["half"]])
        assert 'fill-opacity="0.28"' in svg
        assert "half" in texts(svg)

    def test_nothing_to_draw_is_said(self) -> None:
        assert "nothing to show" in heat_map("t", ["r"], ["a"], [[math.nan]])
