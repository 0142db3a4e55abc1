"""Surfaces: how much of them lies within a tolerance."""

from __future__ import annotations

import math

from medseg.evaluation.report.source import Source
from medseg.html import Axis, Line, figure, figures, plot, section


def surfaces(source: Source) -> str:
    """Mean normalised surface Dice against its tolerance, where there are at least two tolerances."""
    names = [name for name in source.metrics if name.startswith("nsd_") and not name.startswith("nsd_surfel")]
    tolerances = sorted((float(name.removeprefix("nsd_").removesuffix("mm")), name) for name in names)
    if len(tolerances) < 2:
        return ""
    layers = []
    for colour, class_name in enumerate(source.classes[:7]):
        found = [(tolerance, source.aggregate(name, class_name)) for tolerance, name in tolerances]
        found = [(tolerance, one) for tolerance, one in found if one.get("mean") is not None]
        if found:
            x, ones = zip(*found, strict=True)
            low, high = ([_known(one.get(key)) for one in ones] for key in ("low", "high"))
            layers.append(Line(class_name, x, [float(one["mean"]) for one in ones], low, high, dots=True, colour=colour))
    axes = Axis(f"tolerance ({source.length_unit})", low=0.0), Axis("normalised surface Dice", low=0.0, high=1.0)
    chart = plot("Surface within tolerance", layers, *axes)
    note = (
        f"Share of both surfaces that lies within the tolerance of the other, in {source.length_unit}; mean over cases, band: 95 % "
        "interval. The tolerance that matters is the distance by which two readers differ."
    )
    return section("Surface distance", figures(figure(chart, f"n = {source.summary['cases']} cases.")), note=note)


def _known(value: float | None) -> float:
    return math.nan if value is None else float(value)
