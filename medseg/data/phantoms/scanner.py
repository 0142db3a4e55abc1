"""What scanners differ in: orientation and tilt of the stored volume, and for several sites voxels, slices, noise and contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Site:
    """One of several hospitals, each with its scanner and protocol: what differs between them and not between their patients.

    Attributes:
        number: Counted from 0.
        coarseness: Voxel size against the finest scanner's.
        slice_mm: Slices are made at least so thick by averaging neighbours, along `slice_axis`.
        slice_axis: 0 sagittal, 1 coronal, 2 axial slices.
        noise: Against the plain phantom's; `bias` and `blur` are deviations as in `lesions_3d`.
        tone_power: Contrast between tissues: signals go through a power, white matter (100) staying as it is.
        scale: Units of intensity.
        axes: Orientation in which volumes are stored.
    """

    number: int
    coarseness: float
    slice_mm: float
    slice_axis: int
    noise: float
    bias: float
    blur: float
    tone_power: float
    scale: float
    axes: str

    def grid(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Voxels on this scanner where the finest one has `shape`."""
        return tuple(max(1, round(n / self.coarseness)) for n in shape)

    def slices(
        self, signals: Sequence[np.ndarray], label: np.ndarray, spacing: tuple[float, ...]
    ) -> tuple[list[np.ndarray], np.ndarray, tuple[float, ...]]:
        """Average neighbouring slices; a voxel of the label is set where at least half of it was.

        Slices that are left over at the end, fewer than a thick one needs, are lost.
        """
        axis, count = self.slice_axis, max(1, round(self.slice_mm / spacing[self.slice_axis]))
        thick = [_average(signal, axis, count) for signal in signals]
        label = (_average(label, axis, count) >= 0.5).astype(label.dtype)
        return thick, label, tuple(s * (count if a == axis else 1) for a, s in enumerate(spacing))

    def tone(self, signal: np.ndarray) -> np.ndarray:
        """Change the contrast between tissues."""
        return 100 * (np.maximum(signal, 0) / 100) ** self.tone_power


SLICES = (1.0, 3.0, 1.0, 5.0)
"""Slice thickness in mm of the sites in turn: whole-volume sequences and slices."""


def sites(seed: int, count: int) -> list[Site]:
    """Draw the scanners of a data set; more of them leave the first ones as they are."""
    return [_site(np.random.default_rng([seed, 2, number]), number) for number in range(count)]


def _site(rng: np.random.Generator, number: int) -> Site:
    return Site(
        number=number,
        coarseness=float(rng.choice([1.0, 1.0, 1.25])),
        slice_mm=SLICES[number % len(SLICES)],
        slice_axis=int(rng.choice([2, 2, 0, 1])),
        noise=float(rng.uniform(0.6, 1.5)),
        bias=float(rng.uniform(0.05, 0.25)),
        blur=float(rng.uniform(0.35, 0.75)),
        tone_power=float(rng.uniform(0.8, 1.25)),
        scale=float(np.exp(rng.uniform(np.log(0.5), np.log(20.0)))),
        axes=str(rng.choice(ORIENTATIONS)),
    )


def _average(array: np.ndarray, axis: int, count: int) -> np.ndarray:
    """Means of `count` neighbours along an axis."""
    whole = array.shape[axis] // count * count
    kept = np.moveaxis(array, axis, 0)[:whole].astype(float)
    return np.ascontiguousarray(np.moveaxis(kept.reshape(-1, count, *kept.shape[1:]).mean(axis=1), 0, axis))
