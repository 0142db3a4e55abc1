"""One case and one of its classes, as the metrics see them: everything that several metrics need is made once, and only when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy import ndimage

from medseg.metrics.counts import IGNORE, ClassCounts, class_counts
from medseg.metrics.lesions import Lesions, LesionWise, lesions_by_class, panoptic
from medseg.metrics.options import MetricOptions
from medseg.metrics.surface import Surfaces, surfaces, surfels
from medseg.metrics.surface.frame import foreground_box

Box = tuple[slice, ...]


class CaseView:
    """The two label maps of a case. Nothing is done for each class over the whole volume.

    Args:
        prediction: Predicted ids.
        reference: True ids, 255 where the voxel is ignored: such voxels are background in both maps.
        classes: Names of the classes.
        membership: Which ids belong to which class.
        spacing: Voxel size in mm, one per spatial axis.
        options: The rules.

    Shape:
        prediction, reference: uint8 (*spatial), 2-D or 3-D; membership: bool (K, V).

    Raises:
        ValueError: For maps that differ in shape, are not uint8 or hold unknown ids, and for names or spacings that do not fit.
    """

    def __init__(
        self,
        prediction: np.ndarray,
        reference: np.ndarray,
        classes: Sequence[str],
        membership: np.ndarray,
        spacing: Sequence[float],
        options: MetricOptions,
    ) -> None:
        membership = np.asarray(membership, dtype=np.bool_)
        if membership.shape[0] != len(classes) or len(spacing) != reference.ndim:
            raise ValueError(f"{len(classes)} classes and {len(spacing)} spacings do not fit {membership.shape} and {reference.ndim} axes")
        self.spacing = tuple(float(step) for step in spacing)
        if not all(0 < step < float("inf") for step in self.spacing):
            raise ValueError(f"the spacing {self.spacing} is not in mm: every number must be above 0")
        self.prediction, self.reference = prediction, reference
        self.membership, self.options = membership, options
        voxel_ml = float(np.prod(self.spacing)) / 1000 if reference.ndim == 3 else float("nan")
        self.counts = class_counts(prediction, reference, membership, voxel_ml)
        self.classes = [ClassView(self, index, name) for index, name in enumerate(classes)]

    @property
    def diagonal_mm(self) -> float:
        """Diagonal of the whole image, from outer edge to outer edge."""
        return float(np.linalg.norm(np.multiply(self.reference.shape, self.spacing)))

    @cached_property
    def maps(self) -> tuple[np.ndarray, np.ndarray]:
        """Prediction and reference in the box of all foreground, without ignored voxels."""
        box = tuple(slice(low, low + extent) for low, extent in zip(*foreground_box(self.prediction, self.reference), strict=True))
        prediction, reference = np.ascontiguousarray(self.prediction[box]), np.ascontiguousarray(self.reference[box])
        if max(prediction.max(initial=0), reference.max(initial=0)) == IGNORE:
            ignored = reference == IGNORE
            prediction = np.where(ignored | (prediction == IGNORE), np.uint8(0), prediction)
            reference = np.where(ignored, np.uint8(0), reference)
        return prediction, reference

    @cached_property
    def surfaces(self) -> dict[int, Surfaces]:
        """Distances between the voxel borders of every class that both maps hold, from one walk."""
        shared = self._shared
        return dict(zip(shared, surfaces(*self.maps, self.membership[shared], self.spacing), strict=True))

    @cached_property
    def surfels(self) -> dict[int, Surfaces]:
        """The same between surface elements, weighted by their area."""
        shared = self._shared
        return dict(zip(shared, surfels(*self.maps, self.membership[shared], self.spacing), strict=True))

    @cached_property
    def lesions(self) -> list[Lesions]:
        """Components and their overlaps of every class, from one reading of each map."""
        options = self.options
        return lesions_by_class(*self.maps, self.membership, self.spacing, options.connectivity, options.minimum_lesion)

    def masks(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Prediction and reference of one class, in the box of its voxels in either."""
        ids = np.flatnonzero(self.membership[index])
        boxes = [of_map[v - 1] for of_map in self._boxes for v in ids if v > 0 and of_map[v - 1] is not None]
        box = tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True))
        prediction, reference = (ids_of[box] if boxes else ids_of[:0] for ids_of in self.maps)
        if len(ids) == 1:
            return prediction == ids[0], reference == ids[0]
        inside = np.zeros(256, dtype=np.bool_)
        inside[ids] = True
        return inside[prediction], inside[reference]

    @cached_property
    def _boxes(self) -> list[list[Box | None]]:
        ids = self.membership.shape[1] - 1
        return [ndimage.find_objects(ids_of, max_label=ids) for ids_of in self.maps]

    @property
    def _shared(self) -> list[int]:
        return [index for index, counts in enumerate(self.counts) if counts.ref_voxels and counts.pred_voxels]


class ClassView:
    """One class of a `CaseView`: what a metric is a function of."""

    def __init__(self, case: CaseView, index: int, name: str) -> None:
        self.case, self.index, self.name = case, index, name

    @property
    def counts(self) -> ClassCounts:
        """Voxels."""
        return self.case.counts[self.index]

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size in mm."""
        return self.case.spacing

    @property
    def surfaces(self) -> Surfaces:
        """Distances between voxel borders. Only for a class that both maps hold."""
        return self.case.surfaces[self.index]

    @property
    def surfels(self) -> Surfaces:
        """Distances between surface elements. Only for a class that both maps hold."""
        return self.case.surfels[self.index]

    @cached_property
    def masks(self) -> tuple[np.ndarray, np.ndarray]:
        """Prediction and reference, boolean, in the box of the class."""
        return self.case.masks(self.index)

    @property
    def lesions(self) -> Lesions:
        """Components of both maps and their overlaps."""
        return self.case.lesions[self.index]

    @cached_property
    def panoptic(self) -> tuple[float, float, float]:
        """PQ, SQ and RQ."""
        return panoptic(self.lesions)

    @cached_property
    def lesion_wise(self) -> LesionWise:
        """Lesions as BraTS 2023 joins and matches them."""
        return LesionWise.of(self.lesions, self.case.options.brats)
