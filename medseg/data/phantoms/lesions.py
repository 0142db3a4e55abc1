"""Scatters small irregular lesions over a volume, in 2-D and 3-D alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from medseg.data.phantoms.shapes import blob

LOWEST_SHARE, HIGHEST_SHARE = 0.001, 0.02
"""Bounds of the share of the voxels that the lesions of a case have together, empty cases aside."""
SMALLEST, LARGEST = 3, 300
"""Bounds of one lesion's size in voxels."""


def scatter_lesions(
    rng: np.random.Generator, prior: np.ndarray, spacing: Sequence[float], *, share: float, median: float, spread: float
) -> tuple[np.ndarray, np.ndarray]:
    r"""Place lesions until they fill a share of the voxels, itself drawn log-uniformly from 0.15 % to `share`.

    Sizes are log-normal, $n = \text{median} \cdot e^{\text{spread} \cdot \mathcal N(0, 1)}$, as those of white-matter lesions are (5, 50
    and 95 % of 3115 in 30 patients: 1, 17 and 261 mm^3). No two lesions touch, so each drawn lesion is one component.

    Args:
        rng: Source of randomness.
        prior: Relative probability that a lesion sits at a voxel; lesions are cut off where it is 0.
        spacing: Voxel size in mm, so that lesions are round in mm and not in voxels.
        share: Largest share of the voxels to aim for.
        median: Median size in voxels.
        spread: Standard deviation of the logarithm of the size.

    Returns:
        The lesions' mask, and their soft profile: 0.75 to 1.25 in the middle of a lesion, falling to 0 across its edge.

    Raises:
        ValueError: The prior leaves no room for the lesions.
    """
    mask, profile = np.zeros(prior.shape, dtype=bool), np.zeros(prior.shape)
    wanted = np.exp(rng.uniform(np.log(1.5 * LOWEST_SHARE), np.log(share))) * prior.size
    cumulative = np.cumsum(prior.ravel())
    filled = 0
    for _ in range(5000):  # many more tries than a prior with room for the lesions ever needs
        if filled >= wanted:
            return mask, profile
        centre = np.unravel_index(np.searchsorted(cumulative, rng.uniform(0, cumulative[-1]), side="right"), prior.shape)
        voxels = int(np.clip(np.round(median * np.exp(spread * rng.standard_normal())), SMALLEST, LARGEST))
        soft = blob(rng, voxels, spacing)
        strength = rng.uniform(0.75, 1.25)
        window, inside = _overlap([int(c) for c in centre], soft.shape, prior.shape)
        soft = soft[inside] * (prior[window] > 0)
        lesion = _largest_component(soft >= 0.5)
        size = int(lesion.sum())
        crowded = (ndimage.binary_dilation(lesion, np.ones((3,) * lesion.ndim)) & mask[window]).any()
        if crowded or not SMALLEST <= size <= min(LARGEST, HIGHEST_SHARE * mask.size - filled):
            continue
        soft[(soft >= 0.5) & ~lesion] = 0  # crumbs that the tissue's edge cut off
        mask[window] |= lesion
        profile[window] = np.maximum(profile[window], strength * soft)
        filled += size
    raise ValueError(f"no room for {wanted:.0f} lesion voxels in {np.count_nonzero(prior)} voxels of tissue")


def _overlap(centre: Sequence[int], window: Sequence[int], shape: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Give where a window (odd-sized) centred at `centre` lies in the volume, and which part of the window that is."""
    low = [c - w // 2 for c, w in zip(centre, window, strict=True)]
    outer = tuple(slice(max(a, 0), min(a + w, n)) for a, w, n in zip(low, window, shape, strict=True))
    inner = tuple(slice(o.start - a, o.stop - a) for o, a in zip(outer, low, strict=True))
    return outer, inner


def _largest_component(mask: np.ndarray) -> np.ndarray:
    components, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    if count < 2:
        return mask
    return components == 1 + np.argmax(np.bincount(components.ravel())[1:])
