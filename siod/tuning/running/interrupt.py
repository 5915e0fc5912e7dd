"""Ctrl-C in two stages: the first asks to end in good order, the second ends at once."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def interruptible(first: Callable[[], object], second: Callable[[], object]) -> Iterator[None]:
    """Set what Ctrl-C does while the context lasts; outside the main thread nothing changes.

    Args:
        first: Called at the first Ctrl-C, in a thread of its own: the main thread may be in the middle of a print,
            which must not be entered twice.
        second: Called at every further one, in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    steps = iter((lambda: threading.Thread(target=first, daemon=True).start(),))

    def answer(*_: object) -> None:
        next(steps, second)()

    before = signal.signal(signal.SIGINT, answer)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
