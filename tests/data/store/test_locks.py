from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.data.case import DataSet
from medseg.data.store import PreparedStore, locks
from medseg.data.store.locks import ReadMark, WriteLock, nobody_reads
from medseg.errors import DataError

LOCKS = pytest.mark.skipif(locks.fcntl is None, reason="needs file locks")


class TestWriteLock:
    @LOCKS
    def test_one_holds_it_and_others_give_up_on_a_holder_that_does_nothing(self, tmp_path: Path) -> None:
        lock = WriteLock(tmp_path / "lock")
        with lock.held() as locked:
            assert locked
            with pytest.raises(DataError, match=rf"lock: process {os.getpid()} on .* finished none for 0 s"), lock.held(0.1):
                pass
        with lock.held(0.1) as locked:
            assert locked

    @LOCKS
    def test_a_holder_that_works_is_waited_for(self, tmp_path: Path) -> None:
        import threading

        lock, given_up = WriteLock(tmp_path / "lock"), []

        def wait() -> None:
            try:
                with lock.held(0.5):
                    pass
            except DataError as error:
                given_up.append(error)

        with lock.held():
            waiter = threading.Thread(target=wait)
            waiter.start()
            for _ in range(12):
                time.sleep(0.1)
                lock.beat()
        waiter.join()
        assert given_up == []


class TestReadMark:
    @LOCKS
    def test_it_is_seen_while_it_lives(self, tmp_path: Path) -> None:
        (tmp_path / "readers").touch()
        marks = [ReadMark(tmp_path / "readers") for _ in range(2)]
        for _ in range(2):
            with nobody_reads(tmp_path / "readers") as alone:
                assert not alone
            marks.pop()
        with nobody_reads(tmp_path / "readers") as alone:
            assert alone

    def test_a_store_without_the_file_is_read_all_the_same(self, tmp_path: Path) -> None:
        ReadMark(tmp_path / "gone")


class TestWithoutLocks:
    def test_cases_are_prepared_and_only_old_remains_removed(
        self, make_dataset: Callable[..., DataSet], open_store: Callable[..., PreparedStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(locks, "fcntl", None)
        dataset = make_dataset(2)
        store = open_store(dataset)
        for name, age in (("young", 0), ("old", 1e6)):
            folder = store.folder / "unfinished" / name
            folder.mkdir(parents=True)
            os.utime(folder, (time.time() - age,) * 2)
        store.build(dataset.cases)
        assert [folder.name for folder in (store.folder / "unfinished").iterdir()] == ["young"]
        assert len(store.open(dataset.cases)) == 2
        shutil.rmtree(next((store.folder / "cases").glob("case-1-*")))
        assert store.missing(dataset.cases) == [dataset.cases[1]]
