from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medseg.data.labels import LabelSchema
from medseg.data.normalisation import Intensities
from medseg.data.store import CaseIndex, build_index
from medseg.data.store import index as module
from medseg.data.store.tables import ArrayTables, FileTables
from medseg.errors import DataError

INTENSITIES = Intensities((0.0,), (1.0,), (0.0,), (1.0,), eight_bit=False, picture=False)
EXCLUSIVE = LabelSchema.exclusive({"a": 1, "b": 2, "c": 3, "ignore": 4})
REGIONS = LabelSchema(("whole", "core", "edge"), ((1, 2, 4), (1, 4), (2,)))


def blobs(shape: tuple[int, ...], seed: int, ids: int = 3) -> np.ndarray:
    """Touching blobs of several ids, and ignored voxels among them."""
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.standard_normal(shape), 1.5) for _ in range(ids + 1)]
    label = np.zeros(shape, dtype=np.uint8)
    for value, field in zip((*range(1, ids + 1), 255), fields, strict=True):
        label[field > 1.2 * field.std()] = value
    return label


def index_of(label: np.ndarray, schema: LabelSchema = EXCLUSIVE, spacing: tuple[float, ...] | None = None) -> CaseIndex:
    image = np.arange(label.size, dtype=np.float32).reshape(1, *label.shape)
    return build_index(label, schema, spacing or (1.0,) * label.ndim, image, INTENSITIES)


class TestLesions:
    @pytest.mark.parametrize("schema", [EXCLUSIVE, REGIONS], ids=["exclusive", "regions"])
    @pytest.mark.parametrize("shape", [(24, 30, 18), (50, 60)], ids=str)
    def test_they_are_scipys_components_of_each_class(self, schema: LabelSchema, shape: tuple[int, ...]) -> None:
        label = blobs(shape, seed=len(shape))
        spacing = (0.5, 2.0, 3.0)[: len(shape)]
        lesions = index_of(label, schema, spacing).lesions
        place = 0
        for k, mask in enumerate(schema.masks(label)):
            components, count = ndimage.label(mask, structure=np.ones((3,) * label.ndim))
            assert count > 1
            for number, box in enumerate(ndimage.find_objects(components), start=1):
                one = components == number
                assert lesions.classes[place] == k
                assert lesions.voxels[place] == one.sum()
                assert lesions.volume[place] == pytest.approx(one.sum() * np.prod(spacing))
                assert lesions.boxes[place].T.tolist() == [[side.start, side.stop] for side in box]
                np.testing.assert_allclose(lesions.centroids[place], ndimage.center_of_mass(one))
                place += 1
        assert len(lesions) == place

    def test_two_classes_that_touch_are_two_lesions(self) -> None:
        label = np.zeros((8, 8), dtype=np.uint8)
        label[2:4, 2:6], label[4:6, 2:6] = 1, 2
        assert index_of(label).lesions.classes.tolist() == [0, 1]
        assert index_of(label, REGIONS).lesions.classes.tolist() == [0, 1, 2]

    def test_corners_connect(self) -> None:
        assert len(index_of(np.eye(5, dtype=np.uint8)).lesions) == 1

    def test_a_case_without_a_label_or_with_an_empty_one_has_none(self) -> None:
        image = np.zeros((2, 5, 6, 7), dtype=np.int16)
        for label in (None, np.zeros((5, 6, 7), np.uint8), np.full((5, 6, 7), 255, np.uint8)):
            index = build_index(label, EXCLUSIVE, (1, 1, 1), image, INTENSITIES)
            assert len(index.lesions) == 0
            assert index.lesions.boxes.shape == (0, 2, 3)
            assert index.lesions.centroids.shape == (0, 3)
            assert index.counts.tolist() == [0, 0, 0]
            assert index.foreground().shape == (2, 0)
            with pytest.raises(ValueError, match="no voxel of class 1"):
                index.draw_class(np.random.default_rng(0), 1)


class TestNativeLesions:
    @pytest.mark.parametrize("schema", [EXCLUSIVE, REGIONS], ids=["exclusive", "regions"])
    def test_they_are_those_of_the_label_before_resampling_class_by_class(self, schema: LabelSchema) -> None:
        native = blobs((40, 30, 20), seed=2)
        label = native[::3, ::3, ::3]
        image = np.zeros((1, *label.shape), dtype=np.float32)
        index = build_index(label, schema, (3, 3, 3), image, INTENSITIES, native)
        wanted = tuple(ndimage.label(mask, np.ones((3, 3, 3)))[1] for mask in schema.masks(native))
        assert index.native_lesions == wanted
        assert sum(wanted) > len(index.lesions)
        assert index.native_lesions == build_index(label, schema, (3, 3, 3), image, INTENSITIES, native.transpose(2, 0, 1)).native_lesions

    def test_without_resampling_they_are_the_lesions(self) -> None:
        index = index_of(blobs((24, 30, 18), seed=1))
        assert index.native_lesions == tuple(np.bincount(index.lesions.classes, minlength=3).tolist())

    def test_a_case_without_a_label_has_none(self) -> None:
        assert build_index(None, EXCLUSIVE, (1, 1), np.zeros((1, 4, 4)), INTENSITIES).native_lesions == (0, 0, 0)


