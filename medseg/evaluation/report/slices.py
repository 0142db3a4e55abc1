"""Which slices of a volume are shown, and which way up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from medseg.data.geometry import Geometry, to_canonical

MOST_SLICES = 24
"""Slices of a case."""
AROUND = 5
"""Slices shown of a case in which neither mask has the class."""

Opens = Literal["error", "reference"]
"""By the area of what the slice that is shown first is chosen."""

_PLANES = ("sagittal", "coronal", "axial")
# What stands at the left, right, top and bottom: seen from the front or the feet, so that the patient's right is at the left.
_SIDES = (("A", "P", "S", "I"), ("R", "L", "S", "I"), ("R", "L", "A", "P"))


@dataclass(frozen=True)
class View:
    """Parallel slices through a case, upright in radiological convention; a 2-D case is one slice as it is.

    Args:
        image: float32 (C, *spatial) in canonical axes, or None.
        prediction: bool (*spatial), likewise.
        reference: bool (*spatial).
        axis: The axis that the slices are stacked along; None in 2-D.
        original: The grid of the files.
        canonical: The grid of these arrays.
    """

    image: np.ndarray | None
    prediction: np.ndarray
    reference: np.ndarray
    axis: int | None
    original: Geometry
    canonical: Geometry

    @classmethod
    def of(cls, image: np.ndarray | None, prediction: np.ndarray, reference: np.ndarray, geometry: Geometry) -> View:
        """Turn a case to canonical axes and stack it along its coarsest one: as it was scanned. Where voxels are cubes: axial slices.

        Shape:
            image float (C, *spatial); prediction, reference bool (*spatial).
        """
        if geometry.spatial_dims == 2:
            return cls(image, prediction, reference, None, geometry, geometry)
        masks, canonical = to_canonical(np.stack([prediction, reference]), geometry)
        turned = None if image is None else to_canonical(image, geometry)[0]
        coarsest = max(canonical.spacing)
        axis = max(at for at, size in enumerate(canonical.spacing) if size > 0.99 * coarsest)
        return cls(turned, masks[0], masks[1], axis, geometry, canonical)

    @property
    def count(self) -> int:
        """Slices of the case."""
        return 1 if self.axis is None else self.reference.shape[self.axis]

    @property
    def plane(self) -> str:
        """`axial`, `coronal`, `sagittal`, or nothing in 2-D."""
        return "" if self.axis is None else _PLANES[self.axis]

    @property
    def sides(self) -> tuple[str, str, str, str]:
        """What lies at the left, right, top and bottom of a slice: nearest anatomical directions; empty in 2-D."""
        return ("", "", "", "") if self.axis is None else _SIDES[self.axis]

    @property
    def pixel(self) -> tuple[float, float]:
        """Height and width of a pixel in mm."""
        if self.axis is None:
            return self.canonical.spacing[0], self.canonical.spacing[1]
        first, second = (size for at, size in enumerate(self.canonical.spacing) if at != self.axis)
        return second, first

    def cut(self, array: np.ndarray, at: int) -> np.ndarray:
        """Slice number `at` of an array (..., *spatial) as rows from the top and columns from the left: (..., H, W)."""
        if self.axis is None:
            return array
        lead = array.ndim - 3
        plane = np.take(array, at, axis=lead + self.axis)
        return np.swapaxes(plane, -1, -2)[..., ::-1, ::-1]

    def number(self, at: int) -> int:
        """The slice's number in the file, from 0."""
        if self.axis is None:
            return 0
        start, there = np.zeros(4), np.zeros(4)
        start[3] = there[3] = 1
        there[self.axis] = 1
        step = np.linalg.inv(self.original.affine) @ self.canonical.affine
        along = int(np.abs((step @ (there - start))[:3]).argmax())
        there[self.axis] = at
        # The other axes may be flipped, which moves only their own numbers.
        return round(float((step @ there)[along]))

    def choose(self, opens: Opens = "error") -> tuple[list[int], int]:
        """Numbers of the slices to show and which of them to begin with: those that hold either mask, evenly thinned.

        Args:
            opens: What is largest in the slice that is shown first and never thinned out: the area of error, or that of the reference;
                where there is none, the area of both masks.
        """
        if self.axis is None:
            return [0], 0
        others = tuple(at for at in range(3) if at != self.axis)
        either = np.count_nonzero(self.prediction | self.reference, axis=others)
        wanted = np.count_nonzero(self.reference if opens == "reference" else self.prediction ^ self.reference, axis=others)
        held = np.flatnonzero(either)
        if not held.size:
            middle = self.count // 2
            return list(range(max(0, middle - AROUND // 2), min(self.count, middle + AROUND // 2 + 1))), min(middle, AROUND // 2)
        first = int(wanted.argmax()) if wanted.any() else int(either.argmax())
        chosen = held[np.unique(np.linspace(0, held.size - 1, min(held.size, MOST_SLICES)).round().astype(int))].tolist()
        if first not in chosen:
            chosen[int(np.abs(np.array(chosen) - first).argmin())] = first
            chosen.sort()
        return chosen, chosen.index(first)
