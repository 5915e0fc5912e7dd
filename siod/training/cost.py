"""What a run costs, measured as it goes: later runs of its shape are planned by it."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import torch

from siod.training.results import EPOCH_SECONDS, PEAK_MEMORY_MIB

KIB_PER_MIB, BYTES_PER_MIB = 2**10, 2**20
PROCESS = Path("/proc/self")
FORGET_PEAK = "5"  # see proc(5), clear_refs
# Linux adds up what threads have taken only now and then.
ROUNDING_MIB = 16.0


class PeakMemory:
    """The most memory that was taken since this was made: of the device, or of the process on a CPU.

    A process that trains one run after the other has peaks of earlier ones, which are forgotten first. Where Linux does
    not let it (``/proc`` is missing or read-only), a peak is this run's only if it is above all earlier ones.

    Args:
        device: Where the detector is.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._forgotten = device.type != "cuda" and _reset_peak()
        self._before_mib = _greatest_mib()

    def mib(self) -> float | None:
        """The peak in MiB, or None where only a greater one of an earlier run is known."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / BYTES_PER_MIB
        if self._forgotten:
            return _resident_mib("VmHWM")
        greatest = _greatest_mib()
        return greatest if greatest > self._before_mib else None


def epoch_cost(began: float, memory: PeakMemory) -> dict[str, float]:
    """Measure an epoch on this worker.

    Args:
        began: ``time.perf_counter()`` when it started, evaluation included.
        memory: Made at the start of the run.

    Returns:
        Its seconds, and the run's peak memory in MiB so far where it is known.
    """
    seconds = time.perf_counter() - began
    peak = memory.mib()
    return {EPOCH_SECONDS: seconds} | ({} if peak is None else {PEAK_MEMORY_MIB: peak})


def _reset_peak() -> bool:
    """Reset Linux's peak of the resident set; returns False where it cannot be reset."""
    try:
        (PROCESS / "clear_refs").write_text(FORGET_PEAK)
        return _resident_mib("VmHWM") < _resident_mib("VmRSS") + ROUNDING_MIB
    except OSError:
        return False


def _resident_mib(name: str) -> float:
    """The resident set, VmRSS, or its peak since it was last reset, VmHWM."""
    lines = (PROCESS / "status").read_text().splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return int(kib) / KIB_PER_MIB


def _greatest_mib() -> float:
    """Greatest resident set since the process began, which Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MIB
