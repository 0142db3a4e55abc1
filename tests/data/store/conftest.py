"""Small data sets on disk, and the stores that are made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.data.case import Case, DataSet
from medseg.data.labels import LabelSchema
from medseg.data.preparation import Preparer
from medseg.data.store import PreparedStore

LABELS = LabelSchema.exclusive({"tumour": 1, "cyst": 2, "ignore": 9})

# Axes that prepared cases do not have: left to right is turned round and the first two are swapped.
AFFINE = np.array([[0, 2.0, 0, -7], [-1.5, 0, 0, 3], [0, 0, 3, 1], [0, 0, 0, 1]])


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., DataSet]:
    """Writes cases with noise for an image and blobs for a label."""

    def make(count: int = 3, shape: tuple[int, ...] = (20, 24, 9), folder: str = "data", seed: int = 0, name: str = "Blobs") -> DataSet:
        root = tmp_path / folder
        root.mkdir()
        cases = tuple(_write_case(root, f"case {n}", shape, seed=seed + n) for n in range(count))
        return DataSet(name, root, cases, ("CT",), LABELS, len(shape), ".nii")

    return make


@pytest.fixture
def open_store(tmp_path: Path) -> Callable[..., PreparedStore]:
    """The store of a data set below the test's folder."""
    return lambda dataset, **options: PreparedStore(tmp_path / "prepared", dataset, Preparer("zscore", **options))


@pytest.fixture
def write_one() -> Callable[..., Case]:
    """Writes a case into a folder: `write_one(root, name, shape, seed=, low=, high=, step=)`."""
    return _write_case


def _write_case(
    root: Path, name: str, shape: tuple[int, ...], seed: int = 0, low: float = -1000, high: float = 1000, step: float = 1.0
) -> Case:
    """Writes one case of noise between `low` and `high` in multiples of `step`."""
    rng = np.random.default_rng(seed)
    image = np.rint(rng.uniform(low, high, shape) / step) * step
    image.flat[0], image.flat[1] = low, high
    label = np.zeros(shape, dtype=np.uint8)
    for value in (1, 2, 9):
        for _ in range(2):
            start = [int(rng.integers(0, size - 3)) for size in shape]
            label[tuple(slice(a, a + 3) for a in start)] = value
    paths = root / f"{name}.nii", root / f"{name}_label.nii"
    for path, array in zip(paths, (image.astype(np.float32), label), strict=True):
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), path)
    return Case(name, paths[:1], paths[1], name)
