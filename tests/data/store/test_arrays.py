from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.data.store import arrays
from medseg.data.store.arrays import BLOCK, CHUNK, KEPT_OPEN, BoxFile, save, tile, unpack
from medseg.errors import DataError


class TestPacking:
    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
    @pytest.mark.parametrize("shape", [(1, 70, 65, 40), (3, 200, 130), (2, 1, 1, 1), (1, 5, 300)], ids=str)
    def test_arrays_come_back_exactly_whole_and_in_boxes(self, dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        array = (rng.standard_normal(shape) * 3000).astype(dtype)
        save(array, tmp_path / "a.b2nd")
        found = np.empty_like(array)
        unpack((tmp_path / "a.b2nd").read_bytes(), found)
        assert np.array_equal(found, array)
        file = BoxFile(tmp_path / "a.b2nd", shape, array.dtype)
        for _ in range(5):
            starts = [int(rng.integers(size)) for size in shape]
            box = tuple(slice(start, int(rng.integers(start, size)) + 1) for start, size in zip(starts, shape, strict=True))
            assert file[box].dtype == array.dtype
            assert np.array_equal(file[box], array[box])

    def test_a_file_that_was_replaced_is_opened_again(self, tmp_path: Path) -> None:
        path = tmp_path / "a.b2nd"
        file = BoxFile(path, (1, 5, 5), np.dtype(np.uint8))
        for value in (3, 4):
            save(np.full((1, 5, 5), value, np.uint8), tmp_path / "new")
            (tmp_path / "new").replace(path)
            assert (file[:, :2, :2] == value).all()

    def test_few_files_stay_open(self, tmp_path: Path) -> None:
        for number in range(KEPT_OPEN + 9):
            save(np.zeros((1, 5, 5), np.uint8), tmp_path / f"{number}.b2nd")
            BoxFile(tmp_path / f"{number}.b2nd", (1, 5, 5), np.dtype(np.uint8))[:, :2, :2]
        assert len(arrays._open.files) == KEPT_OPEN

    @pytest.mark.parametrize("harm", ["cut", "garbage", "gone", "other shape"])
    def test_a_damaged_file_is_named(self, harm: str, tmp_path: Path) -> None:
        path = tmp_path / "a.b2nd"
        save(np.zeros((1, 9, 9) if harm == "other shape" else (1, 40, 40), dtype=np.int16), path)
        data = path.read_bytes()
        path.unlink()
        if harm != "gone":
            path.write_bytes({"cut": data[: len(data) // 2], "garbage": b"x" * 999, "other shape": data}[harm])
        with pytest.raises(DataError, match=r"a\.b2nd.*medseg prepare"):
            BoxFile(path, (1, 40, 40), np.dtype(np.int16))[:, :5, :5]
        if harm != "gone":
            with pytest.raises(ValueError, match=r"NDArray|buffer|something else"):
                unpack(path.read_bytes(), np.empty((1, 40, 40), dtype=np.int16))

    def test_a_disk_that_is_full_is_an_error_of_the_system(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="gone"):
            save(np.zeros((1, 5, 5), np.uint8), tmp_path / "gone" / "a.b2nd")


class TestTile:
    @pytest.mark.parametrize("shape", [(1, 512, 512, 400), (4, 256, 256, 20), (1, 300, 30, 3), (3, 4000, 3000), (1, 7, 5)], ids=str)
    @pytest.mark.parametrize("voxels", [CHUNK, BLOCK])
    def test_it_fits_the_image_and_holds_about_as_many_voxels_as_asked(self, shape: tuple[int, ...], voxels: int) -> None:
        found = tile(shape, voxels)
        assert found[0] == 1
        assert all(1 <= side <= size for side, size in zip(found, shape, strict=True))
        wanted = min(voxels, int(np.prod(shape[1:])))
        assert 0.8 * wanted <= np.prod(found) <= 1.25 * wanted

    def test_thick_slices_are_taken_whole(self) -> None:
        assert tile((1, 512, 512, 20), CHUNK)[-1] == 20
