"""How a scanner would have stored a volume: voxel axes in any order and direction, sometimes tilted."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from scipy.spatial.transform import Rotation

ORIENTATIONS = ("RAS", "RAS", "LAS", "LPS", "PSR", "SAL")
"""Voxel axes of the stored volumes, equally likely; RAS is there twice."""


def affine(rng: np.random.Generator, shape: Sequence[int], spacing: Sequence[float]) -> np.ndarray:
    """Give a voxel to RAS+ mm matrix that puts the middle near the origin; in one case of five tilted by a few degrees."""
    angles = rng.normal(0, 4, 3) if rng.uniform() < 0.2 else np.zeros(3)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * np.asarray(spacing)
    middle = (np.asarray(shape) - 1) / 2
    matrix[:3, 3] = np.round(rng.uniform(-20, 20, 3), 1) - matrix[:3, :3] @ middle
    return matrix


def store_as(volume: np.ndarray, matrix: np.ndarray, axes: str) -> tuple[np.ndarray, np.ndarray]:
    """Reorder a RAS volume so that its voxel axes run towards `axes` (such as "LPS"), with the matrix that says so."""
    wanted = nib.orientations.axcodes2ornt(tuple(axes))
    transform = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt(tuple("RAS")), wanted)
    turned = nib.orientations.apply_orientation(volume, transform)
    return np.ascontiguousarray(turned), matrix @ nib.orientations.inv_ornt_aff(transform, volume.shape)
