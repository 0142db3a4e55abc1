"""Everything geometric about a 2-D patch as one interpolation: symmetry, rotation, scale and bend composed into one map."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from medseg.data.augmentation.base import Draw
from medseg.data.augmentation.pictures_changes import smooth, working

TURNED = 0.5
"""Share of the patches that are rotated and scaled."""
BENT = 0.25
"""Share of the patches that are bent."""
GRID = 6
"""Points an axis of the coarse grid whose displacements are interpolated to a bend."""
MOST_ELASTIC = 0.05
"""Largest displacement that leaves the map one to one: beyond it tissue would fold over itself."""
QUARTERS = tuple(np.array(turn) for turn in ([[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]))
"""Rotations by 0, 1, 2 and 3 quarters."""

cv2.setNumThreads(0)  # loader processes are the parallelism; OpenCV's threads would not survive their fork


class Warp:
    """Draws and applies the geometric changes of a 2-D patch.

    Symmetries alone copy pixels exactly. With a rotation, a scale or a bend all of them become one bilinear interpolation of the image,
    channel by channel through the same map, and one nearest-neighbour reading of the label. The box that is read is as large as the
    map needs, so that corners which turn in show the real image around the patch.

    Args:
        mirror: The axes that are flipped in half of the patches (0: rows, 1: columns).
        rotation: Largest angle in degrees; from 90 on, whole quarter turns are drawn too, also for patches that are not rotated otherwise.
        scale: Largest change of size, one factor for both axes: 0.2 is 1 / 1.2 to 1.2.
        elastic: Largest displacement of a bend, as a share of the patch's shorter side.

    Raises:
        ValueError: A range that makes no sense; the message names it.
    """

    def __init__(self, mirror: Sequence[int], rotation: float, scale: float, elastic: float) -> None:
        if not 0 <= rotation <= 180:
            raise ValueError(f"rotation must lie between 0 and 180 degrees, got {rotation}")
        if not 0 <= scale <= 1:
            raise ValueError(f"scale must lie between 0 and 1, got {scale}")
        if not 0 <= elastic <= MOST_ELASTIC:
            raise ValueError(f"elastic must lie between 0 and {MOST_ELASTIC}, got {elastic}: beyond that the tissue folds")
        self.mirror, self.rotation, self.scale, self.elastic = tuple(mirror), rotation, scale, elastic

    def draw(self, start: tuple[int, ...], patch_size: tuple[int, ...], spacing: Sequence[float], rng: np.random.Generator) -> Draw:
        """Draw the changes of one patch: the box to read and, in the parameters, how to turn it into the patch."""
        symmetry = self._symmetry(spacing, rng)
        angle, zoom = 0.0, 1.0
        if (self.rotation or self.scale) and rng.random() < TURNED:
            angle = np.deg2rad(rng.uniform(-self.rotation, self.rotation))
            zoom = float(np.exp(rng.uniform(-1, 1) * np.log1p(self.scale)))
        bend = None
        if self.elastic and rng.random() < BENT:
            largest = rng.uniform(0, self.elastic) * min(patch_size)
            bend = (largest * rng.uniform(-1, 1, (2, GRID, GRID))).astype(np.float32)
        if angle == 0.0 and zoom == 1.0 and bend is None:
            size = np.abs(symmetry) @ np.asarray(patch_size)
            moved = np.asarray(start) + (np.asarray(patch_size) - size) // 2
            return Draw(_integers(moved), _integers(size), {"symmetry": symmetry})
        matrix = symmetry @ _turn(angle, zoom, spacing)
        middle = np.asarray(start) + (np.asarray(patch_size) - 1) / 2
        # Cubic interpolation between the points of the bend can exceed them.
        reach = np.abs(matrix) @ ((np.asarray(patch_size) - 1) / 2) + (0 if bend is None else 1.5 * np.abs(bend).max())
        low, high = np.floor(middle - reach), np.ceil(middle + reach)
        parameters = {"matrix": matrix, "middle": middle - low, "bend": bend, "patch": tuple(patch_size)}
        return Draw(_integers(low), _integers(high - low + 1), parameters)

    def apply(self, image: np.ndarray, label: np.ndarray, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        """Turn the box (C, *draw.size) and its label into the patch, in arrays of their own."""
        if "symmetry" in draw.parameters:
            symmetry = draw.parameters["symmetry"]
            return np.array(_arranged(image, symmetry), np.float32, order="C"), np.array(_arranged(label, symmetry), order="C")
        rows, columns = _maps(**{key: draw.parameters[key] for key in ("matrix", "middle", "bend", "patch")})
        moved = np.empty((len(image), *draw.parameters["patch"]), dtype=np.float32)
        for source, target in zip(image, moved, strict=True):
            # Channel by channel: OpenCV wants channels last, and turning the array costs more than reading the map again.
            cv2.remap(np.ascontiguousarray(source), columns, rows, cv2.INTER_LINEAR, dst=target, borderMode=cv2.BORDER_REPLICATE)
        return moved, cv2.remap(np.ascontiguousarray(label), columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)

    def _symmetry(self, spacing: Sequence[float], rng: np.random.Generator) -> np.ndarray:
        """A signed permutation: from an offset in the patch to the offset in the image."""
        flips = [-1 if axis in self.mirror and rng.random() < 0.5 else 1 for axis in (0, 1)]
        symmetry = np.diag(flips)
        if self.rotation >= 90 and np.isclose(spacing[0], spacing[1]):
            symmetry = symmetry @ QUARTERS[rng.integers(4) if self.rotation == 180 else rng.integers(-1, 2)]
        return symmetry


def _turn(angle: float, zoom: float, spacing: Sequence[float]) -> np.ndarray:
    """Rotation and scale as a map of offsets in voxels; the rotation is one in millimetres."""
    cos, sin = np.cos(angle), np.sin(angle)
    size = np.asarray(spacing, dtype=np.float64)
    return np.array([[cos, -sin], [sin, cos]]) * size / size[:, None] / zoom


def _maps(matrix: np.ndarray, middle: np.ndarray, bend: np.ndarray | None, patch: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Row and column in the box of every pixel of the patch, float32 (*patch), in working arrays."""
    offsets = [np.arange(length) - (length - 1) / 2 for length in patch]
    maps = working(patch, "rows"), working(patch, "columns")
    for axis, target in enumerate(maps):
        along_rows = (matrix[axis, 0] * offsets[0] + middle[axis]).astype(np.float32)
        np.add(along_rows[:, None], (matrix[axis, 1] * offsets[1]).astype(np.float32), out=target)
        if bend is not None:
            target += smooth(bend[axis], working(patch))
    return maps


def _arranged(array: np.ndarray, symmetry: np.ndarray) -> np.ndarray:
    """The last two axes permuted and flipped; a view."""
    if symmetry[0, 0] == 0:
        array = np.swapaxes(array, -1, -2)
        first, second = symmetry[1, 0], symmetry[0, 1]
    else:
        first, second = symmetry[0, 0], symmetry[1, 1]
    return array[..., :: int(first), :: int(second)]


def _integers(numbers: np.ndarray) -> tuple[int, ...]:
    return tuple(int(number) for number in numbers)
