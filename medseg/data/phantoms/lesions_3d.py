"""FLAIR-like magnetic resonance images of a head, with small bright white-matter lesions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medseg.data.phantoms import scanner
from medseg.data.phantoms.lesions import scatter_lesions
from medseg.data.phantoms.sample import Sample
from medseg.data.phantoms.shapes import curve, draw_tube, grid, smooth_field

FIELD_OF_VIEW = (168.0, 192.0, 144.0)
"""In mm, from left to right, back to front and bottom to top."""
NOISE = 5.0
"""Standard deviation of the noise in each of the two receiver channels, where white matter has 100."""
AIR, SCALP, BONE, FLUID, GREY, WHITE = 0.0, 165.0, 14.0, 26.0, 111.0, 100.0


@dataclass(frozen=True)
class Head:
    """A noise-free head on the voxel grid.

    Attributes:
        tissue: Signal.
        depth: Depth below the folded brain surface in mm, negative outside the brain.
        from_ventricle: Distance to the lateral ventricles in mm, 0 inside.
    """

    tissue: np.ndarray
    depth: np.ndarray
    from_ventricle: np.ndarray


def lesions_3d(rng: np.random.Generator, *, size: Sequence[int] | None, contrast: float, empty: bool) -> Sample:
    """Draw one head: scalp, skull, folded cortex, white matter, ventricles, bias field, Rician noise, bright lesions.

    Lesions gather around the ventricles. Distractors as bright as they: the ventricles' rims and caps, thin vessels, choroid plexus, scalp;
    cortex lies between. In 40 % of the cases slices are 1.5 times as thick as pixels, and voxel axes are stored in any orientation.

    Args:
        rng: Source of randomness.
        size: Voxels from left to right, back to front and bottom to top; None takes 56 x 64 x 48, or x 32 where slices are thick.
        contrast: Height of a lesion's middle above its surroundings in units of the noise (contrast-to-noise ratio), on average.
        empty: Whether the head is healthy (no lesions).
    """
    thick = rng.uniform() < 0.4
    shape = tuple(size) if size is not None else (56, 64, 32 if thick else 48)
    spacing = tuple(extent / n for extent, n in zip(FIELD_OF_VIEW, shape, strict=True))
    head = _head(rng, shape, spacing)
    signal = head.tissue.copy()
    mask = np.zeros(shape, dtype=bool)
    if not empty:
        white = (head.depth > 6) & (head.from_ventricle > 0)
        prior = np.where(white, 0.15 + np.exp(-head.from_ventricle / 10), 0.0)
        mask, profile = scatter_lesions(rng, prior, spacing, share=0.006, median=14, spread=1.1)
        signal += contrast * NOISE * profile
    signal = ndimage.gaussian_filter(signal, 0.45) * np.exp(0.15 * smooth_field(rng, shape, [n / 3 for n in shape]))
    image = np.hypot(signal + NOISE * rng.standard_normal(shape), NOISE * rng.standard_normal(shape))
    scale = np.exp(rng.uniform(np.log(1.0), np.log(8.0)))  # MR units are arbitrary: every scanner has its own
    image, label = np.round(scale * image).astype(np.int16), mask.astype(np.uint8)
    matrix, axes = scanner.affine(rng, shape, spacing), str(rng.choice(scanner.ORIENTATIONS))
    stored, stored_matrix = scanner.store_as(image, matrix, axes)
    return Sample(image=stored, label=scanner.store_as(label, matrix, axes)[0], affine=stored_matrix, noise=float(scale * NOISE))


def _head(rng: np.random.Generator, shape: tuple[int, ...], spacing: tuple[float, ...]) -> Head:
    xyz = grid(shape, spacing)
    half_axes = np.array([69.0, 86.0, 76.0]) * np.exp(rng.normal(0, 0.025, 3))
    radius = np.sqrt((((xyz - np.array([0, 0, -9])[:, None, None, None]) / half_axes[:, None, None, None]) ** 2).sum(axis=0))
    radius *= 1 + 0.02 * smooth_field(rng, shape, [25 / s for s in spacing])
    below_skin = (1 - radius) * 78
    brain = below_skin - 12.5
    depth = np.minimum(brain - 20 * _sulci(rng, shape, spacing), _fissure(xyz, brain))
    ventricle = _ventricles(rng, xyz)
    from_ventricle = ndimage.distance_transform_edt(ventricle > 1, sampling=spacing)

    voxel = float(np.mean(spacing))
    texture = smooth_field(rng, shape, [4 / s for s in spacing])
    tissue = _step(below_skin, 0, voxel) * (SCALP + 18 * texture)
    tissue += _step(below_skin, 5, voxel) * (BONE - tissue)
    tissue += _step(below_skin, 10.5, voxel) * (FLUID - tissue)
    tissue += _step(depth, 0, voxel) * (GREY - tissue)
    tissue += _step(depth, 4.5, voxel) * (WHITE + 2 * texture - tissue)
    side = np.abs(xyz[0]) - 21
    nuclei = (side / 8) ** 2 + ((xyz[1] - 3) / 17) ** 2 + ((xyz[2] - 1) / 11) ** 2
    tissue += (GREY - WHITE) * np.clip(2.5 - 2 * nuclei, 0, 1) * (depth > 4.5)
    tissue += _rims(rng, shape, spacing, from_ventricle, xyz) * (depth > 0)
    tissue += _step(-np.sqrt(ventricle), -1, voxel / 6) * (FLUID - tissue)
    tissue += _plexus(rng, xyz, ventricle)
    vessels = _vessels(rng, shape) * (below_skin > 11)
    return Head(tissue + 38 * vessels, depth, from_ventricle)


def _step(value: np.ndarray, threshold: float, width: float) -> np.ndarray:
    """Rise from 0 to 1 around `threshold` over `width`: the share of a voxel that lies beyond a boundary."""
    return np.clip(0.5 + (value - threshold) / width, 0, 1)


def _sulci(rng: np.random.Generator, shape: tuple[int, ...], spacing: tuple[float, ...]) -> np.ndarray:
    """Give 1 in the middle of a furrow falling to 0 beside it: the zero sheets of a smooth field wind like furrows do."""
    field = smooth_field(rng, shape, [7 / s for s in spacing])
    return np.clip(1 - np.abs(field) / 0.3, 0, 1)


def _fissure(xyz: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Give the depth below the surface of the cleft between the hemispheres, which reaches 30 mm into the brain."""
    return np.where(brain < 30, np.maximum(np.abs(xyz[0]) - 1.6, -2.0), 99.0)


