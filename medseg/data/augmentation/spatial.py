"""Rotation, scaling, elastic bending and mirroring of a patch, drawn together and done as one resampling, or none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from medseg.data.augmentation.warp import Motion, warp, warp_slices

ANISOTROPIC = 3.0
"""Ratio of voxel sizes, or of patch sizes, above which patches are turned in the plane only."""

_ELONGATED = 1.5  # ratio of picture sizes above which nnU-Net turns little
_CONTROLS = 7  # control points of elastic bending along the longest side of the patch
_FOLDS = 0.4  # share of the distance of two control points: larger displacements could fold the image
_LARGEST_BOX = 8.0  # times the voxels of the patch


@dataclass(frozen=True)
class Move:
    """What happens to one patch in space.

    Args:
        patch: Size in voxels.
        mirrored: The axes that are flipped.
        motion: Where the voxels come from, flips included, along all axes but `still`; None: from the box, which was read with its flips.
        still: The axis of a volume that `motion` leaves out.
    """

    patch: tuple[int, ...]
    mirrored: tuple[int, ...] = ()
    motion: Motion | None = None
    still: int | None = None

    def apply(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Makes the patch of the box.

        Shape:
            image (C, *box) float32 -> (C, *patch), label (*box) uint8 -> (*patch).
        """
        if self.motion is None:
            return image, label
        if self.still is None:
            return warp(image, label, self.motion, self.patch)
        image, label = self._warp_slices(image, label, self.motion, self.still)
        return (image.flip(self.still + 1), label.flip(self.still)) if self.still in self.mirrored else (image, label)

    def _warp_slices(self, image: Tensor, label: Tensor, motion: Motion, still: int) -> tuple[Tensor, Tensor]:
        """Moves all slices alike."""
        rows, columns = (size for axis, size in enumerate(self.patch) if axis != still)
        image, label = warp_slices(image.movedim(still + 1, -1), label.movedim(still, -1), motion, (rows, columns))
        return image.movedim(-1, still + 1), label.movedim(-1, still)


