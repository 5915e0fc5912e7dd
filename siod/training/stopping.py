"""Stopping a run early: requested through a file in its folder, so that any process on any node can ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path

STOP_FILE = "stop"


class Stopped(RunError):  # noqa: N818  (it is an outcome, not an error)
    """The run ended early because a stop was requested; it continues from its checkpoint."""


def stop_requested(run_dir: Path) -> bool:
    """True when the run should end after the current epoch (see ``request_stop``)."""
    return (run_dir / STOP_FILE).exists()


def request_stop(run_dir: Path) -> None:
    """Ask a run, in whatever process or node it is, to checkpoint and end after its current epoch."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / STOP_FILE).touch()
