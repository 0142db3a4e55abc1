"""Many cases at once: in threads, within a bound of memory, and ended at once by Ctrl-C."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

import numpy as np

from medseg.data.case import Case
from medseg.data.images import count_channels, read_geometry
from medseg.data.preparation import check_growth
from medseg.errors import DataError

LEAST_MEMORY = 2**32
"""Bytes that cases in work may take together, even where none is that large."""


class Stopped(Exception):  # noqa: N818 - an order, not an error
    """Raised in the threads once the others have been told to end."""


class Budget:
    """Memory that cases in work share. A case that is larger than all of it waits until it is alone.

    Args:
        limit: Bytes.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._used = 0.0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, size: float) -> Iterator[None]:
        """Waits until there is room for `size` bytes and holds them for the length of the block."""
        with self._changed:
            self._changed.wait_for(lambda: self._used == 0 or self._used + size <= self.limit)
            self._used += size
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()


def run(
    cases: Sequence[Case],
    work: Callable[[Case, Callable[[], None]], None],
    cost: Callable[[Case], float],
    *,
    workers: int | None,
    done: Callable[[Case], None],
) -> list[tuple[Case, DataError]]:
    """Does some work for each case, several at a time.

    Threads, not processes: reading, resampling and compression leave the interpreter free, on two busy cores neither was faster, and
    nothing outlives a process that is killed.

    Args:
        cases: The cases.
        work: Called with a case, and a function to be called now and then that ends the work when the others have been told to.
        cost: Bytes of memory that a case takes.
        workers: Threads; by default one a core, at most 8.
        done: Called in this thread for each case that went well or wrong.

    Returns:
        The cases that cannot be used, and why, in the order of `cases`.
    """
    costs = [cost(case) for case in cases]
    budget = Budget(max([LEAST_MEMORY, *costs]))
    stopped = threading.Event()
    pool = ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1), thread_name_prefix="medseg-prepare")

    def step() -> None:
        if stopped.is_set():
            raise Stopped

    def one(case: Case, size: float) -> None:
        with budget.taken(size):
            step()
            work(case, step)

    futures = {pool.submit(one, case, size): case for case, size in zip(cases, costs, strict=True)}
    try:
        return _collected(futures, done)
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def estimate(case: Case, spacing: Sequence[float] | None) -> float:
    """Bytes that preparing a case takes at its peak, told by the headers of its files; 0 for one that cannot be read anyway.

    Raises:
        DataError: No memory would be enough for this spacing; see `check_growth`.
    """
    try:
        geometry = read_geometry(case.images[0])
        channels = sum(count_channels(path) for path in case.images)
    except DataError:
        return 0.0
    voxels = float(np.prod(geometry.shape))
    grown = voxels
    if spacing is not None and len(spacing) == len(geometry.shape):
        check_growth(case, geometry, channels, spacing)
        grown = voxels * float(np.prod(geometry.spacing)) / float(np.prod(spacing))
    largest = max(voxels, grown)
    # First the image in float32, as it was read and as it was turned or resampled, with one channel on its way; then the label beside it.
    return max(channels * (5 * voxels + 4 * largest) + 4 * largest, channels * 4 * grown + 10 * largest)


def _collected(futures: dict[Future[None], Case], done: Callable[[Case], None]) -> list[tuple[Case, DataError]]:
    faults: dict[int, tuple[Case, DataError]] = {}
    order = {future: number for number, future in enumerate(futures)}
    pending = set(futures)
    while pending:
        # A timeout, since a wait without one cannot be interrupted everywhere.
        finished, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
        for future in finished:
            error = future.exception()
            if error is not None and not isinstance(error, DataError):
                raise error
            if isinstance(error, DataError):
                faults[order[future]] = (futures[future], error)
            done(futures[future])
    return [faults[number] for number in sorted(faults)]
