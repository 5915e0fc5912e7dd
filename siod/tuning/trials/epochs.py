"""Report epochs from another process or machine through a file on shared storage."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from siod.training.context import EpochListener

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class EpochFile:
    """A listener that can be sent to a worker: it writes one line per epoch.

    Args:
        path: The file, on storage that worker and reader share.
    """

    path: Path

    def __call__(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Append an epoch."""
        with self.path.open("a") as lines:
            lines.write(json.dumps({"epoch": epoch, "metrics": dict(metrics)}) + "\n")


@contextmanager
def follow_epochs(path: Path, listener: EpochListener, *, poll_seconds: float = POLL_SECONDS) -> Iterator[EpochFile]:
    """Call a listener in this process for each epoch that a worker writes to a file.

    Args:
        path: The file; made here and removed in the end.
        listener: Called in a thread of this process.
        poll_seconds: How often to look.

    Yields:
        The listener to send to the worker. All it wrote has been passed on when the context ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    done = threading.Event()
    follower = threading.Thread(target=_follow, args=(path, listener, done, poll_seconds), daemon=True)
    follower.start()
    try:
        yield EpochFile(path)
    finally:
        done.set()
        follower.join()
        path.unlink()


def _follow(path: Path, listener: EpochListener, done: threading.Event, poll_seconds: float) -> None:
    unfinished = ""
    with path.open() as lines:
        while True:
            last_look = done.wait(poll_seconds)
            *whole, unfinished = (unfinished + lines.read()).split("\n")
            for line in whole:
                entry = json.loads(line)
                listener(entry["epoch"], entry["metrics"])
            if last_look:
                return