class TestCounts:
    def test_each_class_counts_its_voxels_whoever_else_has_them(self) -> None:
        label = blobs((30, 30, 10), seed=3)
        assert index_of(label, REGIONS).counts.tolist() == [int(mask.sum()) for mask in REGIONS.masks(label)]


class TestDraws:
    @pytest.mark.parametrize("schema", [EXCLUSIVE, REGIONS], ids=["exclusive", "regions"])
    def test_voxels_lie_in_what_they_were_drawn_from(self, schema: LabelSchema) -> None:
        label = blobs((24, 30, 18), seed=5)
        index, masks, rng = index_of(label, schema), schema.masks(label), np.random.default_rng(0)
        for k in range(3):
            drawn = {index.draw_class(rng, k) for _ in range(50)}
            assert len(drawn) > 20
            assert all(masks[k][voxel] for voxel in drawn)
        for number, k in enumerate(index.lesions.classes):
            start, stop = index.lesions.boxes[number]
            for _ in range(5):
                voxel = index.draw_lesion(rng, number)
                assert masks[k][voxel]
                assert all(start <= voxel)
                assert all(voxel < stop)

    def test_every_voxel_of_a_small_lesion_is_drawn(self) -> None:
        label = np.zeros((9, 9), dtype=np.uint8)
        label[1:3, 1:4] = 2
        rng = np.random.default_rng(0)
        assert {index_of(label).draw_lesion(rng, 0) for _ in range(100)} == {(i, j) for i in (1, 2) for j in (1, 2, 3)}

    def test_large_groups_are_thinned_evenly_and_the_same_each_time(self) -> None:
        label = np.ones((100, 200), dtype=np.uint8)
        index, again = index_of(label), index_of(label)
        for table, most in (("class_voxels", module.VOXELS_PER_CLASS), ("lesion_voxels", module.VOXELS_PER_LESION)):
            kept = index.tables.read(table)
            assert len(kept) == len(set(kept.tolist())) == most
            assert (kept == again.tables.read(table)).all()
            assert len(set((kept % 200).tolist())) > 190  # every k-th one would lie in few columns
            assert abs((kept // 200).mean() - 49.5) < 5


class TestForeground:
    def test_it_holds_the_raw_values_of_voxels_of_any_class(self) -> None:
        label = blobs((20, 20, 10), seed=1)
        values = index_of(label).foreground()
        assert set(values[0].astype(int)) == set(np.flatnonzero((label > 0) & (label < 4)).tolist())

    def test_it_is_thinned(self) -> None:
        assert index_of(np.ones((100, 200), dtype=np.uint8)).foreground().shape == (1, module.FOREGROUND_VOXELS)


class TestTables:
    def test_a_file_gives_what_was_packed_row_by_row(self, tmp_path) -> None:
        arrays = {"a": np.arange(12, dtype=np.uint32), "b": np.arange(30.0).reshape(5, 2, 3), "none": np.empty((0, 2)), "c": np.eye(3)}
        data, layout = ArrayTables(arrays).pack()
        (tmp_path / "t.bin").write_bytes(data)
        file = FileTables(tmp_path / "t.bin", layout)
        for name, array in arrays.items():
            assert file.read(name).dtype == array.dtype
            assert np.array_equal(file.read(name), array)
        assert np.array_equal(file.read("b", 2, 4), arrays["b"][2:4])
        assert np.array_equal(FileTables(tmp_path / "t.bin", layout).read("b", 2, 4), arrays["b"][2:4])

    def test_damage_is_found_at_the_first_reading_of_the_array_it_lies_in(self, tmp_path) -> None:
        data, layout = ArrayTables({"a": np.arange(50), "b": np.arange(50)}).pack()
        path = tmp_path / "t.bin"
        path.write_bytes(data[:600] + b"x" + data[601:])
        file = FileTables(path, layout)
        assert file.read("a", 3, 4) == [3]
        for _ in range(2):
            with pytest.raises(DataError, match=r"t\.bin.*not what was written.*medseg prepare"):
                file.read("b", 3, 4)
        path.write_bytes(data[:500])
        with pytest.raises(DataError, match=r"t\.bin.*too short"):
            file.read("b")
        path.unlink()
        with pytest.raises(DataError, match=r"t\.bin.*No such file"):
            file.read("a", 3, 4)
