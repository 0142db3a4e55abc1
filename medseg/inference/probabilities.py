"""Probability maps on disk: one compressed file a case, beside its label map."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.data.geometry import Geometry
from medseg.errors import DataError
from medseg.files import atomic_path

SUFFIX = ".probabilities.npz"


@dataclass(frozen=True)
class ProbabilityMaps:
    """The probabilities of one case, in the grid of its files.

    On disk they are a NumPy archive, compressed and without pickled objects: `np.load("a.probabilities.npz")["probabilities"]`, with the
    arrays `probabilities`, `classes`, `spacing` and `affine` as below.
    """

    probabilities: np.ndarray
    """float16 (C', *spatial): with softmax of the background and each class, with sigmoid of each class."""
    classes: tuple[str, ...]
    """Names of the K classes; C' is K, or K + 1 where the background comes first."""
    spacing: tuple[float, ...]
    """Voxel size in mm, one a spatial axis."""
    affine: np.ndarray
    """(4, 4) voxel index -> RAS+ mm."""


def write_probabilities(path: Path, probabilities: np.ndarray, classes: tuple[str, ...], geometry: Geometry) -> None:
    """Write the maps of a case, which appear complete or not at all.

    Shape:
        probabilities (C', *geometry.shape), stored as float16.
    """
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            probabilities=probabilities.astype(np.float16, copy=False),
            classes=np.array(classes),
            spacing=np.array(geometry.spacing),
            affine=geometry.affine,
        )


def read_probabilities(path: Path) -> ProbabilityMaps:
    """Read what `write_probabilities` wrote.

    Raises:
        DataError: The file is missing, damaged, or another tool's.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:  # which leaves a damaged path open
            return ProbabilityMaps(
                file["probabilities"],
                tuple(str(name) for name in file["classes"]),
                tuple(float(size) for size in file["spacing"]),
                file["affine"],
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as probabilities ({error}); predict the case again with probabilities") from error
