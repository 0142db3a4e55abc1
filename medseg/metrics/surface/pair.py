"""From two label maps to the distances between their surfaces, whatever a surface is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from medseg.metrics.surface.elements import Elements, join
from medseg.metrics.surface.frame import Frame, foreground_box, label_maps
from medseg.metrics.surface.measures import Surfaces
from medseg.metrics.surface.nearest import distances, margin


def surface_pairs(
    prediction: np.ndarray,
    reference: np.ndarray,
    membership: np.ndarray,
    spacing: Sequence[float],
    elements_of: Callable[[np.ndarray, Frame], Elements],
    beyond: int,
) -> list[Surfaces]:
    """The distances between both maps' elements, for each class.

    Args:
        prediction: uint8 ids (*spatial).
        reference: uint8 ids (*spatial).
        membership: bool (K, V).
        spacing: mm.
        elements_of: A flat map of class index + 1 and its frame -> elements.
        beyond: Places that elements take after the last voxel, along each axis.
    """
    _check(prediction, reference, membership, spacing)
    if not len(membership):
        return []
    if reference.flags.f_contiguous:  # distances do not depend on the order of the axes, reading them does
        prediction, reference, spacing = prediction.T, reference.T, spacing[::-1]
    spacing = tuple(float(step) for step in spacing)
    low, extent = foreground_box(prediction, reference)
    frame = Frame(low, tuple(n + beyond for n in extent), margin(spacing))
    pairs = [
        (elements_of(predicted, frame), elements_of(referred, frame))
        for predicted, referred in label_maps(prediction, reference, membership, frame)
    ]
    ours, theirs = (join([pair[side] for pair in pairs]) for side in (0, 1))
    ours_to_theirs, theirs_to_ours = distances(ours, theirs, frame, spacing), distances(theirs, ours, frame, spacing)
    predicted, referred = _by_class(ours, ours_to_theirs, len(membership)), _by_class(theirs, theirs_to_ours, len(membership))
    return [Surfaces(p, r, p_weights, r_weights) for (p, p_weights), (r, r_weights) in zip(predicted, referred, strict=True)]


def _by_class(elements: Elements, values: np.ndarray, classes: int) -> list[tuple[np.ndarray, np.ndarray | None]]:
    order = np.argsort(elements.owner, kind="stable")
    ends = np.cumsum(np.bincount(elements.owner, minlength=classes))[:-1]
    weights = [None] * classes if elements.weight is None else np.split(elements.weight[order], ends)
    return list(zip(np.split(values[order], ends), weights, strict=True))


def _check(prediction: np.ndarray, reference: np.ndarray, membership: np.ndarray, spacing: Sequence[float]) -> None:
    if prediction.shape != reference.shape:
        raise ValueError(f"the prediction has the shape {prediction.shape}, the reference {reference.shape}")
    if prediction.dtype != np.uint8 or reference.dtype != np.uint8:
        raise ValueError(f"label maps of ids must be uint8, got {prediction.dtype} and {reference.dtype}")
    if len(spacing) != reference.ndim or reference.ndim not in (2, 3):
        raise ValueError(f"2 or 3 axes with a spacing for each are needed, got {reference.ndim} axes and {len(spacing)} spacings")
    if membership.ndim != 2 or len(membership) > 255 or membership.shape[1] > 255:
        raise ValueError(f"the membership must be a table of up to 255 classes and 255 ids, got the shape {membership.shape}")
