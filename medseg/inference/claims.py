"""Claims of work in a folder that several processes share: who predicts which case, and whose claim has lapsed."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

HEARTBEAT = 5.0
"""Seconds between two signs of life of a claim."""

LAPSES = 60.0
"""Seconds without one after which another machine may take a claim over."""


class Claims:
    """Claims in one folder, on which processes of several machines agree; to be used in a `with` statement.

    A claim is a file `.<name>.claim` that names its machine. On one machine a lock of the system (`flock`) tells whether its process lives:
    that of a killed one lapses at once. Of other machines, and where there are no locks, the file's age tells: a living process touches it
    every `HEARTBEAT` seconds, and it lapses after `LAPSES`. Times are compared by the clock of the folder's own disk.

    Where a claim is lost nevertheless (a machine that hung for a minute), two processes do the same work: files that are written atomically
    are as good as before.

    Args:
        folder: The folder; made if need be.

    Raises:
        OSError: When the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}
        """Name -> descriptor of the open, locked file."""
        self._guard = threading.Lock()
        self._closed = threading.Event()
        self._owner = f"{socket.gethostname()} {uuid.getnode():x}".encode()
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Claims:
        threading.Thread(target=self._beat, name="claims", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed.set()
        for name in list(self._held):
            self.release(name)

    def take(self, name: str) -> bool:
        """Claim a piece of work; False where a living process, or this one, has it."""
        path = self._path(name)
        while True:
            descriptor, created = _open(path)
            if not self._may(descriptor, created):
                os.close(descriptor)
                return False
            if _is_still(path, descriptor):
                break
            os.close(descriptor)  # its owner finished and removed it meanwhile
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, self._owner)
        with self._guard:
            self._held[name] = descriptor
        return True

    def release(self, name: str) -> None:
        """Give a claim back: the work is done, or others may try."""
        with self._guard:
            descriptor = self._held.pop(name)
        if fcntl is None:  # Windows removes no open file
            os.close(descriptor)
            self._path(name).unlink(missing_ok=True)
        else:
            self._path(name).unlink(missing_ok=True)
            os.close(descriptor)

    @contextlib.contextmanager
    def taken(self, name: str) -> Iterator[None]:
        """Hold a claim, after waiting for it."""
        while not self.take(name):
            time.sleep(0.02)
        try:
            yield
        finally:
            self.release(name)

    def others(self) -> list[str]:
        """What living processes other than this one work on."""
        busy = []
        for path in sorted(self._folder.glob(".*.claim")):
            name = path.name[1 : -len(".claim")]
            if name in self._held:
                continue
            if self.take(name):
                self.release(name)
            else:
                busy.append(name)
        return busy

    def now(self) -> int:
        """The time in nanoseconds, by the clock that stamps the files of this folder."""
        path = self._folder / f".{uuid.uuid4().hex}.clock"
        path.touch()
        try:
            return path.stat().st_mtime_ns
        finally:
            path.unlink()

    def _path(self, name: str) -> Path:
        return self._folder / f".{name}.claim"

    def _may(self, descriptor: int, created: bool) -> bool:
        """Whether a claim's file is this process's to take: made by it, or its owner is dead. Where it is, it is locked afterwards."""
        locked = _lock(descriptor, wait=created)
        if created or locked is False:
            return created
        if locked and os.read(descriptor, len(self._owner) + 1) == self._owner:
            return True
        return self.now() - os.fstat(descriptor).st_mtime_ns > LAPSES * 1e9

    def _beat(self) -> None:
        while not self._closed.wait(HEARTBEAT):
            with self._guard:
                for name in self._held:
                    with contextlib.suppress(OSError):  # removed by hand, or the disk is away: the work goes on
                        os.utime(self._path(name))


def _open(path: Path) -> tuple[int, bool]:
    """A descriptor of the claim's file, and whether this process made it."""
    while True:
        with contextlib.suppress(FileExistsError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR), False


def _lock(descriptor: int, wait: bool) -> bool | None:
    """Lock a file: whether that succeeded, or None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # a network disk without locks
        return None
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether an open file is the one that has the name now."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
