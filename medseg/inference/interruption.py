"""Ctrl-C that no library can swallow: some catch the `KeyboardInterrupt` in their midst, or raise another error while they clean up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def remembered_interrupt() -> Iterator[Callable[[], None]]:
    """Give a function that raises the `KeyboardInterrupt` again which came since; where Ctrl-C is handled by others, it does nothing."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: None
        return
    came: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.default_int_handler(number, frame)

    def again() -> None:
        if came:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
    try:
        yield again
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
