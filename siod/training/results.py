"""What a finished run leaves in its folder, and how it is read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siod.files import comes_true
from siod.json_file import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RESULT, HISTORY, DETECTIONS, EXPERIMENT = "result.json", "history.json", "detections.json", "experiment.json"
ARITHMETIC, TEST_DETECTIONS = "arithmetic.json", "detections_test.json"
# Of an epoch in the history.
EPOCH_SECONDS, PEAK_MEMORY_MIB = "cost/epoch_seconds", "cost/peak_memory_mib"


def note_arithmetic(arithmetic: dict[str, Any], run_dir: Path) -> None:
    """Write down how a run computes; a run that went on elsewhere has an entry for each place, in order.

    Args:
        arithmetic: Of :func:`siod.training.arithmetic.arithmetic_of`.
        run_dir: Folder of the run.
    """
    told = read_arithmetic(run_dir)
    if told[-1:] != [arithmetic]:
        write_json(run_dir / ARITHMETIC, [*told, arithmetic])


def read_arithmetic(run_dir: Path) -> list[dict[str, Any]]:
    """What :func:`note_arithmetic` wrote; nothing for a run of before that was written down."""
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


def result_seen(run_dir: Path, *, give_up: Callable[[], bool] = lambda: False) -> dict[str, float] | None:
    """The final metrics of a run that has ended, perhaps on another machine whose files appear here late.

    Args:
        run_dir: Folder of the run.
        give_up: Asked now and then whether there is a reason not to wait.

    Returns:
        As :func:`read_result`; None when the result does not appear.
    """
    comes_true(lambda: (run_dir / RESULT).exists() or give_up())
    return read_result(run_dir)
