"""``siod report index``: one page over all studies of a store."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import Annotated

import typer

from siod.cli.options import RUNS, Runs, Tracking, absolute, store_uri

PAGE = "index.html"


def index(
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder that holds the studies' reports; reports in the folder of runs when not given.",
            show_default=False,
        ),
    ] = None,
    runs: Runs = RUNS,
    tracking: Tracking = None,
) -> None:
    """Write a page that lists every study: its question, how far it is, its answer, and its report if there is one."""
    from siod.reports.build import write  # noqa: PLC0415  (keeps --help fast)
    from siod.reports.index import render_index  # noqa: PLC0415
    from siod.tracking.mlflow import Store  # noqa: PLC0415

    folder = absolute(out or runs / "reports")
    store = Store(store_uri(tracking, absolute(runs)))
    studies = [store.read_study(name, details=False) for name in store.list_studies()]
    reports = {one.name: f"{one.name}/{PAGE}" for one in studies if (folder / one.name / PAGE).exists()}
    write(folder / PAGE, render_index(studies, reports))
    counted = "1 study" if len(studies) == 1 else f"{len(studies)} studies"
    typer.echo(f"{counted}, {len(reports)} with a report: {folder / PAGE}")
