"""Volumes of one slice, such as NIfTI files (x, y, 1), as 2-D images and back."""

from __future__ import annotations

import numpy as np

from medseg.data.geometry import Geometry
from medseg.data.images.axes import swap_rows_and_columns


def is_one_slice(geometry: Geometry) -> bool:
    """Whether a volume has a single slice along its third axis."""
    return geometry.spatial_dims == 3 and geometry.shape[2] == 1


def to_rows(array: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
    """A volume of one slice as the 2-D image that it is. Its affine keeps the slice's place and thickness.

    Shape:
        array: (..., x, y, 1) -> (..., y, x)
    """
    flat = Geometry(geometry.shape[1::-1], swap_rows_and_columns(geometry.affine))
    return np.ascontiguousarray(np.swapaxes(array[..., 0], -1, -2)), flat


def to_slice(array: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
    """The inverse of `to_rows`.

    Shape:
        array: (..., y, x) -> (..., x, y, 1)
    """
    volume = Geometry((*geometry.shape[::-1], 1), swap_rows_and_columns(geometry.affine))
    return np.ascontiguousarray(np.swapaxes(array, -1, -2)[..., None]), volume
