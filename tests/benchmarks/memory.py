"""How much memory a piece of work takes, for the benchmarks beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def peak_mib(work: Callable[[], object]) -> float:
    """Peak resident memory of some work, above what the process holds before it; on Linux, in a fresh process."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of what came before
    before = _peak_kib()
    work()
    return (_peak_kib() - before) / 1024


def _peak_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