def _ventricles(rng: np.random.Generator, xyz: np.ndarray) -> np.ndarray:
    """Give a function that is below 1 in the two lateral ventricles, bent outwards at the back, and in the third between them."""
    width, length, height = np.array([5.5, 27.0, 8.5]) * np.exp(rng.normal(0, 0.18, 3))
    x, y, z = np.abs(xyz[0]), xyz[1] + 4, xyz[2] - 10
    bend = 11 + 0.006 * y**2 + np.where(y < 0, -0.1 * y, 0.0)
    lateral = ((x - bend) / width) ** 2 + (y / length) ** 2 + ((z + 0.006 * y**2) / height) ** 2
    third = (x / 2.6) ** 2 + ((y - 2) / 13) ** 2 + ((z + 13) / 10) ** 2
    return np.minimum(lateral, third)


def _rims(
    rng: np.random.Generator, shape: tuple[int, ...], spacing: tuple[float, ...], from_ventricle: np.ndarray, xyz: np.ndarray
) -> np.ndarray:
    """Draw the bright lining of the ventricles, thicker at their front and back ends (caps), which is normal in older people."""
    caps = np.clip((np.abs(xyz[1] + 4) - 16) / 10, 0, 1)
    lining = np.exp(-from_ventricle / (2.0 + 1.5 * caps)) * (from_ventricle > 0)
    patchy = 1 + 0.3 * smooth_field(rng, shape, [8 / s for s in spacing])
    return (8 + 14 * caps) * lining * patchy


def _plexus(rng: np.random.Generator, xyz: np.ndarray, ventricle: np.ndarray) -> np.ndarray:
    """Draw the bright choroid plexus at the back of each lateral ventricle."""
    y = xyz[1] + 17 + rng.normal(0, 2)
    near = np.exp(-((y / 6) ** 2) - ((np.abs(xyz[0]) - 14) / 4) ** 2 - ((xyz[2] - 6) / 5) ** 2)
    return rng.uniform(55, 95) * near * (ventricle <= 1)


def _vessels(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw thin winding vessels through the brain."""
    canvas = np.zeros(shape)
    for _ in range(rng.integers(4, 9)):
        start = rng.uniform(0.2, 0.8, 3) * shape
        length = int(rng.uniform(0.3, 0.7) * max(shape))
        points = curve(rng, start, rng.standard_normal(3), length, bend=0.04)
        draw_tube(canvas, points, np.linspace(1.3, 0.8, length))
    return canvas
