"""Lesions as irregular as real ones, in sizes, shapes and places that follow the statistics of `openms`."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation
from scipy.special import ndtr

from medseg.data.phantoms import openms
from medseg.data.phantoms.shapes import grid, rotation, smooth_field

# Fitted so that the shapes of each range of volumes come out like the measured ones: tests/data/phantoms/test_realistic.py compares them.
VOLUMES = (3.0, 10.0, 35.0, 110.0, 450.0, 3000.0)
ROUGHNESS = (0.42, 0.57, 0.56, 0.64, 0.73, 1.1)
"""Amplitude of the noise on the logarithm of the radius, at each of `VOLUMES` (mm^3)."""
GRAIN = (0.7, 1.1, 1.25, 1.6, 2.0, 2.3)
"""Standard deviation in mm to which that noise is smooth."""
STRETCH = (0.2, 0.25, 0.28, 0.3, 0.3, 0.3)
"""Standard deviation of the logarithm of an ellipsoid's half-axes."""
VARIED = 0.3
"""Standard deviation, between lesions, of the logarithm of the roughness."""
RAGGED = (0.0, 0.03, 0.05, 0.06, 0.1, 0.08)
"""Amplitude of further noise, from voxel to voxel."""
CLUSTERED, NEAR = 0.6, 7.0
"""Share of the lesions that lie beside an earlier one, and how far from it in mm (standard deviation an axis)."""
COMPACT = 400
"""Lesions of fewer voxels grow over edges and corners of voxels too, as the smallest real ones do."""
ALONG = np.array([2.8, 0.42, 0.9])
"""How confluent lesions are squeezed from left to right, back to front and bottom to top: they run along the ventricles."""
HUG = 0.05
"""How much the growth of confluent lesions prefers each mm nearer to the ventricles."""
TRIES = 60


