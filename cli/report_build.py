"""``siod report build``: tables, pages and figures of studies from their records."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import TYPE_CHECKING, Annotated

import typer

from siod.cli.options import RUNS, Price, Runs, Tracking, absolute, refuse_occupied, store_uri
from siod.errors import RunError, UserError

if TYPE_CHECKING:
    from siod.reports.build import ReportFiles
    from siod.tracking.mlflow import Store
    from siod.tracking.records import StudyRecord

# A folder with one of these holds a report already, or several, and is written again.
MARKERS = ("table.md", "index.html")


def build(
    studies: Annotated[
        list[str], typer.Argument(metavar="STUDY...", help="Names of studies that were run, or their Python files.")
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write, with one folder for each of several studies; reports/NAME in the folder of runs "
            "when not given.",
            show_default=False,
        ),
    ] = None,
    log: Annotated[
        bool, typer.Option("--log/--no-log", help="Keep page and tables among the artifacts of the study's run, too.")
    ] = True,
    price: Price = None,
    runs: Runs = RUNS,
    tracking: Tracking = None,
) -> None:
    """Write tables (Markdown, LaTeX, CSV, Parquet), figures and page (HTML) of studies; also while they run."""
    if out is not None and not any((out / marker).exists() for marker in MARKERS):
        refuse_occupied(out)
    from siod.reports.build import build_report, write  # noqa: PLC0415  (keeps --help fast)
    from siod.reports.figures.drawing import FigurePrinter  # noqa: PLC0415
    from siod.reports.figures.study import arms_drawn  # noqa: PLC0415
    from siod.reports.index import render_index  # noqa: PLC0415
    from siod.reports.terminal import print_study  # noqa: PLC0415
    from siod.tracking.mlflow import Store  # noqa: PLC0415

    names = [_name(study) for study in studies]
    _refuse_repeats(names)
    printer = FigurePrinter()
    store = Store(store_uri(tracking, absolute(runs)))
    records = [store.read_study(name, curves=arms_drawn) for name in names]
    folder = absolute(out or runs / "reports")
    for record in records:
        files = build_report(
            record,
            folder if out is not None and len(records) == 1 else folder / record.name,
            printer=printer,
            price=price,
        )
        print_study(record, price=price)
        if log:
            _log(store, record, files)
        typer.echo(f"report: {files.page}")
    if len(records) > 1 and out is not None:
        write(folder / "index.html", render_index(records, {name: f"{name}/index.html" for name in names}))
        typer.echo(f"all of them: {folder / 'index.html'}")


def _name(study: str) -> str:
    if not study.endswith(".py"):
        return study
    from siod.tuning.study import load_study  # noqa: PLC0415  (keeps --help fast)

    return load_study(study).name


def _refuse_repeats(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"study {name!r} is named twice; name each study once")


def _log(store: Store, record: StudyRecord, files: ReportFiles) -> None:
    """Copy page and tables to the study's run; a store that cannot be written to does not spoil the report."""
    try:
        store.log_report(record.run_id, (files.page, *files.tables))
    except (RunError, OSError) as error:
        typer.echo(f"the report is not among the run's artifacts: {error}", err=True)
