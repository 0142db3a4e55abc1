from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from medseg.data.case import Case, DataSet
from medseg.data.labels import LabelSchema
from medseg.data.normalisation import Normaliser
from medseg.data.preparation import Preparer
from medseg.data.store import PreparedStore, StoredCases
from medseg.data.store.manifest import StoredCase
from medseg.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

MakeDataSet = Callable[..., DataSet]
OpenStore = Callable[..., PreparedStore]

CACHES = pytest.mark.parametrize("cache_gib", [0.0, 1.0], ids=["from files", "cached"])


def padded_box(array: np.ndarray, start: tuple[int, ...], size: tuple[int, ...], fill: np.ndarray) -> np.ndarray:
    """A box of (C, *spatial) by NumPy's padding, each channel filled with its own value."""
    far = max(*size, *(abs(a) for a in start)) + max(array.shape)
    channels = [np.pad(channel, far, constant_values=value) for channel, value in zip(array, fill, strict=True)]
    return np.stack([channel[tuple(slice(a + far, a + far + n) for a, n in zip(start, size, strict=True))] for channel in channels])


def built(dataset: DataSet, store: PreparedStore, cache_gib: float = 0.0) -> StoredCases:
    store.build(dataset.cases)
    return store.open(dataset.cases, cache_gib)


class TestRoundTrip:
    @CACHES
    @pytest.mark.parametrize("shape", [(21, 17, 9), (40, 33)], ids=["3-D", "2-D"])
    @pytest.mark.parametrize(
        ("dtype", "low", "high", "step"),
        [("uint8", 0, 255, 1), ("uint16", 0, 40000, 1), ("int16", -1024, 3000, 1), ("float32", -1, 1, 1e-3)],
        ids=["uint8", "uint16", "int16", "float32"],
    )
    def test_what_is_stored_is_what_was_prepared(
        self,
        dtype: str,
        low: float,
        high: float,
        step: float,
        shape: tuple[int, ...],
        cache_gib: float,
        make_dataset,
        write_one,
        open_store,
    ) -> None:
        dataset = make_dataset(0)
        one = write_one(dataset.root, "one", shape, low=low, high=high, step=step)
        two = write_one(dataset.root, "two", shape, seed=1, low=low, high=high, step=step)
        case = replace(one, images=(*one.images, *two.images))
        dataset = replace(dataset, cases=(case,), spatial_dims=len(shape))
        preparer = Preparer("zscore")
        wanted, arrays = preparer.prepare(case, dataset.labels), preparer.arrays(case, dataset.labels)
        assert arrays.image.dtype == dtype
        assert len(arrays.image) == 2
        assert arrays.label is not None
        assert wanted.label is not None
        assert wanted.reference is not None
        cases = built(dataset, open_store(dataset), cache_gib)
        raw = cases.whole(0)
        assert raw.image.dtype == np.float32
        assert np.array_equal(raw.image, arrays.image)
        cases.use(preparer.normaliser)
        found = cases.whole(0)
        assert np.array_equal(found.image, wanted.image)
        assert found.label is not None
        assert np.array_equal(found.label, wanted.label)
        assert found.reference is not None
        assert np.array_equal(found.reference, wanted.reference)
        assert found.geometry.mismatch(wanted.geometry, 0.0) is None
        assert found.original.mismatch(wanted.original, 0.0) is None
        assert cases.index(0).intensities == arrays.intensities
        assert cases.index(0).spacing == wanted.geometry.spacing
        assert cases.whole(0, reference=False).reference is None
        assert cases.case(0) is case

    def test_the_reference_of_a_resampled_case_is_in_the_grid_of_its_files(self, make_dataset: MakeDataSet, open_store: OpenStore) -> None:
        dataset = make_dataset(1)
        cases = built(dataset, open_store(dataset, spacing=(1.0, 1.0, 4.0)))
        wanted = Preparer("zscore", (1.0, 1.0, 4.0)).prepare(dataset.cases[0], dataset.labels)
        found = cases.whole(0)
        assert found.label is not None
        assert found.label.shape == wanted.image.shape[1:] != dataset.cases[0].read_image()[0].shape[1:]
        assert found.reference is not None
        assert np.array_equal(found.reference, wanted.reference)
        assert found.original.mismatch(wanted.original, 0.0) is None

    @CACHES
    def test_a_case_without_a_label_is_read_whole_and_refused_as_a_patch(
        self, cache_gib: float, make_dataset: MakeDataSet, open_store: OpenStore
    ) -> None:
        dataset = make_dataset(1)
        dataset = replace(dataset, cases=(replace(dataset.cases[0], label=None),))
        cases = built(dataset, open_store(dataset), cache_gib)
        found = cases.whole(0)
        assert found.label is None
        assert found.reference is None
        assert len(cases.index(0).lesions) == 0
        with pytest.raises(DataError, match="case 'case 0' has no label"):
            cases.read(0, (0, 0, 0), (2, 2, 2))


