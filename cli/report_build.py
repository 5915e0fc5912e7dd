"""``siod report build``: a study's table, page and figures from its records."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import Annotated

import typer

from siod.cli.options import RUNS, Runs, Tracking, absolute, store_uri, writable_parent


def build(
    study: Annotated[str, typer.Argument(help="Name of a study that was run.")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; reports/NAME in the folder of runs when not given.")
    ] = None,
    runs: Runs = RUNS,
    tracking: Tracking = None,
) -> None:
    """Write a study's table (Markdown, LaTeX) and page (HTML), and print the table; works while it runs."""
    from siod.reports.build import build_report  # noqa: PLC0415  (keeps --help fast)
    from siod.tracking.mlflow import Store  # noqa: PLC0415

    record = Store(store_uri(tracking, absolute(runs))).read_study(study)
    folder = out if out is not None else absolute(runs) / "reports" / record.name
    writable_parent(folder / "table.md")
    files = build_report(record, folder)
    typer.echo(files)
