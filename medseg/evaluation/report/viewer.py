"""One class of one case to look at: slices with what was found, missed and invented."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape

import numpy as np

from medseg.evaluation.report.picture import area, grey, jpeg, outline, window
from medseg.evaluation.report.slices import Opens, View
from medseg.html import Markup

_SHAPES = {2: ((2400, 82), (1400, 82), (1000, 80), (720, 78), (480, 72), (320, 65)), 3: ((512, 85), (384, 80), (288, 75), (192, 70))}
"""Longest side and JPEG quality, tried in turn until the slices fit."""
_LAYERS = ("tp", "fp", "fn", "ref", "pred")
_SIDES = ("left", "right", "top", "bottom")
_STAGE = 340.0


@dataclass(frozen=True)
class Made:
    """The HTML of a viewer and what a reader must know of it."""

    html: Markup
    window: str
    slices: int
    of: int


def make_viewer(view: View, key: str, caption: str, channels: tuple[int, ...], budget: int, opens: Opens = "error") -> Made:
    """Draw a case.

    Args:
        view: Its slices.
        key: The id of the element.
        caption: Finished HTML.
        channels: One channel to show in grey, or three as colours.
        budget: Bytes that it may take; slices are made smaller, then fewer, until they fit.
        opens: At which slice it opens: that of the largest area of error or of the reference.
    """
    chosen, first = view.choose(opens)
    ends, rule = _window(view, channels)
    planes = [(at, _masks(view, at)) for at in chosen]
    slices: list[dict[str, str]] = []
    for longest, quality in _SHAPES[view.canonical.spatial_dims]:
        slices = [{**masks, **_scan(view, at, channels, ends, longest, quality), "name": _name(view, at)} for at, masks in planes]
        if sum(_size(one) for one in slices) <= budget:
            break
    while len(slices) > 1 and sum(_size(one) for one in slices) > budget:
        keep = range(first % 2, len(slices), 2)
        slices, first = [slices[at] for at in keep], first // 2
    return Made(Markup(_html(view, key, caption, slices, first)), rule, len(slices), view.count)


def _window(view: View, channels: tuple[int, ...]) -> tuple[tuple[float, float], str]:
    if view.image is None:
        return (0.0, 1.0), ""
    if len(channels) == 3 and view.image.min() >= 0 and 1 < view.image.max() <= 255:
        return (0.0, 255.0), "colours as they are"
    low, high, rule = window(view.image[list(channels)])
    return (low, high), rule


def _masks(view: View, at: int) -> dict[str, str]:
    prediction, reference = view.cut(view.prediction, at), view.cut(view.reference, at)
    areas = {"tp": prediction & reference, "fp": prediction & ~reference, "fn": reference & ~prediction}
    return {**{name: area(mask) for name, mask in areas.items()}, "ref": outline(reference), "pred": outline(prediction)}


def _scan(view: View, at: int, channels: tuple[int, ...], ends: tuple[float, float], longest: int, quality: int) -> dict[str, str]:
    if view.image is None:
        return {}
    plane = view.cut(view.image[list(channels)], at)
    return {"scan": jpeg(grey(plane if len(channels) == 3 else plane[0], *ends), longest, quality)}


def _name(view: View, at: int) -> str:
    return "" if view.axis is None else f"slice {view.number(at)} (0-{view.count - 1})"


def _size(slice_: dict[str, str]) -> int:
    return sum(map(len, slice_.values()))


def _html(view: View, key: str, caption: str, slices: list[dict[str, str]], first: int) -> str:
    shown = slices[first]
    height, width = view.cut(view.reference, 0).shape
    tall, wide = height * view.pixel[0], width * view.pixel[1]
    label = (
        f"{view.plane} slices, arrow keys move, space hides the overlay" if view.axis is not None else "picture, space hides the overlay"
    )
    scan = f'<img alt="" src="{shown["scan"]}">' if "scan" in shown else ""
    groups = {"colours": ("tp", "fp", "fn"), "reference": ("ref",), "prediction": ("pred",)}
    layers = ""
    for group, names in groups.items():
        for name in names:
            if group == "reference":  # white needs a dark edge on bright ground
                layers += f'<path class="halo {group}" data-of="{name}" d="{shown[name]}"/>'
            look = name if group == "colours" else f"of-{name}"
            layers += f'<path class="{look} {group}" data-of="{name}" d="{shown[name]}"/>'
    sides = "".join(f'<span class="side {place}">{side}</span>' for place, side in zip(_SIDES, view.sides, strict=True) if side)
    slider = ""
    if len(slices) > 1:
        slider = f'<input type="range" min="0" max="{len(slices) - 1}" value="{first}" aria-label="slice" aria-valuetext="{shown["name"]}">'
    data = json.dumps(slices if len(slices) > 1 else [], separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<figure class="viewer" id="{escape(key)}"><figcaption>{caption}</figcaption>'
        f'<div class="stage" tabindex="0" role="group" aria-label="{label}" style="{_shape(wide, tall)}">{scan}'
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">{layers}</svg>{sides}</div>'
        f'<div class="reel">{slider}<output>{shown["name"]}</output><button type="button" aria-pressed="false">larger</button></div>'
        f'<script type="application/json">{data}</script></figure>'
    )


def _shape(wide: float, tall: float) -> str:
    """Sides as long as in the body; tall pictures are made narrower, so that all are about as high."""
    return f"aspect-ratio:{wide:.4g}/{tall:.4g};width:{100 * min(1.0, wide / tall * 1.15):.1f}%"


def best_channel(image: np.ndarray, mask: np.ndarray) -> int:
    """The channel in which a mask stands out most from its surroundings: largest difference of means over the standard deviation there.

    Shape:
        image float (C, *spatial), mask bool (*spatial)
    """
    if len(image) == 1 or not mask.any():
        return 0
    box = tuple(slice(max(0, int(places.min()) - 5), int(places.max()) + 6) for places in np.nonzero(mask))
    inside, crops = mask[box], image[(slice(None), *box)]
    if inside.all():
        return 0
    contrast = [abs(float(crop[inside].mean() - crop[~inside].mean())) / (float(crop[~inside].std()) + 1e-12) for crop in crops]
    return int(np.argmax(contrast))