def scatter_realistic(
    rng: np.random.Generator, prior: np.ndarray, from_ventricle: np.ndarray, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Place the lesions of one patient: their number, volumes, shapes, neighbours and distance to the ventricles are drawn like real ones.

    Lesions of less than half a voxel are not to be seen and left out; a patient has at least one lesion. None touches another.

    Args:
        rng: Source of randomness.
        prior: Relative probability that a lesion sits at a voxel, for reasons other than the ventricles; lesions stay where it is above 0.
        from_ventricle: Distance to the ventricles in mm.
        spacing: Voxel size in mm.

    Returns:
        The lesions' mask, and their soft profile: about 1 in the middle of a lesion, at least a half of that everywhere in it, falling to 0
        beyond its edge.

    Raises:
        ValueError: The prior leaves no room for a lesion.
    """
    voxel = float(np.prod(spacing))
    field = _Field(rng, prior * np.interp(from_ventricle, openms.FROM_VENTRICLE, openms.DENSITY), from_ventricle, tuple(spacing))
    for volume in volumes(rng):
        if round(volume / voxel) >= 1:
            field.place(volume)
    for _ in range(TRIES):
        if field.mask.any():
            break
        field.place(max(voxel, volumes(rng)[0]))
    else:
        raise ValueError(f"no room for a lesion in {np.count_nonzero(prior)} voxels of tissue")
    soft = ndimage.gaussian_filter(field.strength, [0.7 / s for s in spacing], truncate=3)
    return field.mask, np.maximum(np.minimum(1.25 * soft, 1.25), 0.55 * field.strength).astype(float)


def volumes(rng: np.random.Generator) -> np.ndarray:
    """Draw the volumes of one patient's lesions in mm^3, the largest first; together no more than the most affected patient's."""
    count = round(np.interp(rng.uniform(0, 100), openms.COUNT_LEVELS, openms.COUNTS))
    while True:
        shared = np.sqrt(openms.WITHIN_PATIENT) * rng.standard_normal()
        level = 100 * ndtr(shared + np.sqrt(1 - openms.WITHIN_PATIENT) * rng.standard_normal(count))
        drawn = np.exp(np.interp(level, openms.LEVELS, np.log(openms.VOLUMES)))
        if drawn.sum() <= openms.LOADS[-1]:
            return np.sort(drawn)[::-1]


def grow_lesion(
    rng: np.random.Generator,
    volume: float,
    spacing: Sequence[float],
    *,
    allowed: np.ndarray | None = None,
    near: np.ndarray | None = None,
) -> np.ndarray:
    """Grow one lesion from the middle of a window: a stretched ellipsoid with a rough surface, the rougher the larger it is.

    Voxels join one after the other, always the one beside the lesion that scores highest: near the middle, where smooth noise is high.

    Args:
        rng: Source of randomness.
        volume: In mm^3.
        spacing: Voxel size in mm.
        allowed: Where it may grow, of shape `window_of(volume, spacing)`; None: everywhere.
        near: Distance to the ventricles in mm, in the same window, which confluent lesions prefer; None: no preference.

    Returns:
        Its mask; of fewer voxels than the volume asks for where there is no room.
    """
    size, shape = np.asarray(spacing, dtype=float), window_of(volume, spacing)
    radius, at = (3 * volume / (4 * np.pi)) ** (1 / 3), np.log(volume)
    roughness, ragged, grain, stretch = (np.interp(at, np.log(VOLUMES), table) for table in (ROUGHNESS, RAGGED, GRAIN, STRETCH))
    along = near is not None and volume >= openms.LARGE
    shrink = np.exp(rng.normal(0, stretch, 3)) * (ALONG if along else 1.0)
    turn = Rotation.from_euler("xyz", rng.normal(0, 15, 3), degrees=True).as_matrix() if along else rotation(rng, 3)
    matrix = turn * (shrink / np.prod(shrink) ** (1 / 3))
    offsets = grid(shape, spacing) + (rng.uniform(-0.5, 0.5, 3) * size)[:, None, None, None]
    squared = (np.tensordot(matrix.T, offsets, axes=1) ** 2).sum(axis=0)
    score = -0.5 * np.log(squared / radius**2 + 0.05)
    score += roughness * np.exp(VARIED * rng.standard_normal()) * smooth_field(rng, shape, [grain / s for s in spacing])
    score += ragged * rng.standard_normal(shape)
    if near is not None and along:
        score -= HUG * near
    score = score if allowed is None else np.where(allowed, score, -np.inf)
    seeds = np.where(squared <= max(radius / 2, 0.9 * size.max()) ** 2, score, -np.inf)
    if np.isneginf(seeds.max()):
        return np.zeros(shape, dtype=bool)
    return _grow(score, int(seeds.argmax()), max(1, round(volume / size.prod())))


def window_of(volume: float, spacing: Sequence[float]) -> tuple[int, ...]:
    """Give the odd-sized window in voxels that a lesion of so many mm^3 grows in."""
    radius = (3 * volume / (4 * np.pi)) ** (1 / 3)
    return tuple(2 * int(np.ceil((2.8 * radius + 2) / s)) + 1 for s in spacing)


def _grow(score: np.ndarray, seed: int, count: int) -> np.ndarray:
    """Take the seed and then, one by one, the best voxel that touches what was taken."""
    padded = np.pad(score, 1, constant_values=-np.inf)
    values = padded.ravel().tolist()  # plain floats: a heap of them is many times faster than one of array scalars
    strides = (padded.shape[1] * padded.shape[2], padded.shape[2], 1)
    reach = 3 if count < COMPACT else 1
    moves = [np.array(move) - 1 for move in np.ndindex(3, 3, 3)]
    steps = [int(move @ strides) for move in moves if 0 < np.abs(move).sum() <= reach]
    start = int((np.array(np.unravel_index(seed, score.shape)) + 1) @ strides)
    outside, taken = -np.inf, list[int]()
    border = [(-values[start], start)]
    values[start] = outside
    while border and len(taken) < count:
        _, voxel = heapq.heappop(border)
        taken.append(voxel)
        for step in steps:
            beside = voxel + step
            if values[beside] != outside:
                heapq.heappush(border, (-values[beside], beside))
                values[beside] = outside
    mask = np.zeros(padded.size, dtype=bool)
    mask[taken] = True
    return mask.reshape(padded.shape)[1:-1, 1:-1, 1:-1]


class _Field:
    """A volume that fills with lesions."""

    def __init__(self, rng: np.random.Generator, prior: np.ndarray, from_ventricle: np.ndarray, spacing: tuple[float, ...]) -> None:
        self.rng, self.prior, self.from_ventricle, self.spacing = rng, prior, from_ventricle, spacing
        self.free = prior > 0
        self.mask = np.zeros(prior.shape, dtype=bool)
        self.strength = np.zeros(prior.shape, dtype=np.float32)
        self.centres: list[np.ndarray] = []
        self.anywhere = np.cumsum(prior.ravel())
        self.beside_ventricle = np.cumsum((prior * np.exp(-from_ventricle / 2.5)).ravel())

    def place(self, volume: float) -> None:
        """Grow a lesion somewhere; gives up where every try finds too little room."""
        wanted = max(1, round(volume / np.prod(self.spacing)))
        for _ in range(TRIES):
            centre = self._centre(volume)
            window, inside = self._overlap(centre, window_of(volume, self.spacing))
            shape = window_of(volume, self.spacing)
            allowed, near = np.zeros(shape, dtype=bool), np.zeros(shape)
            allowed[inside], near[inside] = self.free[window], self.from_ventricle[window]
            if not allowed[tuple(n // 2 for n in shape)]:
                continue
            lesion = grow_lesion(self.rng, volume, self.spacing, allowed=allowed, near=near)[inside]
            if lesion.sum() >= 0.7 * wanted:
                break
        else:
            return
        self.mask[window] |= lesion
        self.strength[window][lesion] = self.rng.uniform(0.75, 1.25)
        self._keep_apart(window, lesion)
        points = np.argwhere(lesion)
        self.centres.append(points[self.rng.integers(len(points))] + [axis.start for axis in window])

    def _centre(self, volume: float) -> np.ndarray:
        if volume < openms.LARGE and self.centres and self.rng.uniform() < CLUSTERED:
            radius = (3 * volume / (4 * np.pi)) ** (1 / 3)
            beside = self.centres[self.rng.integers(len(self.centres))]
            offset = (NEAR + radius) * self.rng.standard_normal(3) / self.spacing
            return np.clip(np.round(beside + offset).astype(int), 0, np.array(self.prior.shape) - 1)
        cumulative = self.anywhere if volume < openms.LARGE else self.beside_ventricle
        place = np.searchsorted(cumulative, self.rng.uniform(0, cumulative[-1]), side="right")
        return np.array(np.unravel_index(min(int(place), self.prior.size - 1), self.prior.shape))

    def _overlap(self, centre: np.ndarray, shape: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Where a window around `centre` lies in the volume, and which part of the window that is."""
        low = [int(c) - n // 2 for c, n in zip(centre, shape, strict=True)]
        outer = tuple(slice(max(a, 0), min(a + n, full)) for a, n, full in zip(low, shape, self.prior.shape, strict=True))
        return outer, tuple(slice(o.start - a, o.stop - a) for o, a in zip(outer, low, strict=True))

    def _keep_apart(self, window: tuple[slice, ...], lesion: np.ndarray) -> None:
        """Bar a lesion's voxels and all that touch them."""
        padded = ndimage.binary_dilation(np.pad(lesion, 1), np.ones((3, 3, 3)))
        outer = tuple(slice(max(axis.start - 1, 0), min(axis.stop + 1, full)) for axis, full in zip(window, self.prior.shape, strict=True))
        inner = tuple(slice(o.start - axis.start + 1, o.stop - axis.start + 1) for o, axis in zip(outer, window, strict=True))
        self.free[outer] &= ~padded[inner]
