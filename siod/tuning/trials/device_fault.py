"""GPU faults after which a process can use no GPU any more, so that it must not train another trial.

An illegal access, a failed assertion or a broken memory cell leaves the process's CUDA context in a state in which
every later call fails. The process records the error and ends; Ray Tune then continues the trial from its last
checkpoint in another process, as often as a study's ``max_failures`` allows.
"""

from __future__ import annotations

import os
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from siod.json_file import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

FAULT_RECORD = "device_fault.json"
EXIT_CODE = 1
SIGNS = ("CUDA error", "cuDNN error")


@dataclass(frozen=True)
class DeviceFault:
    """The error that a process recorded before it ended."""

    sentence: str
    traceback: str


def is_device_fault(error: BaseException) -> bool:
    """Whether an error leaves its process without a usable GPU.

    Args:
        error: What a trial raised.

    Returns:
        False for want of memory too: the process frees what it holds and goes on.
    """
    import torch  # noqa: PLC0415  (who only reads records does without)

    if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error):
        return False
    return isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)
    )


def end_process(error: BaseException, run_dir: Path) -> NoReturn:
    """Record the error in the folder of the run, and end this process at once.

    Args:
        error: That :func:`is_device_fault`.
        run_dir: Of the trial.
    """
    sentence = f"{type(error).__name__}: {' '.join(str(error).split())}"
    try:
        write_json(run_dir / FAULT_RECORD, {"sentence": sentence, "traceback": traceback.format_exc()})
    finally:
        # What Python does at its end would wait for the device.
        os._exit(EXIT_CODE)


def read_fault_record(run_dir: Path) -> DeviceFault | None:
    """Read the fault record of a run; None if no process recorded one.

    Args:
        run_dir: Of its trial.
    """
    path = run_dir / FAULT_RECORD
    return DeviceFault(**read_json(path)) if path.exists() else None


def clear_fault_record(run_dir: Path) -> None:
    """Delete the fault record of an earlier process, before a trial starts."""
    (run_dir / FAULT_RECORD).unlink(missing_ok=True)
