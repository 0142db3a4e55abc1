"""Voxel size and patch of a plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from medseg.data.geometry import COARSE
from medseg.data.planning.fingerprint import Fingerprint

SAME = 0.01
"""Spacings that differ by less than this share are one."""

PADDED = 0.85
"""Share of a patch that the median image must fill for the patch to be larger than the image."""


def target_spacing(fingerprint: Fingerprint) -> tuple[list[float] | None, str]:
    """The voxel size to resample to, or None to keep each image's own, and why.

    The median over the cases, axis by axis. Where one axis is more than `COARSE` times coarser than every other, as resampling sees it too,
    and has as many times fewer voxels than every other, its median would throw away slices of the better half of the cases: its 10th
    percentile is taken, but nothing finer than the other axes.
    """
    spacings = fingerprint.spacings
    if fingerprint.spatial_dims == 2 and all(case.picture for case in fingerprint.cases):
        return None, "pictures know no millimetres: each keeps its pixels"
    median = np.median(spacings, axis=0)
    if (np.abs(spacings - median) <= SAME * median).all():
        return None, f"all cases share {shown_size(median)}: nothing to resample"
    shape = np.median(fingerprint.shapes * spacings / median, axis=0)
    coarse = int(np.argmax(median))
    others = np.delete(median, coarse)
    if median[coarse] > COARSE * others.max() and shape[coarse] * COARSE < np.delete(shape, coarse).min():
        finer = max(float(np.percentile(spacings[:, coarse], 10)), float(others.max()))
        reason = (
            f"median of the cases; axis {coarse} is {median[coarse] / others.max():.1f} times coarser, so it takes its 10th percentile, "
            f"{finer:.3g} instead of {median[coarse]:.3g} mm"
        )
        median[coarse] = min(finer, median[coarse])
        return _rounded(median), reason
    return _rounded(
        median
    ), f"median of the cases, which range from {shown_size(spacings.min(axis=0))} to {shown_size(spacings.max(axis=0))}"


def finer_for_lesions(fingerprint: Fingerprint, spacing: list[float] | None, lesion: float) -> tuple[list[float] | None, str | None]:
    """The spacing, or a finer one, so that a lesion of the given size (mm^3) still holds a voxel; and why where it changed."""
    if spacing is None or lesion >= np.prod(spacing):
        return spacing, None
    finest = np.minimum(spacing, np.percentile(fingerprint.spacings, 10, axis=0))
    if np.allclose(finest, spacing, rtol=SAME):
        return spacing, None
    reason = (
        f"the median spacing {shown_size(spacing)} makes voxels of {np.prod(spacing):.3g} mm^3, larger than the median lesion of the "
        f"smallest class ({lesion:.3g} mm^3): the 10th percentile of each axis instead"
    )
    return _rounded(finest), reason


def median_shape(fingerprint: Fingerprint, spacing: Sequence[float] | None) -> np.ndarray:
    """Median voxels along each axis after resampling."""
    shapes = fingerprint.shapes
    return np.median(shapes if spacing is None else np.rint(shapes * fingerprint.spacings / np.asarray(spacing)), axis=0)


def choose_patch(shape: np.ndarray, spacing: Sequence[float] | np.ndarray, fits: Callable[[list[int]], bool]) -> tuple[list[int], bool]:
    """The largest patch that fits, in the proportions of the median image, and whether it covers that image.

    Every axis is 4 to 7 times a power of two: it can be halved until 4 to 7 voxels are left, and the network's strides divide it.

    Args:
        shape: Median voxels along each axis.
        spacing: Voxel size, to choose between axes that are as good.
        fits: Whether a patch fits into memory.
    """
    patch = [covering_size(size) for size in shape]
    whole = list(patch)
    while not fits(patch):
        able = [axis for axis, size in enumerate(patch) if size > 2 * 4]
        if not able:
            return patch, patch == whole
        share = {axis: (patch[axis] / shape[axis], patch[axis] * spacing[axis]) for axis in able}
        axis = max(able, key=lambda axis: share[axis])
        patch[axis] = smaller_size(patch[axis])
    return patch, patch == whole


def covering_size(size: float) -> int:
    """The smallest good size that covers an axis, or the largest below it where more than 15 % of that would be padding."""
    above = next((good for good in _good_sizes() if good >= size), _good_sizes()[-1])
    return above if size >= PADDED * above or above <= 4 else smaller_size(above)


def smaller_size(size: int) -> int:
    """The next smaller good size, at least 1."""
    return max((good for good in _good_sizes(size) if good < size), default=1)


def _good_sizes(most: int = 2**14) -> list[int]:
    return [*range(1, 4), *(odd * 2**power for power in range(int(math.log2(most / 4)) + 1 if most >= 4 else 1) for odd in (4, 5, 6, 7))]


def shown_size(sizes: Sequence[float] | np.ndarray) -> str:
    """A voxel size in words: "0.7 x 0.7 x 3 mm"."""
    return " x ".join(f"{size:.3g}" for size in sizes) + " mm"


def _rounded(sizes: np.ndarray) -> list[float]:
    return [float(f"{size:.4g}") for size in sizes]
