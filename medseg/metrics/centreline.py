"""Overlap of tubes along their centre lines."""

from __future__ import annotations

import numpy as np
from skimage.morphology import skeletonize


def cl_dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Centre-line Dice: how much of each mask's skeleton lies in the other mask; for vessels and airways, 1 is best.

    The harmonic mean of |S_P & R| / |S_P| (topology precision) and |S_R & P| / |S_R| (topology sensitivity), S the skeleton of a mask.

    Shape:
        two boolean masks (*spatial) in 2-D or 3-D.

    Empty masks: 0 where one is empty, NaN where both are. 0 also where neither skeleton touches the other mask. A mask that is thinned away
    altogether (2 x 2 x 2 voxels are) stands for its own skeleton.

    Source: Shit et al., CVPR 2021 (clDice), equations 1 to 3. Thinning: skimage (Zhang and Suen in 2-D, Lee in 3-D).
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"the prediction has the shape {prediction.shape}, the reference {reference.shape}")
    prediction, reference = prediction.astype(np.bool_, copy=False), reference.astype(np.bool_, copy=False)
    if not prediction.any() or not reference.any():
        return 0.0 if prediction.any() or reference.any() else float("nan")
    # what lies outside of both masks' box changes nothing, and thinning looks at every voxel many times
    box = tuple(_extent(prediction, reference, axis) for axis in range(reference.ndim))
    prediction, reference = np.pad(prediction[box], 1), np.pad(reference[box], 1)  # thinning in a single slice depends on its frame
    precision, sensitivity = _inside(prediction, reference), _inside(reference, prediction)
    return 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0.0


def _inside(mask: np.ndarray, other: np.ndarray) -> float:
    skeleton = skeletonize(mask).astype(np.bool_, copy=False)
    if not skeleton.any():
        skeleton = mask
    return np.count_nonzero(skeleton & other) / np.count_nonzero(skeleton)


def _extent(prediction: np.ndarray, reference: np.ndarray, axis: int) -> slice:
    others = tuple(other for other in range(reference.ndim) if other != axis)
    filled = np.flatnonzero(prediction.any(axis=others) | reference.any(axis=others))
    return slice(int(filled[0]), int(filled[-1]) + 1)
