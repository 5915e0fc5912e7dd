"""From a study's records to the files of its report."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siod.errors import UserError
from siod.reports.caveats import caveats
from siod.reports.differences import differences, reading
from siod.reports.figures import draw_study
from siod.reports.latex import latex_table
from siod.reports.markdown import markdown_report
from siod.reports.page import render_page
from siod.reports.table import tabulate

if TYPE_CHECKING:
    from pathlib import Path

    from siod.tracking.records import StudyRecord


@dataclass(frozen=True)
class ReportFiles:
    """Where the parts of a report were written."""

    folder: Path
    page: Path
    markdown: Path
    latex: Path
    figures: tuple[Path, ...]


def build_report(study: StudyRecord, out_dir: Path) -> ReportFiles:
    """Write a study's table (Markdown and LaTeX), figures and page; files of an earlier report are replaced.

    Args:
        study: Finished or not; what is missing says so.
        out_dir: Folder of the report, made if need be.

    Returns:
        What was written.

    Raises:
        UserError: The folder cannot be written to.
    """
    table, notes, drawings = tabulate(study), caveats(study), draw_study(study)
    found = differences(study)
    figures = {out_dir / "figures" / f"{one.name}.svg": one.svg for group in drawings.values() for one in group}
    page, markdown, latex = out_dir / "index.html", out_dir / "table.md", out_dir / "table.tex"
    texts = {
        markdown: markdown_report(table, notes, found, reading(study, found)),
        latex: latex_table(table, notes),
        **figures,
        page: render_page(study, table, notes, drawings),
    }
    for path, text in texts.items():
        _write(path, text)
    return ReportFiles(out_dir, page, markdown, latex, tuple(figures))


def _write(path: Path, text: str) -> None:
    """Write to a temporary name and rename, so that a reader never meets half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another folder with --out") from error
