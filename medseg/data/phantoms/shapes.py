"""Random shapes that the generators share: smooth fields, irregular blobs, winding curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def smooth_field(rng: np.random.Generator, shape: Sequence[int], scale: float | Sequence[float]) -> np.ndarray:
    """Give Gaussian noise, smoothed with standard deviation `scale` (voxels; one or one an axis), of mean 0 and deviation 1."""
    # A field smoothed at `scale` holds nothing finer, so wide ones are drawn on a coarse grid and enlarged: many times faster.
    scales = np.broadcast_to(np.asarray(scale, dtype=float), (len(shape),))
    coarse = [max(4, int(np.ceil(2 * n / max(s, 2.0)))) if s > 2 else n for n, s in zip(shape, scales, strict=True)]
    sigma = [s * c / n for s, c, n in zip(scales, coarse, shape, strict=True)]
    field = ndimage.gaussian_filter(rng.standard_normal(coarse), sigma, mode="reflect")
    if coarse != list(shape):
        field = ndimage.zoom(field, [n / c for n, c in zip(shape, coarse, strict=True)], order=1, grid_mode=True, mode="nearest")
    return (field - field.mean()) / (field.std() + 1e-12)


def grid(shape: Sequence[int], spacing: Sequence[float]) -> np.ndarray:
    """Give the coordinates of every voxel centre in mm from the centre of the volume, (D, *shape)."""
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def rotation(rng: np.random.Generator, dims: int) -> np.ndarray:
    """Give a random rotation or reflection matrix (dims, dims), uniform over directions."""
    q, r = np.linalg.qr(rng.standard_normal((dims, dims)))
    return q * np.sign(np.diag(r))


def blob(rng: np.random.Generator, voxels: int, spacing: Sequence[float]) -> np.ndarray:
    """Give the soft profile of an irregular blob of `voxels` voxels: 0.5 and above inside, falling from 1 to 0 across about a voxel.

    A randomly elongated ellipsoid whose radius is roughened by smooth noise. The window is odd-sized, with the blob's seed in its centre.
    """
    dims = len(spacing)
    unit = np.asarray(spacing) / np.prod(spacing) ** (1 / dims)
    radius = (voxels / (np.pi if dims == 2 else 4 / 3 * np.pi)) ** (1 / dims)
    half = np.ceil((2.2 * radius + 2) / unit).astype(int)
    offsets = grid(2 * half + 1, unit)
    stretch = np.exp(rng.normal(0, 0.25, dims))
    stretch /= np.prod(stretch) ** (1 / dims)
    matrix = rotation(rng, dims) * stretch
    distance = np.sqrt((np.tensordot(matrix.T, offsets, axes=1) ** 2).sum(axis=0))
    distance *= np.exp(0.25 * smooth_field(rng, distance.shape, max(0.8, 0.5 * radius)))
    edge = np.partition(distance.ravel(), [voxels - 1, voxels])[voxels - 1 : voxels + 1].mean()
    return np.clip(0.5 + (edge - distance) / 1.2, 0, 1)


def curve(rng: np.random.Generator, start: np.ndarray, heading: np.ndarray, length: int, bend: float) -> np.ndarray:
    """Give the points (length, dims) of a winding path with unit steps, whose direction drifts by `bend` a step."""
    points, turn = np.empty((length, len(start))), np.zeros(len(start))
    position, direction = start.astype(float), heading / np.linalg.norm(heading)
    for step in range(length):
        points[step] = position
        turn = 0.9 * turn + bend * rng.standard_normal(len(start))
        direction = direction + turn
        direction /= np.linalg.norm(direction)
        position = position + direction
    return points


def draw_tube(canvas: np.ndarray, points: np.ndarray, widths: np.ndarray) -> None:
    """Raise `canvas` in place to a Gaussian profile, 1 on the line, around `points` (N, dims) with full widths in voxels (N,)."""
    for point, width in zip(points, widths, strict=True):
        reach = int(np.ceil(1.3 * width)) + 1
        low = np.maximum(np.round(point).astype(int) - reach, 0)
        high = np.minimum(np.round(point).astype(int) + reach + 1, canvas.shape)
        if np.any(low >= high):
            continue
        axes = [np.arange(a, b) - p for a, b, p in zip(low, high, point, strict=True)]
        squared = sum(axis**2 for axis in np.ix_(*axes))
        window = canvas[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        np.maximum(window, np.exp(-4 * np.log(2) * squared / width**2), out=window)