class TestBoxes:
    @CACHES
    @pytest.mark.parametrize("shape", [(21, 17, 9), (40, 33)], ids=["3-D", "2-D"])
    @pytest.mark.parametrize("normalisation", ["zscore", "unit", "ct", None])
    def test_they_are_numpys_inside_outside_and_across_the_border(
        self, normalisation: str | None, shape: tuple[int, ...], cache_gib: float, make_dataset: MakeDataSet, open_store: OpenStore
    ) -> None:
        dataset = make_dataset(1, shape)
        cases = built(dataset, open_store(dataset), cache_gib)
        if normalisation is not None:
            cases.use(Normaliser(normalisation, {"low": [-500.0], "high": [500.0], "mean": [0.0], "std": [100.0]}))
        whole = cases.whole(0)
        assert whole.label is not None
        lowest = whole.image.min(axis=tuple(range(1, whole.image.ndim)))
        rng = np.random.default_rng(0)
        size_of_image = whole.label.shape
        boxes = [((0,) * len(shape), size_of_image), ((-3,) * len(shape), tuple(n + 7 for n in size_of_image))]
        boxes += [((-20,) * len(shape), (5,) * len(shape)), ((2, *size_of_image[1:]), (4,) * len(shape))]
        for _ in range(20):
            size = tuple(int(rng.integers(1, 16)) for _ in shape)
            boxes.append((tuple(int(rng.integers(-16, n + 4)) for n in size_of_image), size))
        for start, size in boxes:
            image, label = cases.read(0, start, size)
            assert image.dtype == np.float32
            assert label.dtype == np.uint8
            assert np.array_equal(image, padded_box(whole.image, start, size, lowest))
            assert np.array_equal(label, padded_box(whole.label[None], start, size, np.zeros(1))[0])
            flips = tuple(axis for axis in range(len(shape)) if rng.random() < 0.5)
            backwards, backwards_label = cases.read(0, start, size, flips)
            assert np.array_equal(backwards, np.flip(image, tuple(axis + 1 for axis in flips)))
            assert np.array_equal(backwards_label, np.flip(label, flips))

    @CACHES
    def test_they_belong_to_the_caller(self, cache_gib: float, make_dataset: MakeDataSet, open_store: OpenStore) -> None:
        dataset = make_dataset(1)
        cases = built(dataset, open_store(dataset), cache_gib)
        size = cases.index(0).shape
        before = [array.copy() for array in cases.read(0, (0, 0, 0), size)]
        for array in (*cases.read(0, (0, 0, 0), size), cases.whole(0).image, cases.whole(0).label, cases.whole(0).reference):
            assert array is not None
            array[...] = 7
        assert all(np.array_equal(a, b) for a, b in zip(cases.read(0, (0, 0, 0), size), before, strict=True))

    def test_another_normaliser_changes_the_padding_too(self, make_dataset: MakeDataSet, open_store: OpenStore) -> None:
        dataset = make_dataset(1)
        cases = built(dataset, open_store(dataset))
        assert cases.read(0, (-9, 0, 0), (4, 4, 4))[0].max() == -1000
        cases.use(Normaliser("unit"))
        assert cases.read(0, (-9, 0, 0), (4, 4, 4))[0].max() == 0

    def test_the_foreground_is_that_of_the_label(self, make_dataset: MakeDataSet, open_store: OpenStore) -> None:
        dataset = make_dataset(1)
        cases = built(dataset, open_store(dataset))
        whole = cases.whole(0)
        assert whole.label is not None
        found = cases.foreground(0)
        assert found.dtype == np.float32
        assert sorted(found[0]) == sorted(whole.image[0][(whole.label == 1) | (whole.label == 2)])


class _Boxes(Dataset[tuple[np.ndarray, np.ndarray]]):
    """Random boxes by number."""

    def __init__(self, cases: StoredCases) -> None:
        self.cases = cases

    def __len__(self) -> int:
        return 24

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(number)
        case = int(rng.integers(len(self.cases)))
        return self.cases.read(case, tuple(int(a) for a in rng.integers(-4, 9, 3)), (8, 8, 8))


