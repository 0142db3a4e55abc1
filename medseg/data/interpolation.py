"""Reading a regular grid at other positions, one axis at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from scipy.interpolate import CubicSpline

Kernel = Literal["cubic", "linear"]

_TILE = 48
"""Positions that share one matrix: small enough that few of its columns are zero, large enough for a fast product."""

_REACH = 12
"""Voxels beyond which a value does not move an interpolating cubic spline: its influence falls by 0.268 a voxel, to 1e-7."""


def read_along(tensor: torch.Tensor, axis: int, positions: np.ndarray, kernel: Kernel, out: torch.Tensor | None = None) -> torch.Tensor:
    r"""Reads a tensor at fractional positions along one axis.

    Where the positions lie closer together than the voxels, `cubic` is the interpolating cubic spline with natural ends and `linear` joins
    neighbours by straight lines. Where they lie $r > 1$ voxels apart, the voxels around each are averaged with the kernel widened by $r$
    (Keys' cubic with $a = -1/2$, or a triangle; near the ends as wide as fits), so that nothing finer than the new voxels folds back. Both
    reproduce a linear ramp. Positions outside the outermost voxels take the nearest one.

    Shape:
        tensor: (..., n, ...) floating -> (..., m, ...)

    Args:
        tensor: What to read.
        axis: The axis to read along.
        positions: (m,) evenly spaced, in voxels.
        kernel: `cubic` or `linear`.
        out: Where the result goes, contiguous; None: into new memory.
    """
    n, m = tensor.shape[axis], len(positions)
    before, after = tensor.shape[:axis], tensor.shape[axis + 1 :]
    source = tensor.reshape(_product(before), n, _product(after))
    shape = source.shape[0], m, source.shape[2]
    result = source.new_empty(shape) if out is None else out.view(shape)
    for rows, columns, weights in _tiles(positions, n, kernel):
        matrix = torch.as_tensor(weights, dtype=tensor.dtype, device=tensor.device)
        if source.shape[2] == 1:
            result[:, rows, 0] = source[:, columns, 0] @ matrix.T
        else:
            result[:, rows] = torch.bmm(matrix.expand(source.shape[0], *matrix.shape), source[:, columns])
    return result.reshape(*before, m, *after)


def _tiles(positions: np.ndarray, size: int, kernel: Kernel) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Pieces of the banded matrix that turns voxels into values: rows, columns, and the weights there."""
    step = abs(float(positions[-1] - positions[0])) / max(len(positions) - 1, 1)
    reach = int(np.ceil(2 * step)) + 1 if step > 1 else _REACH
    for start in range(0, len(positions), _TILE):
        wanted = np.clip(positions[start : start + _TILE], 0, size - 1)
        first = max(0, int(np.floor(wanted.min())) - reach)
        last = min(size, int(np.ceil(wanted.max())) + reach + 1)
        if step > 1:
            weights = _average(wanted - first, np.minimum(wanted, size - 1 - wanted), last - first, kernel, step)
        else:
            weights = _interpolate(wanted - first, last - first, kernel)
        yield slice(start, start + len(wanted)), slice(first, last), weights


def _interpolate(positions: np.ndarray, size: int, kernel: Kernel) -> np.ndarray:
    if size == 1:
        return np.ones((len(positions), 1))
    if kernel == "cubic":
        return np.asarray(CubicSpline(np.arange(size), np.eye(size), bc_type="natural")(positions))
    return np.clip(1 - np.abs(positions[:, None] - np.arange(size)), 0, None)


def _average(positions: np.ndarray, room: np.ndarray, size: int, kernel: Kernel, width: float) -> np.ndarray:
    support = 2 if kernel == "cubic" else 1
    widths = np.clip(room / support, 1, width)[:, None]
    # Voxels beyond the ends are the outermost ones again: their weights fall to these.
    columns = np.arange(-support, size + support)
    centres = positions
    for _ in range(8):  # a widened kernel, sampled at voxels, leans to one side by a few thousandths of a voxel: lean against it
        distance = np.abs(centres[:, None] - columns) / widths
        weights = _keys(distance) if kernel == "cubic" else np.clip(1 - distance, 0, None)
        weights /= weights.sum(axis=1, keepdims=True)
        centres = centres + positions - weights @ columns
    weights[:, support] += weights[:, :support].sum(axis=1)
    weights[:, support + size - 1] += weights[:, support + size :].sum(axis=1)
    return weights[:, support : support + size]


def _keys(distance: np.ndarray) -> np.ndarray:
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))


def _product(sizes: Sequence[int]) -> int:
    return int(np.prod(sizes, dtype=np.int64))
