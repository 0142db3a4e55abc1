from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.data.case import Case, DataSet
from medseg.data.labels import LabelSchema
from medseg.data.masks import Layer, Masks
from medseg.data.preparation import CaseArrays, Preparer
from medseg.data.store import PreparedStore, manifest, prepared, sources
from medseg.data.store.manifest import MANIFEST, Manifest
from medseg.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

MakeDataSet = Callable[..., DataSet]
OpenStore = Callable[..., PreparedStore]


class Counting(Preparer):
    """A preparer that knows which cases it was asked for."""

    def __init__(self) -> None:
        super().__init__("zscore")
        self.asked: list[str] = []

    def arrays(self, case: Case, labels: LabelSchema) -> CaseArrays:
        self.asked.append(case.id)
        return super().arrays(case, labels)


@pytest.fixture
def counted(tmp_path: Path) -> Callable[[DataSet], tuple[PreparedStore, Counting]]:
    """A store and the preparer that counts for it."""

    def make(dataset: DataSet) -> tuple[PreparedStore, Counting]:
        preparer = Counting()
        return PreparedStore(tmp_path / "prepared", dataset, preparer), preparer

    return make


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def rewrite(path: Path) -> None:
    """Changes a voxel of a file, but neither its size nor its time."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def image_of(store: PreparedStore, case: Case) -> np.ndarray:
    return store.open([case]).whole(0).image


class TestBuilding:
    def test_each_case_is_prepared_once(self, make_dataset: MakeDataSet, counted) -> None:
        dataset = make_dataset(4)
        store, preparer = counted(dataset)
        assert store.missing(dataset.cases) == list(dataset.cases)
        assert store.known(dataset.cases) == []
        store.build(dataset.cases[:2])
        assert store.known(dataset.cases) == list(dataset.cases[:2])
        assert store.missing(dataset.cases) == list(dataset.cases[2:])
        store.build(dataset.cases)
        store.build(dataset.cases)
        assert sorted(preparer.asked) == [case.id for case in dataset.cases]
        assert store.missing(dataset.cases) == []

    def test_progress_counts_what_was_missing(self, make_dataset: MakeDataSet, counted) -> None:
        dataset, calls = make_dataset(4), []
        store, _ = counted(dataset)
        store.build(dataset.cases[:1])
        store.build(dataset.cases, workers=1, progress=lambda done, total: calls.append((done, total)))
        assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]

    def test_opening_prepares_what_is_missing_where_it_may(self, make_dataset: MakeDataSet, counted) -> None:
        dataset = make_dataset(3)
        store, preparer = counted(dataset)
        assert len(store.open(dataset.cases, build=True)) == 3
        rewrite(dataset.cases[1].images[0])
        touch(dataset.cases[1].images[0])
        assert len(store.open(dataset.cases, build=True)) == 3
        assert preparer.asked[3:] == ["case 1"]
        assert len(list((store.folder / "cases").iterdir())) == 3, "what the earlier file gave is removed"

    def test_a_slow_disk_is_asked_by_several_threads(self, make_dataset: MakeDataSet, open_store: OpenStore, monkeypatch) -> None:
        dataset = make_dataset(4, shape=(5, 5, 5))
        store, threads, stamp = open_store(dataset), set(), prepared.stamp
        store.build(dataset.cases[1:])

        def slow(file: Path) -> tuple[int, int]:
            time.sleep(0.02)
            threads.add(threading.get_ident())
            return stamp(file)

        monkeypatch.setattr(prepared, "_TRIED", 2)
        monkeypatch.setattr(prepared, "stamp", slow)
        assert store.missing(dataset.cases) == [dataset.cases[0]]
        assert len(threads) > 1

    def test_opening_asks_for_what_is_missing(self, make_dataset: MakeDataSet, open_store: OpenStore) -> None:
        dataset = make_dataset(3)
        store = open_store(dataset)
        store.build(dataset.cases[:1])
        with pytest.raises(DataError, match=r"2 of 3 cases are not prepared.*'case 1', 'case 2'.*medseg prepare"):
            store.open(dataset.cases)

    def test_a_finished_store_is_opened_without_writing(self, make_dataset: MakeDataSet, open_store: OpenStore, monkeypatch) -> None:
        dataset = make_dataset(2)
        store = open_store(dataset)
        store.build(dataset.cases)
        before = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")}
        for path in dataset.cases[0].files:
            touch(path)
        monkeypatch.setattr(manifest, "write_text", lambda *_: (_ for _ in ()).throw(PermissionError(errno.EACCES, "read-only")))
        monkeypatch.setattr(PreparedStore, "_write_description", lambda self: pytest.fail("written to"))
        (store.folder / "readers.lock").rename(store.folder / "elsewhere")
        store.build(dataset.cases)
        assert len(store.open(dataset.cases)) == 2
        (store.folder / "elsewhere").rename(store.folder / "readers.lock")
        assert {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")}.keys() == before.keys()

    def test_a_thousand_cases_are_opened_by_a_few_looks_at_each(
        self, make_dataset: MakeDataSet, open_store: OpenStore, monkeypatch
    ) -> None:
        dataset = make_dataset(1, shape=(8, 8, 8))
        one = dataset.cases[0]
        cases = tuple(Case(f"c{n}", one.images, one.label, f"c{n}") for n in range(1000))
        dataset = replace(dataset, cases=cases)
        store = open_store(dataset)
        store.build(cases[:1])
        (made,) = (store.folder / "cases").iterdir()
        for case in cases[1:]:  # as build would write them, without the wait
            recipe = sources.recipe_of(case, dataset.root)
            folder = made.with_name(f"{prepared._key(case)}-x")
            folder.mkdir()
            for file in made.iterdir():
                os.link(file, folder / file.name) if file.name != MANIFEST else None
            stored = Manifest.read(made)
            assert stored is not None
            replace(stored, case=case.id, recipe=recipe).write(folder)
        manifests, hashed = [], []
        read = Manifest.read.__func__  # type: ignore[attr-defined]
        monkeypatch.setattr(Manifest, "read", classmethod(lambda cls, folder: manifests.append(folder) or read(cls, folder)))
        for module in (sources, manifest):
            monkeypatch.setattr(module, "digest_of", lambda file: hashed.append(file))
        begin = time.perf_counter()
        opened = store.open(cases, cache_gib=1.0)
        lesions = sum(len(opened.index(i).lesions) for i in range(1000))
        assert time.perf_counter() - begin < 30  # 0.5 s on two cores; only far off is wrong here
        assert lesions == 1000 * len(opened.index(0).lesions) > 0
        assert len(manifests) == 1000
        assert hashed == []


class TestFaults:
    def test_all_are_told_at_once_and_the_good_cases_kept(self, make_dataset: MakeDataSet, write_one, open_store: OpenStore) -> None:
        dataset = make_dataset(3)
        root = dataset.root
        unreadable, gone, nan, grid, values = (write_one(root, name, (9, 9, 9)) for name in ("unreadable", "gone", "nan", "grid", "values"))
        unreadable.images[0].write_bytes(b"no image at all")
        gone.images[0].unlink()
        import nibabel

        broken = np.full((9, 9, 9), np.nan, dtype=np.float32)
        nibabel.save(nibabel.Nifti1Image(broken, nibabel.load(nan.label).affine), nan.images[0])
        grid.label.write_bytes(dataset.cases[0].label.read_bytes())
        nibabel.save(nibabel.Nifti1Image(np.full((9, 9, 9), 5, np.uint8), nibabel.load(values.images[0]).affine), values.label)
        dataset = replace(dataset, cases=(unreadable, dataset.cases[0], gone, nan, dataset.cases[1], grid, values, dataset.cases[2]))
        store, calls = open_store(dataset), []
        with pytest.raises(DataError) as error:
            store.build(dataset.cases, progress=lambda done, total: calls.append((done, total)))
        text = str(error.value)
        assert text.startswith("5 cases of the data set 'Blobs' cannot be used")
        for part in (
            "unreadable.nii: cannot be read",
            "gone.nii: ",
            "NaN or infinite",
            "grid_label.nii: lies in another grid",
            "label values 5",
        ):
            assert part in text
        assert calls[-1] == (8, 8)
        assert store.missing(dataset.cases) == [unreadable, gone, nan, grid, values]

    def test_only_the_first_few_are_shown(self, make_dataset: MakeDataSet, open_store: OpenStore) -> None:
        dataset = make_dataset(8, shape=(5, 5, 5))
        for case in dataset.cases[1:]:
            case.images[0].write_bytes(b"x")
        with pytest.raises(DataError, match=r"7 cases (.|\n)*\.\.\. and 2 more"):
            open_store(dataset).build(dataset.cases)

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
    def test_a_disk_that_refuses_ends_it_and_names_the_key(self, code: int, make_dataset: MakeDataSet, counted, monkeypatch) -> None:
        dataset = make_dataset(4)
        store, preparer = counted(dataset)

        def refuse(self: Path, data: bytes) -> int:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(Path, "write_bytes", refuse)
        with pytest.raises(DataError, match=rf"prepared.*{os.strerror(code)}.*data\.store"):
            store.build(dataset.cases, workers=1)
        assert len(preparer.asked) <= 2
        assert list((store.folder / "unfinished").iterdir()) == []

    def test_a_store_that_is_a_file_is_named_with_its_key(self, make_dataset: MakeDataSet, tmp_path: Path) -> None:
        dataset = make_dataset(1)
        (tmp_path / "file").write_text("no folder")
        store = PreparedStore(tmp_path / "file", dataset, Preparer("zscore"))
        for use in (store.missing, store.build, store.open):
            with pytest.raises(DataError, match=r"file.*(Not a directory).*data\.store"):
                use(dataset.cases)

    def test_a_spacing_that_no_memory_holds_is_refused_before_anything_is_read(self, make_dataset: MakeDataSet, open_store) -> None:
        dataset = make_dataset(3)
        dataset.cases[2].images[0].write_bytes(b"")
        with pytest.raises(DataError, match=r"data\.spacing=\[0\.001, 0\.001, 0\.001\] would make 48000 x 30000 x 27000 voxels") as error:
            open_store(dataset, spacing=(0.001, 0.001, 0.001)).build(dataset.cases)
        assert "case 2" not in str(error.value)

    def test_a_file_that_changes_while_it_is_read_is_refused(self, make_dataset: MakeDataSet, counted, monkeypatch) -> None:
        dataset = make_dataset(1)
        store, preparer = counted(dataset)
        arrays = preparer.arrays
        monkeypatch.setattr(preparer, "arrays", lambda case, labels: (arrays(case, labels), touch(case.images[0]))[0])
        with pytest.raises(DataError, match="changed while it was read"):
            store.build(dataset.cases)


class TestSources:
    def test_new_times_of_the_same_content_are_accepted_once_read(self, make_dataset: MakeDataSet, counted, monkeypatch) -> None:
        dataset, hashed = make_dataset(2), []
        store, preparer = counted(dataset)
        store.build(dataset.cases)
        touch(dataset.cases[0].images[0])
        digest_of = sources.digest_of
        monkeypatch.setattr(sources, "digest_of", lambda file: hashed.append(file.name) or digest_of(file))
        for _ in range(2):
            assert store.missing(dataset.cases) == []
        assert hashed == ["case 0.nii"]
        assert len(preparer.asked) == 2

    @pytest.mark.parametrize("what", ["image", "label"])
    def test_another_content_is_prepared_anew(self, what: str, make_dataset: MakeDataSet, counted) -> None:
        dataset = make_dataset(2)
        store, preparer = counted(dataset)
        store.build(dataset.cases)
        changed = dataset.cases[1]
        path = changed.images[0] if what == "image" else changed.label
        assert isinstance(path, Path)
        rewrite(path)
        touch(path)
        assert store.missing(dataset.cases) == [changed]
        store.build(dataset.cases)
        assert preparer.asked[2:] == ["case 1"]
        assert len(list((store.folder / "cases").iterdir())) == 2, "what the earlier file gave is removed"

    def test_what_another_process_reads_is_not_removed(self, make_dataset: MakeDataSet, counted) -> None:
        dataset = make_dataset(1)
        store, _ = counted(dataset)
        store.build(dataset.cases)
        reader = store.open(dataset.cases)
        before = reader.whole(0).image
        rewrite(dataset.cases[0].images[0])
        touch(dataset.cases[0].images[0])
        store.build(dataset.cases)
        assert np.array_equal(reader.whole(0).image, before)
        assert not np.array_equal(image_of(store, dataset.cases[0]), before)

    def test_a_moved_data_set_keeps_its_store(self, make_dataset: MakeDataSet, counted) -> None:
        dataset = make_dataset(2)
        counted(dataset)[0].build(dataset.cases)
        root = dataset.root.rename(dataset.root.with_name("moved"))
        cases = tuple(
            Case(case.id, (root / case.images[0].name,), root / f"{case.id}_label.nii", "another group") for case in dataset.cases
        )
        store, preparer = counted(replace(dataset, root=root, cases=cases))
        assert store.missing(cases) == []
        store.build(cases)
        assert preparer.asked == []

    def test_data_sets_of_one_name_live_side_by_side(self, make_dataset: MakeDataSet, open_store: OpenStore) -> None:
        one, two = make_dataset(2), make_dataset(2, folder="other", seed=50)
        stores = [open_store(dataset) for dataset in (one, two)]
        assert stores[0].folder == stores[1].folder
        for dataset, store in zip((one, two), stores, strict=True):
            store.build(dataset.cases)
        for dataset, store in zip((one, two), stores, strict=True):
            assert store.missing(dataset.cases) == []
            for case in dataset.cases:
                assert np.array_equal(image_of(store, case), Preparer("none").prepare(case, dataset.labels).image)

    def test_another_way_to_put_a_case_together_is_another_case(self, make_dataset: MakeDataSet, open_store: OpenStore) -> None:
        dataset = make_dataset(2)
        store = open_store(dataset)
        store.build(dataset.cases)
        first, second = dataset.cases
        both = replace(first, images=(*first.images, *second.images))
        others = [replace(first, label=None), replace(first, channels=1), both, replace(both, images=both.images[::-1])]
        for other in others:
            assert store.missing([other]) == [other]
        store.build([both, others[-1]])
        assert np.array_equal(image_of(store, both), image_of(store, others[-1])[::-1])
        assert store.missing(dataset.cases) == []

    def test_ids_that_differ_in_a_sign_are_two_cases(self, make_dataset: MakeDataSet, open_store: OpenStore) -> None:
        dataset = make_dataset(2)
        cases = [replace(case, id=name) for case, name in zip(dataset.cases, ("a/b", "a.b"), strict=True)]
        store = open_store(dataset)
        store.build(cases)
        assert not np.array_equal(image_of(store, cases[0]), image_of(store, cases[1]))


class TestIdentity:
    def test_labels_channels_and_spacing_make_another_store(self, make_dataset: MakeDataSet, open_store: OpenStore, tmp_path: Path) -> None:
        dataset = make_dataset(1)
        others = [
            open_store(replace(dataset, labels=LabelSchema.exclusive({"tumour": 1, "ignore": 9}))),
            open_store(replace(dataset, channels=("MR",))),
            open_store(replace(dataset, name="Other")),
            open_store(dataset, spacing=(1, 1, 1)),
        ]
        folder = open_store(dataset).folder
        assert len({folder, *(store.folder for store in others)}) == 5
        assert PreparedStore(tmp_path / "prepared", replace(dataset, root=tmp_path), Preparer("none")).folder == folder

    def test_the_folder_says_what_it_holds(self, make_dataset: MakeDataSet, open_store: OpenStore) -> None:
        dataset = make_dataset(1)
        store = open_store(dataset)
        store.build(dataset.cases)
        assert '"Blobs"' in (store.folder / "store.json").read_text()


class TestDamage:
    @pytest.mark.parametrize("name", ["image.b2nd", "label.b2nd", "index.bin", MANIFEST])
    @pytest.mark.parametrize("harm", ["cut", "gone"])
    def test_cut_and_missing_files_are_made_anew(self, name: str, harm: str, make_dataset: MakeDataSet, counted) -> None:
        dataset = make_dataset(2)
        store, preparer = counted(dataset)
        store.build(dataset.cases)
        before = image_of(store, dataset.cases[1])
        path = next(store.folder.glob(f"cases/case-1-*/{name}"))
        if harm == "cut":
            path.write_bytes(path.read_bytes()[:-9])
        else:
            path.unlink()
        assert store.missing(dataset.cases) == [dataset.cases[1]]
        store.build(dataset.cases)
        assert preparer.asked[2:] == ["case 1"]
        assert np.array_equal(image_of(store, dataset.cases[1]), before)
        assert store.verify(dataset.cases) == []

    @pytest.mark.parametrize("name", ["image.b2nd", "label.b2nd", "index.bin"])
    def test_verify_finds_a_changed_byte(self, name: str, make_dataset: MakeDataSet, open_store: OpenStore) -> None:
        dataset = make_dataset(2)
        store = open_store(dataset)
        store.build(dataset.cases)
        rewrite(next(store.folder.glob(f"cases/case-0-*/{name}")))
        assert store.missing(dataset.cases) == []
        assert store.verify(dataset.cases) == [dataset.cases[0]]
        assert store.known(dataset.cases) == list(dataset.cases)
        assert store.missing(dataset.cases) == [dataset.cases[0]]
        store.build(dataset.cases)
        assert store.verify(dataset.cases) == []

    def test_damaged_lesions_are_made_anew_at_the_next_start_all_at_once(self, make_dataset: MakeDataSet, counted) -> None:
        dataset = make_dataset(3)
        store, preparer = counted(dataset)
        store.build(dataset.cases)
        for path in store.folder.glob("cases/case-[02]-*/index.bin"):
            path.write_bytes(bytes(path.stat().st_size))
        assert len(store.open(dataset.cases, build=True)) == 3
        assert sorted(preparer.asked[3:]) == ["case 0", "case 2"]
        assert store.verify(dataset.cases) == []

    def test_no_byte_of_a_manifest_may_change(self, make_dataset: MakeDataSet, open_store: OpenStore) -> None:
        dataset = make_dataset(1, shape=(5, 5, 5))
        store = open_store(dataset)
        store.build(dataset.cases)
        path = next(store.folder.glob(f"cases/*/{MANIFEST}"))
        whole = path.read_bytes()
        digits = [place for place, byte in enumerate(whole) if chr(byte).isdigit()]
        rng = np.random.default_rng(0)
        for place in rng.choice(digits, 40, replace=False):
            path.write_bytes(whole[:place] + (b"1" if whole[place] != ord("1") else b"2") + whole[place + 1 :])
            assert store.missing(dataset.cases) == list(dataset.cases)
        for junk in (b"[]", b"{}", b"1", rng.bytes(len(whole)), b"[" * len(whole)):
            path.write_bytes(junk)
            assert store.missing(dataset.cases) == list(dataset.cases)
        store.build(dataset.cases)
        assert store.verify(dataset.cases) == []


class TestRecipe:
    """What tells that a case is put together in another way."""

    def masks(self, files: int = 3, folder: str = "/data", **changes: object) -> Case:
        layer = Layer.above([Path(folder, f"m{n}.nii") for n in range(files)], 0, 1)
        return Case("c", (Path(folder, "i.nii"),), Masks((replace(layer, **changes),), ignore=9), "g")  # type: ignore[arg-type]

    def test_it_depends_on_every_rule_and_file_and_not_on_the_place(self) -> None:
        def recipe(case: Case, root: str = "/data") -> str:
            return sources.recipe_of(case, Path(root))

        case = self.masks()
        others = [
            self.masks(2),
            self.masks(values=((1, 2, 1),)),
            self.masks(background=((0, 1),)),
            self.masks(unlabelled=True),
            self.masks(files=0),
            *(
                replace(case, label=replace(case.label, **{name: value}))
                for name, value in (("background", 4), ("ignore", 7), ("keep", True))
            ),
            replace(case, label=Masks((*case.label.layers, *case.label.layers), ignore=9)),
            replace(case, label=case.label.files[0]),
            replace(case, label=None),
            replace(case, resample=True),
            replace(case, id="d"),
        ]
        assert len({recipe(one) for one in (case, *others)}) == len(others) + 1
        assert recipe(self.masks(folder="/moved"), "/moved") == recipe(case) == recipe(replace(case, group="other"))
        assert recipe(case, "/elsewhere") != recipe(case)

    def test_what_it_cannot_tell_apart_is_refused(self) -> None:
        with pytest.raises(TypeError, match="object"):
            sources.recipe_of(replace(self.masks(), channels=object()), Path("/data"))  # type: ignore[arg-type]

    @pytest.mark.parametrize("root", ["/data", "data", ".", "/", "data/../data"])
    def test_paths_are_told_as_pathlib_would(self, root: str) -> None:
        for text in ("/data/a/b", "data/a", "data/../data/x", "/database/a", "a", "/data"):
            path = Path(text)
            wanted = path.relative_to(root) if path.is_relative_to(root) else path.absolute()
            assert sources.relative(path, Path(root)) == wanted.as_posix()


class Other:
    """Another process that prepares the same data set, slowly, one case after the other."""

    def __init__(self, store: PreparedStore, cases: Sequence[Case], pause: float) -> None:
        self._done, sender = multiprocessing.Pipe(duplex=False)

        def main() -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
            save = manifest.save
            manifest.save = lambda array, path: time.sleep(pause) or save(array, path)
            with open(os.devnull, "w") as sys.stderr:  # its traceback is no news
                store.build(cases, workers=1, progress=lambda done, total: sender.send((done, total)))

        self.process = multiprocessing.get_context("fork").Process(target=main)
        self.process.start()
        sender.close()

    def progress(self) -> tuple[int, int]:
        """Waits for the next case."""
        return self._done.recv()

    def end(self, order: signal.Signals | None = None) -> int:
        """Sends a signal, waits for the end and gives the exit code."""
        if order is not None:
            assert self.process.pid is not None
            os.kill(self.process.pid, order)
        self.process.join(30)
        self._done.close()
        assert self.process.exitcode is not None
        return self.process.exitcode


PROCESSES = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")


class TestKilling:
    def test_a_crash_in_the_middle_of_a_case_leaves_the_others(self, make_dataset: MakeDataSet, counted, monkeypatch) -> None:
        dataset = make_dataset(3)
        store, preparer = counted(dataset)
        save, calls = manifest.save, []

        def crash(array: np.ndarray, path: Path) -> None:
            calls.append(array)
            if len(calls) == 4:  # the label of the second case
                raise RuntimeError("crash")
            save(array, path)

        monkeypatch.setattr(manifest, "save", crash)
        with pytest.raises(RuntimeError, match="crash"):
            store.build(dataset.cases, workers=1)
        assert dataset.cases[0] not in store.missing(dataset.cases)
        assert dataset.cases[1] in store.missing(dataset.cases)
        monkeypatch.setattr(manifest, "save", save)
        store.build(dataset.cases)
        assert store.missing(dataset.cases) == []
        assert preparer.asked.count("case 0") == 1

    @PROCESSES
    def test_a_killed_process_leaves_a_store_that_goes_on(self, make_dataset: MakeDataSet, counted) -> None:
        dataset = make_dataset(6)
        store, preparer = counted(dataset)
        other = Other(store, dataset.cases, pause=0.1)
        assert [other.progress(), other.progress()] == [(0, 6), (1, 6)]
        while other.process.is_alive() and not any((store.folder / "unfinished").iterdir()):
            time.sleep(0.01)
        assert other.end(signal.SIGKILL) == -signal.SIGKILL
        assert 1 <= len(store.missing(dataset.cases)) <= 5
        assert any((store.folder / "unfinished").iterdir())
        store.build(dataset.cases)
        assert len(preparer.asked) <= 5
        assert store.verify(dataset.cases) == []
        assert list((store.folder / "unfinished").iterdir()) == []

    @PROCESSES
    def test_an_interrupt_ends_it_within_a_case(self, make_dataset: MakeDataSet, open_store: OpenStore) -> None:
        dataset = make_dataset(30, shape=(8, 8, 8))
        store = open_store(dataset)
        other = Other(store, dataset.cases, pause=0.1)
        assert [other.progress(), other.progress()] == [(0, 30), (1, 30)]
        assert other.end(signal.SIGINT) == 1
        assert len(store.missing(dataset.cases)) > 20
        assert list((store.folder / "unfinished").iterdir()) == []


class TestTwoProcesses:
    @PROCESSES
    def test_they_prepare_each_case_once(self, make_dataset: MakeDataSet, counted) -> None:
        dataset = make_dataset(4)
        store, preparer = counted(dataset)
        other = Other(store, dataset.cases, pause=0.1)
        assert [other.progress(), other.progress()] == [(0, 4), (1, 4)]
        store.build(dataset.cases)
        assert other.end() == 0
        assert preparer.asked == []
        assert store.verify(dataset.cases) == []

    def test_without_locks_the_first_to_finish_a_case_wins(self, make_dataset: MakeDataSet, counted, monkeypatch) -> None:
        dataset = make_dataset(2)
        one, preparer = counted(dataset)
        other, _ = counted(dataset)
        monkeypatch.setattr(prepared.WriteLock, "held", lambda self, stale_after: contextlib.nullcontext(False))
        arrays = preparer.arrays

        def overtaken(case: Case, labels: LabelSchema) -> CaseArrays:
            made = arrays(case, labels)
            if case.id == "case 0":
                other.build(dataset.cases)
            return made

        monkeypatch.setattr(preparer, "arrays", overtaken)
        one.build(dataset.cases, workers=1)
        assert one.verify(dataset.cases) == []
        assert len(list((one.folder / "cases").iterdir())) == 2
        assert list((one.folder / "unfinished").iterdir()) == []

    def test_without_locks_what_is_damaged_gives_way(self, make_dataset: MakeDataSet, counted, monkeypatch) -> None:
        dataset = make_dataset(1)
        store, _ = counted(dataset)
        monkeypatch.setattr(prepared.WriteLock, "held", lambda self, stale_after: contextlib.nullcontext(False))
        store.build(dataset.cases)
        rewrite(next(store.folder.glob("cases/*/image.b2nd")))
        next(store.folder.glob("cases/*/label.b2nd")).unlink()
        store.build(dataset.cases)
        assert store.verify(dataset.cases) == []

    @PROCESSES
    def test_one_that_hangs_is_named(self, make_dataset: MakeDataSet, open_store: OpenStore) -> None:
        dataset = make_dataset(2)
        store = open_store(dataset)
        other = Other(store, dataset.cases, pause=2.0)
        lock = store.folder / "prepare.lock"
        while other.process.is_alive() and not (lock.exists() and lock.read_bytes()):
            time.sleep(0.01)
        with pytest.raises(DataError, match=rf"prepare\.lock: process {other.process.pid} on .* has been preparing"):
            store.build(dataset.cases, stale_after=0.3)
        other.end(signal.SIGKILL)
