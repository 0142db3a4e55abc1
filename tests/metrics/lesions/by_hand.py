"""The definitions, one lesion after the other on dense arrays: slow and obvious."""

from __future__ import annotations

import warnings
from itertools import permutations

import numpy as np
import surface_distance
from scipy import ndimage

RANKS = {"faces": 1, "edges": 2, "corners": 3}


def noise(seed: int, shape: tuple[int, ...], density: float = 0.06, jitter: float = 0.08) -> tuple[np.ndarray, np.ndarray]:
    """Two correlated random masks: lesions, split, merged, missed and false ones."""
    generator = np.random.default_rng(seed)
    blobs = ndimage.uniform_filter(generator.random(shape), 3)
    reference = blobs > np.quantile(blobs, 1 - density)
    moved = blobs + jitter * generator.standard_normal(shape)
    return moved > np.quantile(moved, 1 - density), reference


def structure(ndim: int, connectivity: str) -> np.ndarray:
    return ndimage.generate_binary_structure(ndim, min(RANKS[connectivity], ndim))


def masks_of(mask: np.ndarray, connectivity: str = "corners") -> list[np.ndarray]:
    """The components, each as a mask, in the order of their first voxel."""
    labels, count = ndimage.label(mask, structure(mask.ndim, connectivity))
    found = [labels == number for number in range(1, count + 1)]
    return sorted(found, key=lambda one: int(np.flatnonzero(one)[0]))


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def best_matching(ious: np.ndarray, least: float) -> tuple[int, float]:
    """Number of pairs and sum of IoU of the best one-to-one matching, by trying all."""
    if ious.shape[0] > ious.shape[1]:
        ious = ious.T
    tried = [[ious[row, column] for row, column in enumerate(order)] for order in permutations(range(ious.shape[1]), ious.shape[0])]
    kept = [[value for value in values if value >= least] for values in tried]
    return max((len(values), round(sum(values), 12)) for values in kept)


def brats(prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...], steps: int, least: float) -> tuple[float, float]:
    around = ndimage.generate_binary_structure(reference.ndim, 2)
    dilated = ndimage.binary_dilation(reference, around, iterations=steps)
    lesions = [one & reference for one in masks_of(dilated)]
    components = masks_of(prediction)
    touched, scores = set(), []
    for lesion in lesions:
        reach = ndimage.binary_dilation(lesion, around, iterations=steps)
        own = [index for index, component in enumerate(components) if (component & reach).any()]
        touched |= set(own)
        if lesion.sum() * np.prod(spacing) <= least:
            continue
        if not own:
            scores.append((0.0, 374.0))
            continue
        found = np.any([components[index] for index in own], axis=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it imports a part of SciPy by its old name
            distances = surface_distance.compute_surface_distances(lesion, found, spacing)
        scores.append((dice(lesion, found), surface_distance.compute_robust_hausdorff(distances, 95)))
    scores += [(0.0, 374.0)] * (len(components) - len(touched))
    return tuple(np.mean(scores, axis=0).tolist()) if scores else (np.nan, np.nan)  # type: ignore[return-value]


def cell_dice(prediction: np.ndarray, reference: np.ndarray) -> list[float]:
    lesions = masks_of(reference)
    nearest = np.argmin([np.rint(ndimage.distance_transform_edt(~lesion) ** 2) for lesion in lesions], axis=0)
    return [dice(prediction & (nearest == number), lesion) for number, lesion in enumerate(lesions)]
