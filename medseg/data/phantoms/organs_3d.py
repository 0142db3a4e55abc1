"""CT-like images of the upper right abdomen: liver, kidney and gallbladder, which touch one another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from medseg.data.phantoms import scanner
from medseg.data.phantoms.sample import Sample
from medseg.data.phantoms.shapes import curve, draw_tube, grid, smooth_field

EXTENT = 168.0
"""Edge of the field of view in mm."""
LIVER, CORTEX, MEDULLA, BILE = 102.0, 168.0, 128.0, 12.0
AIR, FAT, MUSCLE, BONE, VESSEL, BOWEL = -1000.0, -95.0, 55.0, 280.0, 150.0, 35.0
GAP = 48.0
"""Hounsfield units between liver and kidney, averaged over cortex and medulla."""


def organs_3d(rng: np.random.Generator, *, size: Sequence[int] | None, contrast: float) -> Sample:
    """Draw one abdomen in Hounsfield units: 1 liver (with vessels), 2 kidney (cortex and medulla), 3 gallbladder (bile), among distractors.

    The organs are smoothly deformed ellipsoids that meet in flat interfaces. Distractors: muscle and spine, and bowel loops with the
    intensities of the organs.

    Args:
        rng: Source of randomness.
        size: Voxels from left to right, back to front and bottom to top; None takes 48 x 48 x 48, or x 32 where slices are thick.
        contrast: Gap between liver and kidney in units of the noise (contrast-to-noise ratio).
    """
    thick = rng.uniform() < 0.4
    shape = tuple(size) if size is not None else (48, 48, 32 if thick else 48)
    spacing = tuple(EXTENT / n for n in shape)
    xyz = grid(shape, spacing)
    body = _body(rng, xyz)
    label, radius = _organs(rng, xyz, spacing, cavity=body < 0.82)
    image = _surroundings(rng, shape, spacing, xyz, body)
    image = np.where(label > 0, _textures(rng, shape, spacing, label, radius), image)
    noise = GAP / contrast
    image = ndimage.gaussian_filter(image, 0.5)
    grain = smooth_field(rng, shape, 0.6)  # reconstruction kernels leave neighbours correlated
    image = np.round(np.clip(image + noise * grain, -1024, 3071)).astype(np.int16)
    matrix, axes = scanner.affine(rng, shape, spacing), str(rng.choice(scanner.ORIENTATIONS))
    stored, stored_matrix = scanner.store_as(image, matrix, axes)
    return Sample(image=stored, label=scanner.store_as(label, matrix, axes)[0], affine=stored_matrix, noise=noise)


def _body(rng: np.random.Generator, xyz: np.ndarray) -> np.ndarray:
    """Give a function that is below 1 within the body, whose middle lies to the left of the field of view."""
    half = np.array([145.0, 98.0]) * np.exp(rng.normal(0, 0.03, 2))
    return np.sqrt(((xyz[0] + 68) / half[0]) ** 2 + ((xyz[1] + 15) / half[1]) ** 2)


def _organs(rng: np.random.Generator, xyz: np.ndarray, spacing: tuple[float, ...], cavity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the label map and each voxel's normalised radius in its organ.

    A voxel belongs to the organ in whose ellipsoid it lies deepest, so that overlapping ellipsoids share a surface.
    """
    xyz = xyz + 6 * np.stack([smooth_field(rng, cavity.shape, [22 / s for s in spacing]) for _ in range(3)])
    centres = np.array([[14.0, 12, 16], [10, -32, -20], [-4, 22, -22]]) + rng.normal(0, 2.5, (3, 3))
    half_axes = np.array([[52.0, 48, 38], [25, 24, 39], [15, 17, 20]]) * np.exp(rng.normal(0, 0.08, (3, 3)))
    radii = np.sqrt((((xyz - centres[..., None, None, None]) / half_axes[..., None, None, None]) ** 2).sum(axis=1))
    organ, nearest = radii.argmin(axis=0), radii.min(axis=0)
    label = np.where((nearest < 1) & cavity, organ + 1, 0).astype(np.uint8)
    for value in (1, 2, 3):  # the strongest warps pinch off crumbs
        components, count = ndimage.label(label == value)
        if count > 1:
            label[(components > 0) & (components != 1 + np.argmax(np.bincount(components.ravel())[1:]))] = 0
    return label, nearest


def _textures(
    rng: np.random.Generator, shape: tuple[int, ...], spacing: tuple[float, ...], label: np.ndarray, radius: np.ndarray
) -> np.ndarray:
    """Draw the organs' insides: vessels in the liver, a bright cortex with pyramids beneath in the kidney, clear bile."""
    vessels = np.zeros(shape)
    for _ in range(6):
        start = np.array([0.45, 0.5, 0.55]) * shape + rng.normal(0, 2, 3)
        length = int(0.45 * max(shape))
        draw_tube(vessels, curve(rng, start, rng.standard_normal(3), length, bend=0.03), np.linspace(2.6, 1.2, length))
    liver = LIVER + rng.normal(0, 5) + 4 * smooth_field(rng, shape, [5 / s for s in spacing]) + (VESSEL - LIVER) * vessels
    pyramids = smooth_field(rng, shape, [5 / s for s in spacing])
    kidney = np.where((radius > 0.72) | (pyramids > 0.6), CORTEX, MEDULLA) + rng.normal(0, 6)
    kidney = np.where(radius < 0.28, FAT + 60, kidney)  # the fatty sinus belongs to the organ
    return np.choose(label, [np.zeros(shape), liver, kidney, np.full(shape, BILE)])


def _surroundings(
    rng: np.random.Generator, shape: tuple[int, ...], spacing: tuple[float, ...], xyz: np.ndarray, body: np.ndarray
) -> np.ndarray:
    """Draw everything that is no organ: air, fat, the muscular wall with ribs, spine, and bowel loops with and without gas."""
    image = np.where(body < 1, FAT + 8 * smooth_field(rng, shape, [6 / s for s in spacing]), AIR)
    wall = (body < 0.9) & (body > 0.82)
    image = np.where(wall, MUSCLE, image)
    ribs = np.sin(xyz[2] / 5.5 + xyz[1] / 25 + rng.uniform(0, 6)) > 0.75
    image = np.where((np.abs(body - 0.86) < 0.025) & ribs & (xyz[2] > -30), BONE, image)
    spine = ((xyz[0] + 72) / 22) ** 2 + ((xyz[1] + 58) / 20) ** 2
    image = np.where(spine < 1, BONE - 90 * (spine < 0.7) + 25 * smooth_field(rng, shape, [4 / s for s in spacing]), image)
    psoas = ((xyz[0] + 42) / 16) ** 2 + ((xyz[1] + 55) / 18) ** 2
    image = np.where((psoas < 1) & (xyz[2] < 20), MUSCLE, image)
    for _ in range(rng.integers(3, 6)):
        points = curve(rng, np.array([0.2, 0.75, 0.25]) * shape + rng.normal(0, 4, 3), rng.standard_normal(3), int(0.8 * max(shape)), 0.06)
        loop = np.zeros(shape)
        draw_tube(loop, points, np.full(len(points), 4.5))
        filling = rng.choice([BOWEL, MUSCLE, LIVER - 5, CORTEX - 20, -600.0])
        image = np.where((loop > 0.35) & (body < 0.82), np.where(loop > 0.65, filling, BOWEL), image)
    return image
