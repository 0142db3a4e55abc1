"""FLAIR-like magnetic resonance images of a head, T1 and T2 beside them if wanted, with small bright white-matter lesions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import ndimage

from medseg.data.phantoms import artefacts, scanner
from medseg.data.phantoms.head import CONTRASTS, Head, draw_head
from medseg.data.phantoms.lesions import scatter_lesions
from medseg.data.phantoms.realistic import scatter_realistic
from medseg.data.phantoms.sample import Sample
from medseg.data.phantoms.shapes import smooth_field

FIELD_OF_VIEW = (168.0, 192.0, 144.0)
"""In mm, from left to right, back to front and bottom to top."""
FINE = (112, 128, 96)
"""Voxels of 1.5 mm, fine enough for lesions of real size and for slices twice as thick."""
NOISE = 5.0
"""Standard deviation of the noise in each of the two receiver channels, where white matter has 100."""


def lesions_3d(
    rng: np.random.Generator,
    *,
    size: Sequence[int] | None,
    contrast: float,
    empty: bool,
    lesions: Literal["round", "realistic"] = "round",
    site: scanner.Site | None = None,
    artefact_rate: float = 0.0,
    channels: int = 1,
) -> Sample:
    """Draw one head: scalp, skull, folded cortex, white matter, ventricles, bias field, Rician noise, bright lesions.

    Lesions gather around the ventricles. Distractors as bright as they: the ventricles' rims and caps, thin vessels, choroid plexus, scalp;
    cortex lies between. Without a site slices are 1.5 times as thick as pixels in 40 % of the cases, and voxel axes are stored in any
    orientation.

    Args:
        rng: Source of randomness.
        size: Voxels from left to right, back to front and bottom to top, before the site's own changes; None takes 56 x 64 x 48, or x 32
            where slices are thick, and 112 x 128 x 96 for realistic lesions or a site.
        contrast: Height of a lesion's middle above its surroundings in units of the noise (contrast-to-noise ratio), on average.
        empty: Whether the head is healthy (no lesions).
        lesions: `round`: irregular blobs of 3 to 300 voxels whatever their size; `realistic`: as in patients, in mm.
        site: The scanner; None: a new one for every case, all much alike.
        artefact_rate: Probability that the images are spoilt.
        channels: How many of FLAIR, T1 and T2.
    """
    thick = rng.uniform() < 0.4
    fine = lesions == "realistic" or site is not None
    shape = tuple(size) if size is not None else FINE if fine else (56, 64, 32 if thick else 48)
    shape = shape if site is None else site.grid(shape)
    spacing = tuple(extent / n for extent, n in zip(FIELD_OF_VIEW, shape, strict=True))
    head = draw_head(rng, shape, spacing)
    mask, profile = (np.zeros(shape, dtype=bool), None) if empty else _lesions(rng, head, spacing, lesions)
    signals = []
    for kind in list(CONTRASTS.values())[:channels]:
        signal = head.signal(kind)
        if profile is not None:
            signal += kind.lesion * contrast * NOISE * profile
        signals.append(signal)
    label = mask.astype(np.uint8)
    if site is not None:
        signals, label, spacing = site.slices(signals, label, spacing)
    # Channels and artefacts draw from streams of their own, so that with and without them the case is the same.
    own, *others = rng.spawn(channels)
    images = [_acquire(stream, signal, site) for stream, signal in zip((rng, *others), signals, strict=True)]
    images, label, artefact = artefacts.spoil(own, images, label, artefact_rate)
    # MR units are arbitrary: every scanner has its own
    scale = np.exp(rng.uniform(np.log(1.0), np.log(8.0))) if site is None else site.scale * rng.uniform(0.9, 1.1)
    matrix = scanner.affine(rng, label.shape, spacing)
    axes = str(rng.choice(scanner.ORIENTATIONS)) if site is None else site.axes
    stored = [scanner.store_as(np.minimum(np.round(scale * image), 32767).astype(np.int16), matrix, axes) for image in images]
    return Sample(
        image=stored[0][0],
        label=scanner.store_as(label, matrix, axes)[0],
        affine=stored[0][1],
        noise=float(scale * NOISE * (1.0 if site is None else site.noise)),
        others=tuple(image for image, _ in stored[1:]),
        scanner=None if site is None else site.number,
        artefact=artefact,
    )


def _lesions(rng: np.random.Generator, head: Head, spacing: tuple[float, ...], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Give the lesions' mask and soft profile."""
    if kind == "realistic":
        white = np.where((head.depth > 3) & (head.from_ventricle > 0), 1.0, 0.0)
        return scatter_realistic(rng, white, head.from_ventricle, spacing)
    white = (head.depth > 6) & (head.from_ventricle > 0)
    prior = np.where(white, 0.15 + np.exp(-head.from_ventricle / 10), 0.0)
    return scatter_lesions(rng, prior, spacing, share=0.006, median=14, spread=1.1)


def _acquire(rng: np.random.Generator, signal: np.ndarray, site: scanner.Site | None) -> np.ndarray:
    """Blur, shade by the coil's bias field and add Rician noise."""
    blur, bias, noise = (0.45, 0.15, NOISE) if site is None else (site.blur, site.bias, NOISE * site.noise)
    if site is not None:
        signal = site.tone(signal)
    shape = signal.shape
    signal = ndimage.gaussian_filter(signal, blur) * np.exp(bias * smooth_field(rng, shape, [n / 3 for n in shape]))
    return np.hypot(signal + noise * rng.standard_normal(shape), noise * rng.standard_normal(shape))
