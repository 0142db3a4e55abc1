"""Probabilities on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.data.geometry import Geometry
from medseg.errors import DataError
from medseg.inference.probabilities import read_probabilities, write_probabilities
from tests.inference.runs import LAS


def write(path: Path) -> np.ndarray:
    maps = np.random.default_rng(0).dirichlet(np.ones(3), (4, 5, 6)).transpose(3, 0, 1, 2).astype(np.float32)
    write_probabilities(path, maps, ("low", "high"), Geometry((4, 5, 6), LAS))
    return maps


class TestFile:
    def test_comes_back_in_half_precision_with_its_grid(self, tmp_path: Path) -> None:
        maps = write(tmp_path / "out" / "a.probabilities.npz")
        found = read_probabilities(tmp_path / "out" / "a.probabilities.npz")
        assert found.probabilities.dtype == np.float16
        np.testing.assert_allclose(found.probabilities, maps, atol=5e-4)
        assert found.classes == ("low", "high")
        np.testing.assert_array_equal(found.affine, LAS)
        assert found.spacing == Geometry((4, 5, 6), LAS).spacing
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.probabilities.npz"]

    def test_is_plain_numpy_and_compressed(self, tmp_path: Path) -> None:
        path = tmp_path / "a.probabilities.npz"
        write_probabilities(path, np.zeros((3, 40, 40, 40), np.float32), ("low", "high"), Geometry((40, 40, 40), LAS))
        assert path.stat().st_size < 10_000
        with np.load(path, allow_pickle=False) as file:
            assert sorted(file) == ["affine", "classes", "probabilities", "spacing"]

    @pytest.mark.parametrize("kept", [0, 100, 900])
    def test_a_damaged_one_is_named(self, tmp_path: Path, kept: int) -> None:
        path = tmp_path / "a.probabilities.npz"
        write(path)
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(DataError, match=r"a\.probabilities\.npz: cannot be read"):
            read_probabilities(path)

    def test_another_tools_is_named(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", softmax=np.zeros(3))
        with pytest.raises(DataError, match=r"a\.npz"):
            read_probabilities(tmp_path / "a.npz")

    def test_a_pickle_is_never_executed(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", probabilities=np.array([{}], dtype=object), classes=["a"], spacing=[1.0], affine=np.eye(4))
        with pytest.raises(DataError, match=r"a\.npz"):
            read_probabilities(tmp_path / "a.npz")
