"""Locks between processes: who may write a store, and who reads it."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from medseg.errors import DataError

try:
    import fcntl
except ImportError:  # Windows: cases still appear whole or not at all, and only one process should prepare
    fcntl = None  # type: ignore[assignment]

STALE_AFTER = 1800.0
"""Seconds without a case prepared after which a waiting process gives up on the one that holds the lock."""

_POLL = 0.2
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS)


class WriteLock:
    """The one process that prepares cases. The system lets go of the lock when its process ends, however it ends.

    Args:
        path: A file that stays. It says who holds the lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def held(self, stale_after: float = STALE_AFTER) -> Iterator[bool]:
        """Waits for the lock and holds it for the length of the block. Gives False where the file system has no locks.

        Raises:
            DataError: Another process holds it and has prepared nothing for `stale_after` seconds.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            locked = self._wait(descriptor, stale_after)
            if locked:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            yield locked
        finally:
            os.close(descriptor)

    def beat(self) -> None:
        """Tells those who wait that work goes on."""
        with contextlib.suppress(OSError):
            os.utime(self.path)

    def _wait(self, descriptor: int, stale_after: float) -> bool:
        while True:
            locked = _try_lock(descriptor)
            if locked is not None:
                return locked
            if time.time() - os.fstat(descriptor).st_mtime > stale_after:
                holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
                raise DataError(
                    f"{self.path}: {holder} has been preparing cases and finished none for {stale_after:.0f} s; "
                    "stop it, or wait until it has ended, and start again"
                )
            time.sleep(_POLL)


class ReadMark:
    """Says, while it lives, that a process reads a store, so that no other removes what it reads. Copies and forks keep it.

    Args:
        path: A file that stays; on a read-only store it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = None
        with contextlib.suppress(OSError):
            self._descriptor = os.open(path, os.O_RDONLY)
            if fcntl is not None:
                fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def __del__(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)


@contextlib.contextmanager
def nobody_reads(path: Path) -> Iterator[bool]:
    """Gives whether no `ReadMark` on this file lives, False where it cannot tell; new ones wait until the block ends."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        yield False
        return
    try:
        yield bool(_try_lock(descriptor))
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool | None:
    """True: locked; None: another process holds it; False: no locks here."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK):
            return None
        raise
    return True
