from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medseg.data.phantoms import Phantom
from medseg.data.phantoms import phantom as module
from medseg.errors import DataError

Kind = Literal["lesions_2d", "lesions_3d", "organs_3d"]
KINDS: tuple[Kind, ...] = ("lesions_2d", "lesions_3d", "organs_3d")
TINY: dict[str, Any] = {"cases": 3, "test_cases": 1, "size": [40, 40]}


def digests(folder: Path) -> dict[str, str]:
    """Hash of every file's bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def size_of(kind: Kind) -> list[int]:
    return [40, 48] if kind == "lesions_2d" else [40, 40, 32]


class TestDeterminism:
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_same_seed_writes_the_same_bytes(self, tmp_path: Path, kind: Kind) -> None:
        phantom = Phantom(kind=kind, cases=2, test_cases=1, size=size_of(kind))
        phantom.read(tmp_path / "a")
        phantom.read(tmp_path / "b")
        assert digests(tmp_path / "a") == digests(tmp_path / "b")

    @pytest.mark.parametrize("kind", KINDS)
    def test_more_cases_leave_the_others_as_they_were(self, tmp_path: Path, kind: Kind) -> None:
        few = Phantom(kind=kind, cases=2, test_cases=1, size=size_of(kind)).read(tmp_path)
        many = Phantom(kind=kind, cases=4, test_cases=2, size=size_of(kind)).read(tmp_path)
        before, after = digests(few.root), digests(many.root)
        del before["dataset.json"]
        assert len(before) == 6
        assert before.items() <= after.items()

    @pytest.mark.parametrize("kind", KINDS)
    def test_seeds_cases_and_test_cases_all_differ(self, kind: Kind) -> None:
        def image(seed: int, index: int, test: bool) -> bytes:
            return Phantom(kind=kind, seed=seed, size=size_of(kind)).sample(index, test=test).image.tobytes()

        assert len({image(0, 0, False), image(0, 1, False), image(1, 0, False), image(0, 0, True)}) == 4

    def test_whatever_changes_the_content_changes_the_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        variants: list[dict[str, Any]] = [{}, {"cases": 41}, {"test_cases": 9}, {"seed": 1}, {"size": [64, 64]}, {"contrast": 3.0}]
        names = {Phantom(kind="lesions_2d", **variant).folder_name for variant in variants}
        monkeypatch.setitem(module.KINDS, "lesions_2d", module.Kind(**{**vars(module.KINDS["lesions_2d"]), "version": 99}))
        names.add(Phantom(kind="lesions_2d").folder_name)
        assert len(names) == len(variants) + 1


class TestDataSet:
    @pytest.mark.parametrize("kind", KINDS)
    def test_reads_as_an_nnunet_data_set_with_labelled_test_cases(self, tmp_path: Path, kind: Kind) -> None:
        data = Phantom(kind=kind, cases=3, test_cases=2, size=size_of(kind)).read(tmp_path)
        assert (len(data.cases), len(data.test_cases)) == (3, 2)
        assert data.spatial_dims == len(size_of(kind))
        assert data.labels.classes == module.KINDS[kind].classes
        assert len(data.channels) == 1
        for case in (*data.cases, *data.test_cases):
            assert case.label is not None
            assert case.label.is_file()
            assert all(image.is_file() for image in case.images)
        assert len({case.group for case in data.cases}) == 3

    def test_images_and_labels_share_their_geometry(self, tmp_path: Path) -> None:
        data = Phantom(kind="lesions_3d", cases=2, test_cases=0, size=[40, 40, 32]).read(tmp_path)
        for case in data.cases:
            image, label = nib.load(case.images[0]), nib.load(str(case.label))
            assert image.shape == label.shape
            assert np.array_equal(image.affine, label.affine)
            np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)

    def test_pictures_are_grey_and_labels_hold_0_and_1(self, tmp_path: Path) -> None:
        data = Phantom(kind="lesions_2d", **TINY).read(tmp_path)
        with Image.open(data.cases[0].images[0]) as image, Image.open(str(data.cases[0].label)) as label:
            assert image.mode == "L"
            assert image.size == label.size == (40, 40)
            assert set(np.unique(np.asarray(label))) <= {0, 1}

    def test_no_test_cases_are_possible(self, tmp_path: Path) -> None:
        assert Phantom(kind="lesions_2d", cases=2, test_cases=0, size=[40, 40]).read(tmp_path).test_cases == ()

    def test_default_folder_is_data_phantoms(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        phantom = Phantom(kind="lesions_2d", **TINY)
        phantom.read(None)
        assert (tmp_path / "data" / "phantoms" / phantom.folder_name / "dataset.json").is_file()

    def test_finds_images_to_predict(self, tmp_path: Path) -> None:
        phantom = Phantom(kind="lesions_2d", **TINY)
        data = phantom.read(tmp_path)
        found = phantom.find(data.root / "imagesTs", channels=1)
        assert [case.id for case in found] == [case.id for case in data.test_cases]
        assert all(case.label is None for case in found)

    def test_the_written_case_is_the_sample(self, tmp_path: Path) -> None:
        phantom = Phantom(kind="organs_3d", cases=2, test_cases=1, size=[40, 40, 32])
        data = phantom.read(tmp_path)
        for case, sample in ((data.cases[1], phantom.sample(1)), (data.test_cases[0], phantom.sample(0, test=True))):
            assert np.array_equal(np.asarray(nib.load(case.images[0]).dataobj), sample.image)
            assert np.array_equal(np.asarray(nib.load(str(case.label)).dataobj), sample.label)


class TestEmptyCases:
    @pytest.mark.parametrize("kind", ["lesions_2d", "lesions_3d"])
    @pytest.mark.parametrize("test", [False, True])
    def test_one_case_in_six_has_no_lesion(self, kind: Kind, test: bool) -> None:
        phantom = Phantom(kind=kind, seed=5, size=size_of(kind))
        empty = [not phantom.sample(index, test=test).label.any() for index in range(18)]
        assert [sum(empty[start : start + 6]) for start in (0, 6, 12)] == [1, 1, 1]

    def test_their_places_differ(self) -> None:
        phantom = Phantom(kind="lesions_2d", size=[40, 40])
        places = [index % 6 for index in range(60) if not phantom.sample(index).label.any()]
        assert len(set(places)) > 2


def _read(folder: str, barrier: Any) -> None:
    barrier.wait()
    Phantom(kind="lesions_2d", **TINY).read(Path(folder))


def _read_slowly(folder: str) -> None:
    write = module._write

    def slow(*arguments: Any) -> None:
        write(*arguments)
        time.sleep(0.2)

    module._write = slow  # type: ignore[assignment]
    Phantom(kind="lesions_2d", **TINY).read(Path(folder))


class TestAtomicity:
    def test_a_killed_generation_is_no_data_set(self, tmp_path: Path) -> None:
        process = multiprocessing.get_context("spawn").Process(target=_read_slowly, args=(str(tmp_path),))
        process.start()
        deadline = time.monotonic() + 120
        while not list(tmp_path.rglob("*.png")):
            assert time.monotonic() < deadline, "the generation never began"
            time.sleep(0.02)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        phantom = Phantom(kind="lesions_2d", **TINY)
        assert not (tmp_path / phantom.folder_name).exists()
        assert len(phantom.read(tmp_path).cases) == TINY["cases"]

    def test_an_interrupted_generation_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(module, "_publish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            Phantom(kind="lesions_2d", **TINY).read(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_two_processes_that_start_at_once_both_succeed(self, tmp_path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(2)
        processes = [context.Process(target=_read, args=(str(tmp_path), barrier)) for _ in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0]
        assert [path.name for path in tmp_path.iterdir()] == [Phantom(kind="lesions_2d", **TINY).folder_name]

    def test_a_faster_process_wins(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        phantom = Phantom(kind="lesions_2d", **TINY)
        publish = module._publish

        def late(temporary: Path, folder: Path) -> None:
            folder.mkdir()
            (folder / "dataset.json").write_text((temporary / "dataset.json").read_text())
            publish(temporary, folder)

        monkeypatch.setattr(module, "_publish", late)
        phantom._generate(tmp_path / phantom.folder_name)
        assert [path.name for path in (tmp_path / phantom.folder_name).iterdir()] == ["dataset.json"]

    def test_a_second_read_generates_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        phantom = Phantom(kind="lesions_2d", **TINY)
        phantom.read(tmp_path)
        monkeypatch.setattr(module, "_write", None)
        assert len(phantom.read(tmp_path).cases) == TINY["cases"]


class TestParameters:
    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"kind": "lesion_2d"}, "'lesion_2d' is unknown; choose from lesions_2d"),
            ({"kind": "lesions_2d", "cases": 0}, "cases >= 1"),
            ({"kind": "lesions_2d", "size": [64, 64, 64]}, "must be 2 numbers"),
            ({"kind": "lesions_3d", "size": [64, 64, 16]}, "at least 32"),
            ({"kind": "lesions_3d", "contrast": 0.0}, "contrast must be above 0"),
        ],
    )
    def test_bad_ones_are_named(self, params: dict[str, Any], message: str) -> None:
        with pytest.raises(DataError, match=message):
            Phantom(**params)

    def test_description_names_labels_and_ending(self, tmp_path: Path) -> None:
        data = Phantom(kind="organs_3d", cases=1, test_cases=0, size=[40, 40, 32]).read(tmp_path)
        content = json.loads((data.root / "dataset.json").read_text())
        assert content["labels"] == {"background": 0, "liver": 1, "kidney": 2, "gallbladder": 3}
        assert (content["file_ending"], content["numTraining"]) == (".nii.gz", 1)


def _sizes(kind: Kind, cases: Sequence[int]) -> list[tuple[int, ...]]:
    phantom = Phantom(kind=kind)
    return [tuple(sorted(phantom.sample(index).image.shape)) for index in cases]


class TestSizes:
    def test_defaults_are_around_the_documented_ones(self) -> None:
        assert all(128 <= n <= 192 for shape in _sizes("lesions_2d", range(6)) for n in shape)
        assert set(_sizes("lesions_3d", range(8))) == {(48, 56, 64), (32, 56, 64)}
        assert set(_sizes("organs_3d", range(8))) == {(48, 48, 48), (32, 48, 48)}
