"""Red-free (green channel) photographs of the back of the eye, with small dark lesions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from medseg.data.phantoms.lesions import scatter_lesions
from medseg.data.phantoms.sample import Sample
from medseg.data.phantoms.shapes import blob, curve, draw_tube, grid, smooth_field

NOISE = 5.0
"""Standard deviation of the camera's noise in grey values."""


def lesions_2d(rng: np.random.Generator, *, size: Sequence[int] | None, contrast: float, empty: bool) -> Sample:
    """Draw one retina: background texture, uneven light, vessels, perhaps a macula or optic disc, bright exudates, dark lesions.

    The lesions (microaneurysms and haemorrhages) are as dark as vessels, so intensity alone does not find them: vessels, their crossings
    and the macula are the distractors; the bright exudates are distractors for whoever looks for small blobs of any sign.

    Args:
        rng: Source of randomness.
        size: Height and width in pixels; None draws each from 128 to 192.
        contrast: Depth of a lesion's middle below its surroundings in units of the noise (contrast-to-noise ratio), on average.
        empty: Whether the retina is healthy (no lesions).
    """
    shape = tuple(size) if size is not None else tuple(int(n) for n in rng.choice([128, 144, 160, 176, 192], 2))
    vessels = _vessels(rng, shape)
    macula, disc = _landmarks(rng, shape)
    tissue = 118 + 5 * smooth_field(rng, shape, 12) + 2.5 * smooth_field(rng, shape, 2.5)
    tissue += 70 * disc - 38 * macula - 34 * vessels
    tissue += _exudates(rng, shape) * (1 - disc)
    mask = np.zeros(shape, dtype=bool)
    if not empty:
        # Lesions keep off the wide vessels, on which no reader could tell them from the blood behind.
        prior = np.where((vessels < 0.25) & (disc < 0.1) & (macula < 0.7), 1.0, 0.0)
        mask, profile = scatter_lesions(rng, prior, (1.0, 1.0), share=0.012, median=20, spread=0.9)
        tissue -= contrast * NOISE * profile
    light = np.exp(0.18 * smooth_field(rng, shape, max(shape) / 2.5))
    image = ndimage.gaussian_filter(tissue, 0.5) * light
    # Cameras interpolate their pixels: half of the noise is shared with the neighbours.
    grain = rng.standard_normal(shape) + 1.2 * smooth_field(rng, shape, 0.8)
    image += NOISE * grain / np.hypot(1, 1.2)
    field_of_view = _field_of_view(rng, shape)
    image = np.clip(np.round(image * field_of_view), 0, 255).astype(np.uint8)
    return Sample(image=image, label=(mask & (field_of_view > 0.5)).astype(np.uint8), affine=None, noise=NOISE)


def _vessels(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw vessel trees: winding tubes that enter at the border, taper and branch; 1 on a vessel's axis, 0 off it."""
    canvas = np.zeros(shape)
    for _ in range(rng.integers(3, 6)):
        angle = rng.uniform(0, 2 * np.pi)
        outward = np.array([np.sin(angle), np.cos(angle)])
        start = np.asarray(shape) / 2 + outward * np.asarray(shape) * 0.7
        _branch(rng, canvas, start, -outward + 0.5 * rng.standard_normal(2), width=rng.uniform(2.5, 5.5), depth=0)
    return canvas


def _branch(rng: np.random.Generator, canvas: np.ndarray, start: np.ndarray, heading: np.ndarray, width: float, depth: int) -> None:
    length = int(rng.uniform(0.9, 1.5) * max(canvas.shape) / (1 + 0.6 * depth))
    points = curve(rng, start, heading, length, bend=0.012)
    widths = 0.8 + (width - 0.8) * np.linspace(1, 0, length) ** 0.6
    tube = np.zeros_like(canvas)
    draw_tube(tube, points, widths)
    np.maximum(canvas, tube * min(1.0, 0.35 + 0.2 * width), out=canvas)  # thin vessels are fainter: the optics blur them
    if depth == 2:
        return
    for _ in range(rng.integers(1, 4)):
        at = int(rng.uniform(0.15, 0.85) * length)
        along = points[min(at + 1, length - 1)] - points[at - 1]
        side = rng.choice([-1, 1]) * rng.uniform(0.4, 1.1) * np.array([-along[1], along[0]])
        _branch(rng, canvas, points[at], along + side, max(0.6 * widths[at], 1.1), depth + 1)


def _landmarks(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Draw the dark macula (in 40 % of the images) and the bright optic disc (in 25 %), each from 0 to 1."""
    macula, disc = np.zeros(shape), np.zeros(shape)
    kind, place = rng.uniform(), rng.uniform(-0.35, 0.35, 2) * shape
    offsets = grid(shape, (1, 1)) - place[:, None, None]
    distance = np.sqrt((offsets**2).sum(axis=0)) * np.exp(0.05 * smooth_field(rng, shape, 10))
    if kind < 0.4:
        macula = np.exp(-0.5 * (distance / rng.uniform(12, 18)) ** 2)
    elif kind < 0.65:
        disc = 1 / (1 + np.exp((distance - rng.uniform(16, 22)) / 1.2))
    return macula, disc


def _exudates(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw clusters of small bright spots (in half of the images), in grey values."""
    canvas = np.zeros(shape)
    for _ in range(rng.integers(1, 4) if rng.uniform() < 0.5 else 0):
        middle = rng.uniform(0.1, 0.9, 2) * shape
        for _ in range(rng.integers(3, 12)):
            spot = blob(rng, int(np.clip(rng.lognormal(2.0, 0.8), 3, 60)), (1.0, 1.0))
            low = np.round(middle + 8 * rng.standard_normal(2)).astype(int) - np.asarray(spot.shape) // 2
            if np.all(low >= 0) and np.all(low + spot.shape <= shape):
                window = canvas[low[0] : low[0] + spot.shape[0], low[1] : low[1] + spot.shape[1]]
                np.maximum(window, rng.uniform(30, 75) * spot, out=window)
    return canvas


def _field_of_view(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw the camera's round aperture: in a third of the images it cuts off a corner."""
    if rng.uniform() > 1 / 3:
        return np.ones(shape)
    radius = 1.5 * max(shape)
    angle = rng.choice([0.25, 0.75, 1.25, 1.75]) * np.pi + rng.normal(0, 0.15)
    corner = 0.5 * np.hypot(shape[0], shape[1]) * rng.uniform(0.7, 0.9)
    centre = (corner - radius) * np.array([np.sin(angle), np.cos(angle)])
    distance = np.sqrt(((grid(shape, (1, 1)) - centre[:, None, None]) ** 2).sum(axis=0))
    return 1 / (1 + np.exp((distance - radius) / 0.7))
