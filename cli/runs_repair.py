"""``siod runs repair``: what a move or a dead process left wrong in the folder of runs, set right."""

from __future__ import annotations

import typer

from siod.cli.options import RUNS, Runs, Tracking, absolute, store_uri


def repair(*, runs: Runs = RUNS, tracking: Tracking = None) -> None:
    """Mend a folder of runs that was moved or copied, or whose processes were killed.

    Writes down where the artifacts are now, marks as interrupted what no process runs any more, and deletes files that
    were never finished. Whatever was learnt stays.
    """
    from siod.tracking.mlflow import Store  # noqa: PLC0415  (keeps --help fast)
    from siod.tuning.keeping import repairing  # noqa: PLC0415

    folder = absolute(runs)
    said = 0
    for sentence in repairing.repair(folder, Store(store_uri(tracking, folder))):
        typer.echo(sentence)
        said += 1
    if not said:
        typer.echo(f"{folder}: nothing to repair")
