"""Lesions: which were found, by size, and which were invented."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg.evaluation.report.sizes import Bin, size_bins
from medseg.evaluation.report.source import Source
from medseg.evaluation.statistics import wilson
from medseg.html import Axis, Column, Line, Number, Points, figure, figures, histogram, interval, number, plot, section, table
from medseg.metrics import LesionRow

MOST_POINTS = 1500
"""Lesions in a scatter plot, evenly chosen by size where there are more."""


def lesions(source: Source) -> str:
    """Table and pictures by lesion size."""
    scored = [lesion for lesion in source.lesions if lesion.scored]
    if not scored:
        return ""
    left_out = len(source.lesions) - len(scored)
    rule = source.summary.get("definitions", {}).get("lesion", "")
    note = f"Lesions are connected components: {rule}. Sizes in {source.size_unit}." if rule else f"Sizes in {source.size_unit}."
    if left_out:
        note += f" {left_out} components are below the smallest size that counts, or touch only such ones, and are left out."
    drawn = [_detection(source, scored), *(_scatter(source, scored, name) for name in source.classes[:8]), _false_sizes(source, scored)]
    drawn.append(_per_case(source, scored))
    return section("Lesions", _totals(source, scored), _by_size(source, scored), figures(*drawn), note=note)


def _of(found: Sequence[LesionRow], name: str, side: str) -> list[LesionRow]:
    return [lesion for lesion in found if lesion.class_name == name and lesion.side == side]


def _totals(source: Source, scored: Sequence[LesionRow]) -> str:
    columns = [
        Column("class"),
        Column("lesions", "Of all references together."),
        Column("found"),
        Column("rate", "Found / lesions, all cases pooled, with Wilson's 95 % interval; lesions of one patient are not quite independent."),
        Column("predicted", "Components of all predictions together."),
        Column("false"),
        Column("share true", "Components that are not false / all predicted ones, pooled, with Wilson's 95 % interval."),
        Column("false per case"),
        Column("median lesion Dice", "Of reference lesions with all predicted components that touch them; 0 where there is none.", 3),
    ]
    rows: list[list[Any]] = []
    for name in source.classes:
        reference, predicted = _of(scored, name, "reference"), _of(scored, name, "prediction")
        if not reference and not predicted:
            continue
        found, true = sum(one.matched for one in reference), sum(one.matched for one in predicted)
        false = len(predicted) - true
        dice = float(np.median([one.dice for one in reference])) if reference else math.nan
        cases = max(len(source.per_class(name)), 1)
        rows.append(
            [
                name,
                len(reference),
                found,
                _rate(found, len(reference)),
                len(predicted),
                false,
                _rate(true, len(predicted)),
                false / cases,
                dice,
            ]
        )
    return table(columns, rows, name="lesions", caption="All cases pooled: a case with many lesions counts more here than in the summary.")


def _by_size(source: Source, scored: Sequence[LesionRow]) -> str:
    columns = [
        Column("class"),
        Column(f"size ({source.size_unit})", "From the first number on, below the second."),
        Column("lesions", "In the references."),
        Column("found"),
        Column("rate", "Found / lesions with Wilson's 95 % interval."),
        Column("median Dice", "Of the lesions of this size.", 3),
        Column("false components", "Predicted components of this size that are false."),
    ]
    bins = size_bins([one.size for one in scored])
    rows: list[list[Any]] = []
    for name in source.classes:
        reference, predicted = _of(scored, name, "reference"), _of(scored, name, "prediction")
        for place in bins:
            inside = [one for one in reference if place.holds(one.size)]
            false = sum(place.holds(one.size) and not one.matched for one in predicted)
            if inside or false:
                found = sum(one.matched for one in inside)
                dice = float(np.median([one.dice for one in inside])) if inside else math.nan
                rows.append([name, Number(place.low, place.name), len(inside), found, _rate(found, len(inside)), dice, false])
    return table(columns, rows, name="lesions by size")


def _rate(hits: int, trials: int) -> Number:
    if not trials:
        return Number(None, "-")
    one = wilson(hits, trials)
    return Number(one.estimate, f"{number(one.estimate, 2)} {interval(one.low, one.high, 2)}")


def _detection(source: Source, scored: Sequence[LesionRow]) -> str:
    bins = size_bins([one.size for one in scored if one.side == "reference"], per_decade=2)
    layers = []
    for colour, name in enumerate(source.classes[:7]):
        reference = _of(scored, name, "reference")
        points = [_point(reference, place) for place in bins]
        shown = [point for point in points if point is not None]
        if shown:
            x, y, low, high = zip(*shown, strict=True)
            layers.append(Line(name, x, y, low, high, dots=True, colour=colour))
    axes = Axis(f"lesion size ({source.size_unit})", log=True), Axis("share found", low=0.0, high=1.0)
    return figure(plot("Detection rate by lesion size", layers, *axes), "Two bins a factor of ten; band: Wilson's 95 % interval.")


def _point(reference: Sequence[LesionRow], place: Bin) -> tuple[float, float, float, float] | None:
    inside = [one for one in reference if place.holds(one.size)]
    if not inside:
        return None
    one = wilson(sum(lesion.matched for lesion in inside), len(inside))
    return place.middle, one.estimate, one.low, one.high


def _scatter(source: Source, scored: Sequence[LesionRow], name: str) -> str:
    reference = sorted(_of(scored, name, "reference"), key=lambda one: one.size)
    if not reference:
        return ""
    total = len(reference)
    reference = [reference[at] for at in np.unique(np.linspace(0, total - 1, MOST_POINTS).round().astype(int))]
    layers = [
        _points("found", [one for one in reference if one.matched], 0),
        _points("missed", [one for one in reference if not one.matched], 1),
    ]
    title = f"{name}: Dice of each lesion" if len(source.classes) > 1 else "Dice of each lesion"
    chart = plot(title, layers, Axis(f"lesion size ({source.size_unit})", log=True), Axis("lesion Dice", low=0.0, high=1.0))
    shown = "" if total == len(reference) else f", {len(reference)} of them drawn"
    return figure(chart, f"n = {total} reference lesions{shown}. A lesion with all predicted components that touch it.")


def _points(name: str, found: Sequence[LesionRow], colour: int) -> Points:
    tips = [f"{one.case_id}, lesion {one.lesion}: size {number(one.size)}, Dice {one.dice:.3f}" for one in found]
    return Points(name, [one.size for one in found], [one.dice for one in found], tips, hollow=colour == 1, colour=colour)


def _false_sizes(source: Source, scored: Sequence[LesionRow]) -> str:
    false = [one.size for one in scored if one.side == "prediction" and not one.matched]
    return figure(histogram("Size of false components", false, source.size_unit, log=True), "All classes. The line marks the median.")


def _per_case(source: Source, scored: Sequence[LesionRow]) -> str:
    counts = dict.fromkeys(source.cases, 0)
    for one in scored:
        if one.side == "prediction" and not one.matched:
            counts[one.case_id] = counts.get(one.case_id, 0) + 1
    return figure(histogram("False components a case", list(counts.values())), "All classes together.")
