"""``siod report build``: a study's table, page and figures from its records."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import Annotated

import typer

from siod.cli.options import RUNS, Runs, Tracking, absolute, refuse_occupied, store_uri

# A folder with this file holds a report already, which is written again.
MARKER = "table.md"


def build(
    study: Annotated[str, typer.Argument(help="Name of a study that was run, or its Python file.")],
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write; reports/NAME in the folder of runs when not given.", show_default=False),
    ] = None,
    runs: Runs = RUNS,
    tracking: Tracking = None,
) -> None:
    """Write a study's table (Markdown, LaTeX), figures and page (HTML), and print the table; also while it runs."""
    if out is not None and not (out / MARKER).exists():
        refuse_occupied(out)
    from siod.reports.build import build_report  # noqa: PLC0415  (keeps --help fast)
    from siod.reports.terminal import print_study  # noqa: PLC0415
    from siod.tracking.mlflow import Store  # noqa: PLC0415

    name = _name(study)
    record = Store(store_uri(tracking, absolute(runs))).read_study(name)
    files = build_report(record, absolute(runs) / "reports" / name if out is None else out)
    print_study(record)
    typer.echo(f"report: {files.page}")


def _name(study: str) -> str:
    if not study.endswith(".py"):
        return study
    from siod.tuning.study import load_study  # noqa: PLC0415  (it loads torch, which reports do without)

    return load_study(study).name
