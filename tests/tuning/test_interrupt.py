"""Ctrl-C while something is printed: the answer is printed after it, not inside it."""

from __future__ import annotations

import io
import signal
import threading

from siod.tuning.running.interrupt import interruptible


class Interrupting(io.RawIOBase):
    """Ctrl-C is pressed while its first bytes are written."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        if not self.parts:
            signal.raise_signal(signal.SIGINT)
        self.parts.append(bytes(data))
        return len(data)


def test_what_the_first_ctrl_c_prints_does_not_enter_the_print_it_interrupts() -> None:
    raw = Interrupting()
    out, answered = io.BufferedWriter(raw), threading.Event()

    def first() -> None:
        out.write(b"stopping\n")
        out.flush()
        answered.set()

    with interruptible(first, lambda: None):
        out.write(b"base/0: started\n")
        out.flush()
        assert answered.wait(timeout=60)
    assert b"".join(raw.parts) == b"base/0: started\nstopping\n"


def test_further_ones_are_answered_in_the_main_thread_and_none_after_the_context() -> None:
    answers: list[str] = []
    first = threading.Event()

    def second() -> None:
        answers.append(threading.current_thread().name)

    before = signal.getsignal(signal.SIGINT)
    with interruptible(first.set, second):
        signal.raise_signal(signal.SIGINT)
        assert first.wait(timeout=60)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert answers == ["MainThread"] * 2
    assert signal.getsignal(signal.SIGINT) is before
