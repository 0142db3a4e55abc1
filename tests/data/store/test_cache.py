from __future__ import annotations

import mmap
import pickle

import numpy as np
import pytest

from medseg.data.store.cache import SharedCache, SharedFlags
from medseg.errors import DataError


class TestSharedCache:
    def test_slots_go_to_the_first_ones_that_fit(self) -> None:
        cache = SharedCache([1000, 5000, 900, 800], 2000)
        assert [number in cache for number in range(4)] == [True, False, True, False]
        assert 1900 <= cache.nbytes <= 2000

    def test_slots_do_not_overlap_and_hold_what_is_put_into_them(self) -> None:
        sizes = [100, 7, 64, 1]
        cache = SharedCache(sizes, 1e6)
        arrays = [cache.array(number, 0, (size,), np.dtype(np.uint8)) for number, size in enumerate(sizes)]
        for number, array in enumerate(arrays):
            array[:] = number + 1
            assert not cache.ready(number)
        for number, array in enumerate(arrays):
            assert (array == number + 1).all()
            cache.publish(number)
            assert cache.ready(number)

    def test_there_may_be_none(self) -> None:
        cache = SharedCache([100], 10)
        assert 0 not in cache
        assert cache.nbytes == 0

    def test_a_pickled_copy_has_none(self) -> None:
        copy = pickle.loads(pickle.dumps(SharedCache([100], 1000)))
        assert 0 not in copy
        assert copy.nbytes == 0

    def test_memory_that_the_system_does_not_give_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise OSError(12, "Cannot allocate memory")

        monkeypatch.setattr(mmap, "mmap", refuse)
        with pytest.raises(DataError, match=r"2\.0 GiB.*data\.cache_gib"):
            SharedCache([2**31], 2**40)


class TestSharedFlags:
    def test_they_are_raised_one_by_one_and_down_in_a_copy(self) -> None:
        flags = SharedFlags(3)
        flags.set(1)
        assert [flags[number] for number in range(3)] == [False, True, False]
        copy = pickle.loads(pickle.dumps(flags))
        assert [copy[number] for number in range(3)] == [False] * 3

    def test_there_may_be_none(self) -> None:
        SharedFlags(0)
