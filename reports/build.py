"""From a study's records to the files of its report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from siod.errors import UserError
from siod.files import replacing
from siod.reports.analysis.categories import category_tables
from siod.reports.analysis.differences import differences, reading
from siod.reports.analysis.test_split import TITLE, on_test_split
from siod.reports.figures.drawing import FigurePrinter
from siod.reports.figures.study import draw_study
from siod.reports.page import render_page
from siod.reports.sentences.category_answer import disagreements
from siod.reports.sentences.caveats import caveats
from siod.reports.tables.latex import latex_categories, latex_sweeps, latex_table
from siod.reports.tables.markdown import markdown_categories, markdown_report
from siod.reports.tables.rows import arm_rows, as_csv, as_parquet, category_rows, trial_rows
from siod.reports.tables.sweeps import sweeps
from siod.reports.tables.table import tabulate
from siod.tracking.records import gc_paused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from siod.reports.tables.table import Table
    from siod.tracking.records import StudyRecord


@dataclass(frozen=True)
class ReportFiles:
    """Where the parts of a report were written.

    Args:
        folder: Of all of them.
        page: The HTML page.
        tables: The tables in every other format.
        figures: Each as SVG, PDF and PNG.
    """

    folder: Path
    page: Path
    tables: tuple[Path, ...]
    figures: tuple[Path, ...]


def build_report(
    study: StudyRecord, out_dir: Path, *, printer: FigurePrinter | None = None, price: float | None = None
) -> ReportFiles:
    """Write a study's tables, figures and page; files of an earlier report are replaced.

    Args:
        study: Finished or not; what is missing says so.
        out_dir: Folder of the report, made if need be.
        printer: Prints the figures; one that was made before the records were read is ready by now.
        price: Of an hour of a GPU, or of a core where no trial reserved a GPU; None leaves money out.

    Returns:
        What was written.

    Raises:
        UserError: The folder cannot be written to.
    """
    printer = printer or FigurePrinter()
    with gc_paused():
        written = _written(study, out_dir, printer, price)
    for path, content in written.items():
        write(path, content)
    page = out_dir / "index.html"
    tables = tuple(path for path in written if path.parent == out_dir and path != page)
    return ReportFiles(out_dir, page, tables, tuple(path for path in written if path.parent != out_dir))


def _written(study: StudyRecord, out_dir: Path, printer: FigurePrinter, price: float | None) -> dict[Path, str | bytes]:
    """Contents of all files of a report."""
    drawings = draw_study(study, ready=printer.submit)
    table, notes = tabulate(study), caveats(study)
    written = {out_dir / name: content for name, content in _tables(study, table, notes).items()}
    written[out_dir / "index.html"] = render_page(study, table, notes, drawings, price=price)
    for drawing in (drawing for group in drawings.values() for drawing in group):
        files: dict[str, str | bytes] = {"svg": drawing.svg, **printer.files(drawing)}
        written |= {out_dir / "figures" / f"{drawing.name}.{kind}": content for kind, content in files.items()}
    return written


def _tables(study: StudyRecord, table: Table, notes: Sequence[str]) -> dict[str, str | bytes]:
    found, swept, arms, trials = differences(study), sweeps(study), arm_rows(study), trial_rows(study)
    categories, by_category = category_tables(study), category_rows(study)
    on_test = on_test_split(study)
    tested = None if on_test is None else tabulate(on_test)
    files: dict[str, str | bytes] = {
        "table.md": markdown_report(table, notes, found, reading(study, found), swept, tested=tested)
        + markdown_categories(categories, disagreements(study)),
        "table.tex": latex_table(table, notes),
        "table.csv": as_csv(arms),
        "table.parquet": as_parquet(arms),
    }
    files |= (
        {}
        if tested is None
        else {"test.tex": latex_table(replace(tested, title=f"{tested.title}_test"), [f"{TITLE}."])}
    )
    files |= {"sweeps.tex": latex_sweeps(swept)} if swept else {}
    if by_category:
        files |= {"categories.csv": as_csv(by_category), "categories.parquet": as_parquet(by_category)}
    if any(one.rows for one in categories):
        files["categories.tex"] = latex_categories(categories)
    return files | ({"trials.csv": as_csv(trials), "trials.parquet": as_parquet(trials)} if trials else {})


def write(path: Path, content: str | bytes) -> None:
    """Write to a temporary name and rename, so that a reader never meets half a file.

    Args:
        path: Its folder is made if need be.
        content: Text is written as UTF-8.

    Raises:
        UserError: It cannot be written.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another folder with --out") from error
