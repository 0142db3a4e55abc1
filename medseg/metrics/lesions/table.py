"""One sparse table per class: which lesion of the reference shares how many voxels with which predicted component."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medseg.metrics.lesions.components import Connectivity, Part, components
from medseg.metrics.lesions.runs import Runs, joined, meetings, runs_of


@dataclass(frozen=True)
class Lesions:
    """The lesions of one class in one case: components of the reference and of the prediction, and their contingency table.

    Lesions are numbered from 0 by their first voxel in C order.

    Args:
        ref: Runs of the reference.
        pred: Runs of the prediction.
        ref_component: int64, the lesion of each run of the reference.
        pred_component: int64, the component of each run of the prediction.
        ref_voxels: int64 (n,), voxels of each lesion of the reference.
        pred_voxels: int64 (m,), voxels of each predicted component.
        spacing: Voxel size in mm.
        minimum_lesion: Reference lesions below this many mm^3 (mm^2 in 2-D) are not scored.
        connectivity: What joined the voxels of components.
    """

    ref: Runs
    pred: Runs
    ref_component: np.ndarray
    pred_component: np.ndarray
    ref_voxels: np.ndarray
    pred_voxels: np.ndarray
    spacing: tuple[float, ...]
    minimum_lesion: float = 0.0
    connectivity: Connectivity = "corners"

    @classmethod
    def of(
        cls,
        prediction: np.ndarray,
        reference: np.ndarray,
        spacing: Sequence[float],
        connectivity: Connectivity = "corners",
        minimum_lesion: float = 0.0,
    ) -> Lesions:
        """Find the lesions of two masks. Empty masks give tables without rows.

        Shape:
            prediction, reference: bool (*spatial), any crop that holds all foreground.

        Raises:
            ValueError: For masks of different shapes, a spacing that does not fit, or an unknown connectivity.
        """
        _check(prediction, reference, spacing)
        pred, ref = (runs_of(np.asarray(mask, dtype=np.bool_))[0] for mask in (prediction, reference))
        return cls.of_runs(pred, ref, spacing, connectivity, minimum_lesion)

    @classmethod
    def of_runs(
        cls,
        pred: Runs,
        ref: Runs,
        spacing: Sequence[float],
        connectivity: Connectivity = "corners",
        minimum_lesion: float = 0.0,
    ) -> Lesions:
        """Find the lesions of two masks that are runs already."""
        parts = (ref, *components(ref, connectivity)), (pred, *components(pred, connectivity))
        return cls.of_parts(*parts, spacing, minimum_lesion, connectivity)

    @classmethod
    def of_parts(
        cls, ref: Part, pred: Part, spacing: Sequence[float], minimum_lesion: float = 0.0, connectivity: Connectivity = "corners"
    ) -> Lesions:
        """Count the voxels of components that are known already."""
        (ref_runs, ref_component, ref_count), (pred_runs, pred_component, pred_count) = ref, pred
        return cls(
            ref=ref_runs,
            pred=pred_runs,
            ref_component=ref_component,
            pred_component=pred_component,
            ref_voxels=_sums(ref_component, ref_runs.lengths, ref_count),
            pred_voxels=_sums(pred_component, pred_runs.lengths, pred_count),
            spacing=tuple(float(size) for size in spacing),
            minimum_lesion=minimum_lesion,
            connectivity=connectivity,
        )

    @property
    def voxel_size(self) -> float:
        """Volume of a voxel in mm^3; area of a pixel in mm^2."""
        return math.prod(self.spacing)

    @cached_property
    def pairs(self) -> np.ndarray:
        """int64 (k, 3): reference lesion, predicted component and the voxels they share, for all that share any; ordered."""
        in_ref, in_pred = meetings(self.ref, self.pred, (0, 0))
        first = np.maximum(self.ref.start[in_ref], self.pred.start[in_pred])
        shared = np.minimum(self.ref.stop[in_ref], self.pred.stop[in_pred]) - first
        width = len(self.pred_voxels)
        keys, which = np.unique(self.ref_component[in_ref] * width + self.pred_component[in_pred], return_inverse=True)
        return np.stack([keys // max(width, 1), keys % max(width, 1), _sums(which, shared, len(keys))], axis=1)

    @cached_property
    def ious(self) -> np.ndarray:
        """float64 (k,): intersection over union of each of the pairs."""
        ref, pred, shared = self.pairs.T
        return shared / (self.ref_voxels[ref] + self.pred_voxels[pred] - shared)

    @cached_property
    def ref_scored(self) -> np.ndarray:
        """Whether each lesion is large enough to count: bool (n,)."""
        return self.ref_voxels * self.voxel_size >= self.minimum_lesion

    @cached_property
    def pred_scored(self) -> np.ndarray:
        """Whether each component counts: bool (m,). False for one that shares voxels with lesions, but only with such as do not."""
        scored = np.ones(len(self.pred_voxels), dtype=np.bool_)
        ref, pred, _ = self.pairs.T
        scored[pred] = False
        scored[pred[self.ref_scored[ref]]] = True
        return scored

    @property
    def nothing_scored(self) -> bool:
        """Whether neither map holds a lesion that counts: no score is defined."""
        return not self.ref_scored.any() and not self.pred_scored.any()


def lesions_by_class(
    prediction: np.ndarray,
    reference: np.ndarray,
    membership: np.ndarray,
    spacing: Sequence[float],
    connectivity: Connectivity = "corners",
    minimum_lesion: float = 0.0,
) -> list[Lesions]:
    """The lesions of every class from two label maps, each read once.

    Shape:
        prediction, reference: uint8 ids (*spatial), ignored voxels 0 in both; membership: bool (K, V), classes may share ids.

    Raises:
        ValueError: As `Lesions.of`.
    """
    _check(prediction, reference, spacing)
    (pred, pred_ids), (ref, ref_ids) = runs_of(prediction), runs_of(reference)
    result = []
    for row in np.asarray(membership, dtype=np.bool_):
        inside = np.zeros(256, dtype=np.bool_)
        inside[: len(row)] = row
        own_pred, own_ref = joined(pred.take(inside[pred_ids])), joined(ref.take(inside[ref_ids]))
        result.append(Lesions.of_runs(own_pred, own_ref, spacing, connectivity, minimum_lesion))
    return result


def _sums(groups: np.ndarray, amounts: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(groups, weights=amounts, minlength=count).astype(np.int64)  # exact: below 2^53


def _check(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> None:
    if prediction.shape != reference.shape:
        raise ValueError(f"the prediction has the shape {prediction.shape}, the reference {reference.shape}")
    if len(spacing) != reference.ndim:
        raise ValueError(f"{len(spacing)} spacings for {reference.ndim} axes")
