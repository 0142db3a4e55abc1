"""Unpacked cases in memory that forked processes share."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Sequence

import numpy as np

from medseg.errors import DataError

_ALIGN = 64


class SharedFlags:
    """Flags, all down at first, that are raised for the processes forked afterwards too. A pickled copy has flags of its own, all down.

    Args:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._memory = mmap.mmap(-1, max(1, count))

    def __getitem__(self, number: int) -> bool:
        return bool(self._memory[number])

    def set(self, number: int) -> None:
        """Raises a flag."""
        self._memory[number] = 1

    def __reduce__(self) -> tuple[type[SharedFlags], tuple[int]]:
        return SharedFlags, (self._count,)


class SharedCache:
    """Slots for cases, in memory that is shared with the processes forked after it was made.

    Pages are taken when they are first written: an empty slot costs nothing. Two processes may fill a slot at once, as both write the same
    bytes. A copy that is pickled has no slots, since the memory of other processes is not within its reach.

    Args:
        sizes: Bytes of each case. Slots go to the first ones that fit.
        limit: Bytes of all slots together.

    Raises:
        DataError: The system does not give that much memory.
    """

    def __init__(self, sizes: Sequence[int], limit: float) -> None:
        self._slots: dict[int, int] = {}
        flags = _aligned(len(sizes))
        used = 0
        for number, size in enumerate(sizes):
            if used + _aligned(size) <= limit:
                self._slots[number] = flags + used
                used += _aligned(size)
        self.nbytes = used
        """Bytes of all slots."""
        try:
            self._memory = mmap.mmap(-1, flags + used) if used else None
        except (OSError, ValueError, OverflowError) as error:
            raise DataError(f"the system gives no {used / 2**30:.1f} GiB of memory for cases ({error}); lower data.cache_gib") from error
        self._barrier = threading.Lock()

    def __contains__(self, number: int) -> bool:
        return number in self._slots

    def ready(self, number: int) -> bool:
        """Whether a process has filled the slot."""
        if self._memory is None or not self._memory[number]:
            return False
        # A lock orders memory: processors other than x86 might show the flag before the data.
        with self._barrier:
            return True

    def publish(self, number: int) -> None:
        """Says that the slot is filled."""
        assert self._memory is not None
        with self._barrier:
            pass
        self._memory[number] = 1

    def array(self, number: int, offset: int, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
        """An array that lies in a slot from byte `offset` on."""
        assert self._memory is not None
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self._memory, dtype=dtype, count=count, offset=self._slots[number] + offset).reshape(shape)

    def __getstate__(self) -> dict[str, object]:
        return {}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__((), 0)  # type: ignore[misc]


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
