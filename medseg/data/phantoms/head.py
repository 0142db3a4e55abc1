"""A head without noise or lesions: scalp, skull, folded cortex, white matter, ventricles, vessels; its signal in several MR contrasts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medseg.data.phantoms.shapes import curve, draw_tube, grid, smooth_field


@dataclass(frozen=True)
class Contrast:
    """Signals of the tissues, white matter having 100, in one kind of MR image.

    Attributes:
        scalp, bone, fluid, grey, white: Of the tissues.
        rims: Of the ventricles' lining, as a multiple of what FLAIR shows of it; `plexus` and `lesion` the same of theirs.
        vessels: Of the middle of a vessel above its surroundings.
    """

    scalp: float
    bone: float
    fluid: float
    grey: float
    white: float
    rims: float
    plexus: float
    vessels: float
    lesion: float


CONTRASTS = {
    "FLAIR": Contrast(165.0, 14.0, 26.0, 111.0, 100.0, 1.0, 1.0, 38.0, 1.0),
    "T1": Contrast(172.0, 12.0, 24.0, 76.0, 100.0, -0.4, 0.4, -14.0, -0.55),
    "T2": Contrast(118.0, 10.0, 235.0, 131.0, 96.0, 0.8, -0.9, -42.0, 1.1),
}
"""The channels of a head, in their order."""


@dataclass(frozen=True)
class Head:
    """The anatomy on the voxel grid; `signal` makes an image of it.

    Attributes:
        voxel: Mean voxel size in mm, over which borders are blurred.
        below_skin: Depth below the skin in mm, negative in the air.
        depth: Depth below the folded brain surface in mm, negative outside the brain.
        from_ventricle: Distance to the lateral ventricles in mm, 0 inside.
        texture: Smooth noise of deviation 1.
        nuclei: 1 in the deep grey matter, falling to 0.
        rims: Bright lining of the ventricles.
        fluid: Share of a voxel that the ventricles fill.
        plexus: Choroid plexus.
        vessels: 1 on a vessel's axis.
    """

    voxel: float
    below_skin: np.ndarray
    depth: np.ndarray
    from_ventricle: np.ndarray
    texture: np.ndarray
    nuclei: np.ndarray
    rims: np.ndarray
    fluid: np.ndarray
    plexus: np.ndarray
    vessels: np.ndarray

    def signal(self, contrast: Contrast) -> np.ndarray:
        """The noise-free image in one contrast."""
        tissue = _step(self.below_skin, 0, self.voxel) * (contrast.scalp + 18 * self.texture)
        tissue += _step(self.below_skin, 5, self.voxel) * (contrast.bone - tissue)
        tissue += _step(self.below_skin, 10.5, self.voxel) * (contrast.fluid - tissue)
        tissue += _step(self.depth, 0, self.voxel) * (contrast.grey - tissue)
        tissue += _step(self.depth, 4.5, self.voxel) * (contrast.white + 2 * self.texture - tissue)
        tissue += (contrast.grey - contrast.white) * self.nuclei * (self.depth > 4.5)
        tissue += contrast.rims * self.rims * (self.depth > 0)
        tissue += self.fluid * (contrast.fluid - tissue)
        tissue += contrast.plexus * self.plexus
        return tissue + contrast.vessels * self.vessels


def draw_head(rng: np.random.Generator, shape: tuple[int, ...], spacing: tuple[float, ...]) -> Head:
    """Draw the anatomy of one head, on a grid whose voxels have `spacing` mm."""
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
    side = np.abs(xyz[0]) - 21
    nuclei = (side / 8) ** 2 + ((xyz[1] - 3) / 17) ** 2 + ((xyz[2] - 1) / 11) ** 2
    return Head(
        voxel=voxel,
        below_skin=below_skin,
        depth=depth,
        from_ventricle=from_ventricle,
        texture=texture,
        nuclei=np.clip(2.5 - 2 * nuclei, 0, 1),
        rims=_rims(rng, shape, spacing, from_ventricle, xyz),
        fluid=_step(-np.sqrt(ventricle), -1, voxel / 6),
        plexus=_plexus(rng, xyz, ventricle),
        vessels=_vessels(rng, shape) * (below_skin > 11),
    )


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
