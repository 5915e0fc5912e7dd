"""The result files of a finished run: names, writing and reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siod.files import wait_until
from siod.json_file import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RESULT, HISTORY, DETECTIONS, EXPERIMENT = "result.json", "history.json", "detections.json.gz", "experiment.json"
ARITHMETIC, TEST_DETECTIONS = "arithmetic.json", "detections_test.json.gz"
# Of an epoch in the history.
EPOCH_SECONDS, PEAK_MEMORY_MIB = "cost/epoch_seconds", "cost/peak_memory_mib"


def record_arithmetic(arithmetic: dict[str, Any], run_dir: Path) -> None:
    """Record how a run computes; a run that was resumed elsewhere has an entry for each place, in order.

    Args:
        arithmetic: Of :func:`siod.training.arithmetic.arithmetic_of`.
        run_dir: Folder of the run.
    """
    entries = read_arithmetic(run_dir)
    if entries[-1:] != [arithmetic]:
        write_json(run_dir / ARITHMETIC, [*entries, arithmetic])


def read_arithmetic(run_dir: Path) -> list[dict[str, Any]]:
    """Entries of :func:`record_arithmetic`; none for runs of earlier versions."""
    path = run_dir / ARITHMETIC
    return read_json(path) if path.exists() else []


def summary(history: list[dict[str, float]]) -> dict[str, float]:
    """The final metrics of a run: those of its last epoch, and which epoch was the best on AP@S.

    Args:
        history: Metrics of each epoch.

    Returns:
        The last epoch's metrics with ``best_ap_s`` (a fraction) and ``best_epoch`` (from 1) beside them.
    """
    judged = {epoch: metrics["ap_s"] for epoch, metrics in enumerate(history, start=1) if "ap_s" in metrics}
    best = max(judged, key=lambda epoch: judged[epoch])
    return {**history[-1], "best_ap_s": judged[best], "best_epoch": float(best), "epochs": float(len(history))}


def read_result(run_dir: Path) -> dict[str, float] | None:
    """The final metrics of a finished run, or None while it has none.

    Args:
        run_dir: Folder of the run.

    Returns:
        What :func:`summary` made of it.
    """
    path = run_dir / RESULT
    return read_json(path) if path.exists() else None


def detections_of(run_dir: Path) -> Path:
    """The file of a finished run's detections in the validation images; earlier versions did not pack it."""
    packed = run_dir / DETECTIONS
    return packed if packed.exists() else packed.with_suffix("")


def wait_for_result(run_dir: Path, *, give_up: Callable[[], bool] = lambda: False) -> dict[str, float] | None:
    """Wait for the final metrics of a run that has ended, perhaps on another machine whose files appear here late.

    Args:
        run_dir: Folder of the run.
        give_up: Called regularly; True ends the waiting.

    Returns:
        As :func:`read_result`; None when the result does not appear.
    """
    wait_until(lambda: (run_dir / RESULT).exists() or give_up())
    return read_result(run_dir)