class TestCache:
    def test_the_first_cases_that_fit_have_a_place(self, make_dataset: MakeDataSet, write_one, open_store: OpenStore) -> None:
        dataset = make_dataset(2)
        large = write_one(dataset.root, "large", (64, 64, 64))
        dataset = replace(dataset, cases=(large, *dataset.cases))
        store = open_store(dataset)
        store.build(dataset.cases)
        small = 20 * 24 * 9 * 3
        for places, nbytes in ((0, small // 2), (1, 1.5 * small), (2, 2.1 * small)):
            cases = store.open(dataset.cases, nbytes / 2**30)
            assert round(cases.cache_nbytes / small, 1) == places
            whole = [cases.whole(i).image for i in range(3)]
            assert whole[0].shape == (1, 64, 64, 64)

    @pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
    def test_forked_processes_share_what_one_has_unpacked(
        self, make_dataset: MakeDataSet, open_store: OpenStore, tmp_path, monkeypatch
    ) -> None:
        dataset = make_dataset(2)
        cases = built(dataset, open_store(dataset), 1.0)
        whole = cases.whole(0)
        log, unpack = tmp_path / "unpacked", StoredCase.unpack

        def logged(self: StoredCase, image: np.ndarray, label: np.ndarray | None) -> None:
            unpack(self, image, label)
            with open(log, "a") as file:
                file.write(f"{self.case.id} by {os.getpid()}\n")

        monkeypatch.setattr(StoredCase, "unpack", logged)

        def child() -> None:
            assert np.array_equal(cases.whole(0).image, whole.image)
            cases.read(1, (0, 0, 0), (4, 4, 4))

        for _ in range(3):
            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
            process.join()
            assert process.exitcode == 0
        cases.read(1, (0, 0, 0), (4, 4, 4))
        (line,) = log.read_text().splitlines()
        assert line.startswith("case 1 by ")
        assert not line.endswith(str(os.getpid()))

    @CACHES
    @pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
    @pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
    def test_any_number_of_workers_reads_the_same(self, cache_gib: float, make_dataset: MakeDataSet, open_store: OpenStore) -> None:
        dataset = make_dataset(3)
        store = open_store(dataset)
        store.build(dataset.cases)
        reads = []
        for workers in (0, 1, 4):
            boxes = _Boxes(store.open(dataset.cases, cache_gib))
            loader = DataLoader(boxes, batch_size=4, num_workers=workers, multiprocessing_context="fork" if workers else None)
            images, labels = zip(*loader, strict=True)
            reads.append((torch.cat(images), torch.cat(labels)))
        for images, labels in reads[1:]:
            assert torch.equal(images, reads[0][0])
            assert torch.equal(labels, reads[0][1])

    def test_a_pickled_copy_reads_the_same_without_a_cache(self, make_dataset: MakeDataSet, open_store: OpenStore) -> None:
        dataset = make_dataset(2)
        cases = built(dataset, open_store(dataset), 1.0)
        cases.use(Normaliser("zscore"))
        wanted = cases.read(1, (-2, 3, 0), (9, 9, 9))
        copy = pickle.loads(pickle.dumps(cases))
        assert copy.cache_nbytes == 0
        assert all(np.array_equal(a, b) for a, b in zip(copy.read(1, (-2, 3, 0), (9, 9, 9)), wanted, strict=True))
        assert copy.index(1).draw_lesion(np.random.default_rng(0), 0) == cases.index(1).draw_lesion(np.random.default_rng(0), 0)


def change(path: Path, rng: np.random.Generator) -> None:
    """Random bytes in place of some or all of a file's."""
    data = bytearray(path.read_bytes())
    start = int(rng.integers(len(data)))
    stop = int(rng.integers(start, len(data))) + 1
    if rng.random() < 0.3:
        start, stop = 0, len(data)
    data[start:stop] = rng.bytes(stop - start)
    data[start] ^= 1
    path.write_bytes(data)


class TestDamage:
    @CACHES
    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("name", ["image.b2nd", "label.b2nd", "index.bin"])
    def test_random_bytes_are_named_and_made_anew(
        self, name: str, seed: int, cache_gib: float, make_dataset: MakeDataSet, open_store: OpenStore
    ) -> None:
        dataset = make_dataset(2)
        store, rng = open_store(dataset), np.random.default_rng(seed)
        store.build(dataset.cases)
        path = next(store.folder.glob(f"cases/case-1-*/{name}"))
        cases = store.open(dataset.cases, cache_gib)
        change(path, rng)
        if name != "index.bin":
            assert store.missing(dataset.cases) == []  # the size is right
        cases.read(0, (0, 0, 0), (4, 4, 4))

        def use() -> None:
            cases.index(1).draw_class(rng, 0)
            cases.index(1).draw_lesion(rng, len(cases.index(1).lesions) - 1)
            cases.foreground(1)
            cases.read(1, (0, 0, 0), (4, 4, 4))

        with pytest.raises(DataError, match=rf"{name}.*not what was written.*medseg prepare"):
            use()
        assert store.missing(dataset.cases) == [dataset.cases[1]]
        store.build(dataset.cases)
        assert np.array_equal(store.open(dataset.cases).whole(1).image, Preparer("none").prepare(dataset.cases[1], dataset.labels).image)

    def test_a_whole_case_is_checked_too(self, make_dataset: MakeDataSet, open_store: OpenStore) -> None:
        dataset = make_dataset(1)
        store = open_store(dataset)
        cases = built(dataset, store)
        change(next(store.folder.glob("cases/*/image.b2nd")), np.random.default_rng(0))
        with pytest.raises(DataError, match=r"image\.b2nd.*medseg prepare"):
            cases.whole(0)
        assert store.missing(dataset.cases) == list(dataset.cases)

    @pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
    def test_files_are_checked_once_for_all_forked_processes(self, make_dataset: MakeDataSet, open_store, tmp_path, monkeypatch) -> None:
        dataset = make_dataset(2)
        cases = built(dataset, open_store(dataset))
        log, check = tmp_path / "checked", StoredCase.require_arrays

        def logged(self: StoredCase) -> None:
            check(self)
            with open(log, "a") as file:
                file.write(f"{self.case.id} by {os.getpid()}\n")

        monkeypatch.setattr(StoredCase, "require_arrays", logged)
        for _ in range(2):
            process = multiprocessing.get_context("fork").Process(target=lambda: cases.read(1, (0, 0, 0), (4, 4, 4)) and None)
            process.start()
            process.join()
            assert process.exitcode == 0
        for _ in range(2):
            cases.read(1, (0, 0, 0), (4, 4, 4))
        assert len(log.read_text().splitlines()) == 1
        pickle.loads(pickle.dumps(cases)).read(1, (0, 0, 0), (4, 4, 4))
        assert len(log.read_text().splitlines()) == 2


class TestNativeLesions:
    def test_resampling_shows_in_them(self, make_dataset: MakeDataSet, open_store: OpenStore) -> None:
        dataset = make_dataset(2)
        own, coarse = (built(dataset, open_store(dataset, spacing=spacing)) for spacing in (None, (9.0, 9.0, 9.0)))
        for number in range(2):
            there = own.index(number).native_lesions
            assert there == tuple(np.bincount(own.index(number).lesions.classes, minlength=2).tolist())
            assert coarse.index(number).native_lesions == there
            assert len(coarse.index(number).lesions) < sum(there)


def test_cases_of_all_kinds_of_grids_come_back_in_their_own(tmp_path: Path) -> None:
    """Several orientations in one data set, scored in the files' grid."""
    import nibabel

    rng = np.random.default_rng(0)
    cases = []
    for number, axes in enumerate(("RAS", "LPS", "SAR", "PIL")):
        label = rng.integers(0, 2, (6, 7, 8)).astype(np.uint8)
        turn = nibabel.orientations.axcodes2ornt(axes)
        affine = nibabel.orientations.inv_ornt_aff(turn, label.shape) * 1.0
        for name, array in (("image", label * 100.0), ("label", label)):
            nibabel.save(
                nibabel.Nifti1Image(array.astype(np.float32 if name == "image" else np.uint8), affine), tmp_path / f"{number}_{name}.nii"
            )
        cases.append(Case(f"{number}", (tmp_path / f"{number}_image.nii",), tmp_path / f"{number}_label.nii", f"{number}"))
    dataset = DataSet("grids", tmp_path, tuple(cases), ("x",), LabelSchema.exclusive({"a": 1}), 3, ".nii")
    stored = built(dataset, PreparedStore(tmp_path / "store", dataset, Preparer("none")))
    for number, case in enumerate(cases):
        found = stored.whole(number)
        assert found.geometry.orientation == "RAS"
        assert found.reference is not None
        assert np.array_equal(found.reference, case.read_label()[0])
