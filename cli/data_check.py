"""``siod data check``: every defect of an annotation file and its images."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import TYPE_CHECKING, Annotated

import typer

from siod.cli.options import refuse_occupied, writable_parent
from siod.errors import UserError

if TYPE_CHECKING:
    from siod.data.checking.check import Examination

DEFECTS = 1


def check(
    source: Annotated[Path, typer.Argument(help="What should be a COCO annotation file.")],
    *,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of its images, to decode each; left alone when not given.", show_default=False),
    ] = None,
    fix: Annotated[
        Path | None,
        typer.Option(metavar="OUT", help="Write a repaired copy; must not exist.", show_default=False),
    ] = None,
) -> None:
    """List every defect once per kind, with a count and the first few places; exits with 1 if there are any.

    Remarks tell of what is lawful and worth knowing; they leave the exit code 0.
    """
    from siod.cli.progress import progress_bar  # noqa: PLC0415  (keeps --help fast)
    from siod.data.checking.check import examine  # noqa: PLC0415

    if images is not None and not images.is_dir():
        raise UserError(f"{images}: is no folder; name the folder of the images with --images")
    if fix is not None:
        refuse_occupied(fix)
        writable_parent(fix)
    with progress_bar(f"checking {source.name}") as progress:
        examination = examine(source, images, progress=progress)
    _print_result(source, examination)
    if fix is not None and (examination.defects or examination.changes):
        _repair(source, fix, examination)
    if examination.defects:
        raise typer.Exit(DEFECTS)


def _print_result(source: Path, examination: Examination) -> None:
    if not examination.defects:
        typer.echo(f"{source}: no defects")
    for prefix, found in (("", examination.defects), ("remark: ", examination.remarks)):
        for defect in found:
            more = ", ..." if defect.count > len(defect.examples) else ""
            typer.echo(f"{prefix}{defect.kind} x {defect.count}: {defect.meaning}")
            typer.echo(f"    {', '.join(defect.examples)}{more}")


def _repair(source: Path, out: Path, examination: Examination) -> None:
    from siod.data.coco import write  # noqa: PLC0415  (keeps --help fast)

    refusal = examination.refusal()
    if examination.repaired is None or refusal is not None:
        raise UserError(f"{source}: {refusal}; nothing was written")
    write(out, examination.repaired)
    for change, count in examination.changes.items():
        typer.echo(f"{out}: {change}: {count}")
    if not examination.changes:
        typer.echo(f"{out}: a copy without changes, for what was found has no mechanical remedy")