@dataclass(frozen=True)
class Spatial:
    """Draws moves.

    Args:
        rotation: Largest angle in degrees, about each axis, in mm; None: 30 in volumes, 180 within a plane, 15 in elongated pictures.
        scale: Smallest and largest size of the objects, as a factor; the same for all axes. The size of the field of view is uniform.
        elastic: Largest displacement in mm.
        mirror_axes: Axes that may be flipped.
        probabilities: Of `rotation`, `scale`, `elastic` and, for each axis, `mirror`.
    """

    rotation: float | None
    scale: tuple[float, float]
    elastic: float
    mirror_axes: tuple[int, ...]
    probabilities: dict[str, float]

    def draw(
        self, start: tuple[int, ...], patch: tuple[int, ...], spacing: Sequence[float], rng: np.random.Generator
    ) -> tuple[Move, tuple[int, ...], tuple[int, ...]]:
        """Draws a move, and says which box of the image it needs: its first voxel and its size."""
        still = still_axis(patch, spacing)
        axes = [axis for axis in range(len(patch)) if axis != still]
        mirrored = tuple(axis for axis in self.mirror_axes if rng.random() < self.probabilities["mirror"])
        turn = self._turn(patch, len(axes), rng) if rng.random() < self.probabilities["rotation"] and self.rotation != 0 else None
        shrink = rng.uniform(1 / self.scale[1], 1 / self.scale[0]) if rng.random() < self.probabilities["scale"] else 1.0
        bends = rng.random() < self.probabilities["elastic"] and self.elastic > 0
        if turn is None and shrink == 1 and not bends:
            return Move(patch, mirrored), start, patch
        mm = np.array([spacing[axis] for axis in axes], dtype=np.float64)
        size = np.array([patch[axis] for axis in axes])
        matrix = shrink * (np.eye(len(axes)) if turn is None else turn * mm / mm[:, None])
        matrix = matrix * np.where(np.isin(axes, mirrored), -1, 1)
        # Bent first and turned then: displacements turn, and shrink, with everything else.
        controls = np.tensordot(matrix, self._controls(size, mm, rng), axes=1) if bends else None
        reach = np.abs(matrix) @ ((size - 1) / 2)
        if controls is not None:
            reach = reach + np.abs(controls).reshape(len(axes), -1).max(axis=1)
        centre = np.array([start[axis] for axis in axes]) + (size - 1) / 2
        low, count = _box(centre, reach, size)
        offset = centre - low - matrix @ ((size - 1) / 2)
        box_start, box_size = list(start), list(patch)
        for axis, first, length in zip(axes, low, count, strict=True):
            box_start[axis], box_size[axis] = int(first), int(length)
        return Move(patch, mirrored, Motion(matrix, offset, controls), still), tuple(box_start), tuple(box_size)

    def _turn(self, patch: tuple[int, ...], dims: int, rng: np.random.Generator) -> np.ndarray:
        """A rotation matrix, of 2 or 3 dimensions."""
        limit = default_rotation(patch, dims) if self.rotation is None else self.rotation
        matrix = np.eye(dims)
        for first, second in [(0, 1)] if dims == 2 else [(1, 2), (0, 2), (0, 1)]:
            angle = math.radians(rng.uniform(-limit, limit))
            about = np.eye(dims)
            about[first, first] = about[second, second] = math.cos(angle)
            about[first, second], about[second, first] = -math.sin(angle), math.sin(angle)
            matrix = matrix @ about
        return matrix

    def _controls(self, size: np.ndarray, mm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Displacements of the control points in voxels, each coordinate uniform up to a strength that is itself drawn."""
        distance = float((size * mm).max()) / (_CONTROLS - 3)
        counts = [3 + math.ceil(extent / distance - 1e-9) for extent in size * mm]
        strength = min(rng.uniform(0, self.elastic), _FOLDS * float((size * mm / (np.array(counts) - 3)).min()))
        return rng.uniform(-strength, strength, (len(size), *counts)) / mm.reshape(-1, *(1,) * len(size))


def still_axis(patch: tuple[int, ...], spacing: Sequence[float]) -> int | None:
    """The axis across the slices of a strongly anisotropic volume, to which patches are not turned, scaled or bent."""
    if len(patch) == 2:
        return None
    if max(spacing) > ANISOTROPIC * min(spacing):
        return int(np.argmax(spacing))
    return int(np.argmin(patch)) if max(patch) > ANISOTROPIC * min(patch) else None


def default_rotation(patch: tuple[int, ...], dims: int) -> float:
    """nnU-Net's largest angle in degrees, for a patch that is turned in 2 or 3 dimensions."""
    if dims == 3:
        return 30.0
    return 15.0 if len(patch) == 2 and max(patch) > _ELONGATED * min(patch) else 180.0


def _box(centre: np.ndarray, reach: np.ndarray, patch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First voxel and size of the box that holds all points, cut to `_LARGEST_BOX` patches along the axes that stretch the most."""
    # Without the small number, rounding would add a voxel to each side of a patch that is turned by 90 degrees.
    low, high = np.floor(centre - reach + 1e-6), np.ceil(centre + reach - 1e-6)
    size = high - low + 1
    largest = np.maximum(np.floor(_common_ratio(np.sort(size / patch)[::-1]) * patch + 1e-6), 1)
    return np.where(size > largest, np.ceil(centre - largest / 2), low), np.minimum(size, largest)


def _common_ratio(ratios: np.ndarray) -> float:
    """What ratios of box to patch, in descending order, are cut to so that their product is at most `_LARGEST_BOX`."""
    if np.prod(ratios) <= _LARGEST_BOX:
        return float(ratios[0])
    for count in range(1, len(ratios)):
        common = (_LARGEST_BOX / np.prod(ratios[count:])) ** (1 / count)
        if common >= ratios[count]:
            return float(common)
    return float(_LARGEST_BOX ** (1 / len(ratios)))
