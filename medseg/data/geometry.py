"""Where voxels lie in the world: the one place that knows about orientation, spacing and affines.

World coordinates are RAS+ millimetres, as in NIfTI. Arrays carry their channels first: (C, *spatial).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from nibabel import orientations

from medseg.data.interpolation import Kernel, read_along

Array = TypeVar("Array", np.ndarray, torch.Tensor)
Mode = Literal["linear", "nearest"]

COARSE = 3.0
"""How many times longer its voxels must be than along every other axis for an axis to be interpolated apart: there, neighbours are other
slices, and a curve through them would show what neither shows."""

# A grid whose axes are turned by less than this many voxels at its far corner is resampled axis by axis.
_ALIGNED_WITHIN = 1e-2

# Voxel centres that lie this close together, in voxels, are the same: headers round voxel sizes to 7 digits.
_SAME_WITHIN = 1e-3


@dataclass(frozen=True, eq=False)
class Geometry:
    """A voxel grid: its shape, and the affine that takes voxel indices to millimetres.

    Args:
        shape: Voxels along each spatial axis, two or three of them.
        affine: (4, 4), voxel index -> RAS+ mm. In 2-D the first two axes are rows and columns: `diag(row spacing, column spacing, 1, 1)`
            for images that know no position.

    Raises:
        ValueError: When the affine is singular or not finite.
    """

    shape: tuple[int, ...]
    affine: np.ndarray

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not _spans_space(affine[:3, :3]):
            raise ValueError(f"the affine does not map voxels to the world: {affine.tolist()}")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size in mm, one per spatial axis."""
        return tuple(float(norm) for norm in np.linalg.norm(self.affine[:3, : self.spatial_dims], axis=0))

    @property
    def orientation(self) -> str:
        """The world direction that each axis points to, such as "LAS"; empty in 2-D."""
        return "" if self.spatial_dims == 2 else "".join(orientations.aff2axcodes(self.affine))

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel in mm^3; area of a pixel in mm^2 in 2-D."""
        return float(np.prod(self.spacing))

    def mismatch(self, other: Geometry, tolerance: float = 1e-3) -> str | None:
        """Say what differs between two grids, or None when they are the same.

        Args:
            other: The grid to compare with.
            tolerance: Largest difference of an affine's element (mm) that still counts as equal.
        """
        if self.shape != other.shape:
            return f"shape {self.shape} against {other.shape}"
        difference = np.abs(self.affine - other.affine)
        if difference.max() <= tolerance:
            return None
        if not np.allclose(self.spacing, other.spacing, rtol=0, atol=tolerance):
            return f"spacing {_numbers(self.spacing)} mm against {_numbers(other.spacing)} mm"
        if self.orientation != other.orientation:
            return f"orientation {self.orientation} against {other.orientation}"
        if difference[:, :3].max() > tolerance:
            return f"direction of the axes differs by up to {difference[:, :3].max():.3g} mm per voxel"
        return f"origin {_numbers(self.affine[:3, 3])} mm against {_numbers(other.affine[:3, 3])} mm"


def to_canonical(array: Array, geometry: Geometry) -> tuple[Array, Geometry]:
    """Permute and flip the axes so that they point as close to right, anterior, superior as they can. 2-D is returned as it is.

    No voxel is interpolated: `from_canonical` is the exact inverse.

    Shape:
        array: (C, *spatial) -> (C, *permuted spatial)
    """
    if geometry.spatial_dims == 2:
        return array, geometry
    orientation = orientations.io_orientation(geometry.affine)
    affine = geometry.affine @ orientations.inv_ornt_aff(orientation, geometry.shape)
    turned = _reorient(array, orientation)
    return turned, Geometry(tuple(turned.shape[1:]), affine)


def from_canonical(array: Array, original: Geometry) -> Array:
    """Undo `to_canonical`: bring an array from canonical axes back to the axes of `original`.

    Shape:
        array: (C, *canonical spatial) -> (C, *original.shape)
    """
    if original.spatial_dims == 2:
        return array
    orientation = orientations.io_orientation(original.affine)
    canonical = orientations.axcodes2ornt("RAS")
    return _reorient(array, orientations.ornt_transform(canonical, orientation))


def resample(
    array: Array, geometry: Geometry, spacing: Sequence[float], mode: Literal["cubic", "linear", "nearest"]
) -> tuple[Array, Geometry]:
    r"""Resample to another voxel size, the centre of the volume staying where it is.

    The new grid has $\max(1, \mathrm{round}(n s / s'))$ voxels along an axis of $n$ voxels of size $s$, each exactly $s'$ large. Affines
    take the centres of voxels to the world. Points outside the old voxel centres take the nearest border voxel.

    Shape:
        array: (C, *spatial) -> (C, *new spatial)

    Args:
        array: `cubic` and `linear` return a floating dtype, `nearest` any dtype as it came.
        geometry: Grid of `array`.
        spacing: The new voxel size in mm, one number an axis.
        mode: For images `cubic`, see `medseg.data.interpolation`: cubic splines where voxels become smaller, averages where they become
            larger, never outside the channel's range, and linear along an axis more than `COARSE` times coarser than every other. For
            labels `nearest`. `linear` does not average.
    """
    if len(spacing) != geometry.spatial_dims:
        raise ValueError(f"spacing has {len(spacing)} numbers, the image {geometry.spatial_dims} axes")
    if min(spacing) <= 0:
        raise ValueError(f"spacing must be positive, got {list(spacing)}")
    target: Geometry = _resampled(geometry, spacing)
    if mode != "cubic":
        return resample_to(array, geometry, target, mode), target
    tensor = torch.as_tensor(np.ascontiguousarray(array)) if isinstance(array, np.ndarray) else array
    dtype = tensor.dtype if tensor.is_floating_point() else torch.float32
    result = torch.empty((len(tensor), *target.shape), dtype=dtype, device=tensor.device)
    positions = _positions(geometry, target)
    for channel, place in zip(tensor, result, strict=True):  # one at a time: what lies between input and output is that of one channel
        _read_channel(channel.to(dtype), positions, _kernels(geometry.spacing), place)
    return (result.numpy() if isinstance(array, np.ndarray) else result), target


def _resampled(geometry: Geometry, spacing: Sequence[float]) -> Geometry:
    """The grid of another voxel size around the same centre."""
    old_shape, old, new = np.array(geometry.shape), np.array(geometry.spacing), np.array(spacing, dtype=np.float64)
    shape = np.maximum(1, np.floor(old_shape * old / new + 0.5)).astype(int)
    dims = geometry.spatial_dims
    step = np.eye(4)  # new voxel index -> old voxel index
    step[range(dims), range(dims)] = new / old
    step[:dims, 3] = (old_shape - 1) / 2 - (new / old) * (shape - 1) / 2
    return Geometry(tuple(shape.tolist()), geometry.affine @ step)


def _positions(geometry: Geometry, target: Geometry) -> list[np.ndarray]:
    """Where the voxels of a grid of the same directions and centre lie along each axis, in voxels of the first."""
    grids = zip(geometry.shape, geometry.spacing, target.shape, target.spacing, strict=True)
    return [(np.arange(m) - (m - 1) / 2) * (new / old) + (n - 1) / 2 for n, old, m, new in grids]


def _kernels(spacing: Sequence[float]) -> list[Kernel]:
    """How to interpolate along each axis."""
    return ["linear" if size > COARSE * max(np.delete(spacing, axis)) else "cubic" for axis, size in enumerate(spacing)]


def _read_channel(channel: torch.Tensor, positions: Sequence[np.ndarray], kernels: Sequence[Kernel], out: torch.Tensor) -> None:
    """Read one channel (*spatial) at the positions along each axis into `out`, within its own range."""
    low, high, result = channel.min(), channel.max(), channel
    # The axis that shrinks most comes first, so that the others have less to do.
    order = sorted(range(channel.ndim), key=lambda axis: len(positions[axis]) / channel.shape[axis])
    order = [axis for axis in order if not _same_voxels(positions[axis], channel.shape[axis])]
    for axis in order:
        result = read_along(result, axis, positions[axis], kernels[axis], out if axis == order[-1] else None)
    torch.clamp(result, low, high, out=out)


def _same_voxels(positions: np.ndarray, size: int) -> bool:
    return len(positions) == size and np.allclose(positions, np.arange(size), rtol=0, atol=_SAME_WITHIN)


def resample_to(array: Array, geometry_from: Geometry, geometry_to: Geometry, mode: Mode) -> Array:
    """Read an array that lies on one grid at the voxel centres of another grid.

    Works for any pair of affines. Points outside the old voxel centres take the nearest border voxel.

    Shape:
        array: (C, *geometry_from.shape) -> (C, *geometry_to.shape)

    Args:
        array: Linear interpolation returns a floating dtype, nearest any dtype as it came.
        geometry_from: Grid of `array`.
        geometry_to: Grid of the result, with as many spatial axes.
        mode: `linear` or `nearest`.
    """
    dims = geometry_from.spatial_dims
    if tuple(array.shape[1:]) != geometry_from.shape or geometry_to.spatial_dims != dims:
        raise ValueError(f"array {tuple(array.shape)}, grid {geometry_from.shape} and target grid {geometry_to.shape} do not fit together")
    tensor = torch.as_tensor(np.ascontiguousarray(array)) if isinstance(array, np.ndarray) else array
    if mode == "linear" and not tensor.is_floating_point():
        tensor = tensor.float()
    positions = aligned_positions(geometry_from, geometry_to)
    if positions is None:
        step = np.linalg.inv(geometry_from.affine) @ geometry_to.affine
        tensor = _resample_turned(tensor, step[:dims, :dims], step[:dims, 3], geometry_to.shape, mode)
    else:
        for axis, wanted in enumerate(positions, start=1):
            tensor = read_between(tensor, axis, *_neighbours(wanted, tensor.shape[axis], mode))
    return tensor.numpy() if isinstance(array, np.ndarray) else tensor


def aligned_positions(geometry_from: Geometry, geometry_to: Geometry) -> list[np.ndarray] | None:
    """Where the voxels of `geometry_to` lie along each axis of `geometry_from`, in its voxels; None where their axes are turned."""
    dims = geometry_from.spatial_dims
    step = np.linalg.inv(geometry_from.affine) @ geometry_to.affine
    matrix, offset = step[:dims, :dims], step[:dims, 3]
    turn = np.abs(matrix - np.diag(np.diag(matrix))) @ np.array(geometry_to.shape)
    if turn.max() >= _ALIGNED_WITHIN:
        return None
    return [np.arange(size) * scale + start for scale, start, size in zip(np.diag(matrix), offset, geometry_to.shape, strict=True)]


def linear_neighbours(positions: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Between which voxels positions along an axis of `size` voxels lie, for `read_between`.

    Returns:
        The lower voxel of each, and the weight of the one above it; no weights where voxel centres meet voxel centres.
    """
    return _neighbours(positions, size, "linear")


def _neighbours(positions: np.ndarray, size: int, mode: Mode) -> tuple[np.ndarray, np.ndarray | None]:
    positions = np.clip(positions, 0, size - 1)
    if mode == "nearest" or np.allclose(positions, np.round(positions), rtol=0, atol=_SAME_WITHIN):
        return np.floor(positions + 0.5).astype(np.int64), None
    low = np.minimum(np.floor(positions), max(size - 2, 0)).astype(np.int64)
    return low, positions - low


def read_between(tensor: torch.Tensor, axis: int, low: np.ndarray, weight: np.ndarray | None) -> torch.Tensor:
    """Read a tensor along one axis at the voxels `low` (m,), mixed with the voxels above them by `weight` (m,)."""
    size = tensor.shape[axis]
    if weight is None:
        if low.size == size and (low == np.arange(size)).all():
            return tensor
        return tensor.index_select(axis, torch.as_tensor(low, device=tensor.device))
    shape = [1] * tensor.ndim
    shape[axis] = -1
    factor = torch.as_tensor(weight, dtype=tensor.dtype, device=tensor.device).view(shape)
    below = tensor.index_select(axis, torch.as_tensor(low, device=tensor.device))
    above = tensor.index_select(axis, torch.as_tensor(np.minimum(low + 1, size - 1), device=tensor.device))
    return torch.lerp(below, above, factor)


def _resample_turned(tensor: torch.Tensor, matrix: np.ndarray, offset: np.ndarray, shape: tuple[int, ...], mode: Mode) -> torch.Tensor:
    """Read a tensor on a grid whose axes are turned against its own."""
    axes = [torch.arange(size, dtype=torch.float32, device=tensor.device) for size in shape]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) @ torch.as_tensor(
        matrix.T, dtype=torch.float32, device=tensor.device
    )
    points += torch.as_tensor(offset, dtype=torch.float32, device=tensor.device)
    sizes = torch.tensor(tensor.shape[1:], device=tensor.device)
    grid = (2 * points / (sizes - 1).clamp(min=1) - 1).flip(-1)  # grid_sample wants the last axis first, in [-1, 1]
    kind = "bilinear" if mode == "linear" else "nearest"
    sampled = F.grid_sample(tensor[None].float(), grid[None], mode=kind, padding_mode="border", align_corners=True)
    return sampled[0].to(tensor.dtype)


def _reorient(array: Array, orientation: np.ndarray) -> Array:
    """Apply a nibabel orientation (input axis -> output axis, flip) to the spatial axes, as a contiguous array."""
    target: list[int] = orientation[:, 0].astype(int).tolist()
    flipped = [axis + 1 for axis in range(3) if orientation[axis, 1] < 0]
    order = [0, *(int(axis) + 1 for axis in np.argsort(target))]
    if isinstance(array, np.ndarray):
        return np.ascontiguousarray(np.flip(array, tuple(flipped)).transpose(order))
    return torch.flip(array, flipped).permute(order).contiguous()


def _spans_space(axes: np.ndarray) -> bool:
    sizes = np.linalg.norm(axes, axis=0)
    return bool((sizes > 0).all() and abs(np.linalg.det(axes / sizes)) > 1e-6)


def _numbers(values: Sequence[float] | np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
