"""``siod data import``: the user's data as a folder that siod trains on."""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from siod.cli.options import refuse_occupied, refuse_twice, writable_parent
from siod.cli.splits import Group, Seed, TestShare, ValShare, shares_of
from siod.errors import UserError

if TYPE_CHECKING:
    from siod.data.formats.found import Found
    from siod.data.formats.importing import Imported, ImportRequest
    from siod.data.formats.layouts import Layout


def import_(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Folders, COCO files or data.yaml files.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder to write; must be empty or absent.")],
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="voc|yolo|coco|datumaro:NAME",
            help="What the sources are; found out when not given. Formats siod does not know, by datumaro's names.",
            show_default=False,
        ),
    ] = None,
    defects: Annotated[
        Literal["repair", "refuse"], typer.Option(help="Mend what can be mended, or write nothing if there is any.")
    ] = "repair",
    new_split: Annotated[bool, typer.Option("--new-split", help="Divide all images anew.")] = False,
    val: ValShare = None,
    test: TestShare = None,
    group: Group = None,
    seed: Seed = None,
    link: Annotated[bool, typer.Option("--link", help="Symbolic links to the images instead of copies.")] = False,
) -> None:
    """Read Pascal VOC, YOLO or COCO as it comes, check it, and write it as a COCO folder with splits."""
    from siod.cli.progress import progress_bar  # noqa: PLC0415  (keeps --help fast)
    from siod.data.formats.found import read_sources  # noqa: PLC0415
    from siod.data.formats.importing import ImportRequest, import_found  # noqa: PLC0415

    refuse_occupied(out)
    writable_parent(out)
    refuse_twice(sources)
    asked = any(option is not None for option in (val, test, group, seed))
    shares = shares_of(val=val, test=test, group=group, seed=seed) if asked else None
    command = shlex.join(["siod", *sys.argv[1:]])
    request = ImportRequest(out=out, defects=defects, shares=shares, anew=new_split, link=link, command=command)
    with tempfile.TemporaryDirectory() as scratch:
        layouts = [_layout(source, format_, Path(scratch, str(place)), request) for place, source in enumerate(sources)]
        for layout in layouts:
            for sentence in layout.sentences():
                typer.echo(sentence)
        with progress_bar("reading images") as progress:
            found = read_sources(layouts, defects, unlisted=new_split, progress=progress)
        _print_result(found)
        _show(import_found(found, request))


def _layout(source: Path, format_: str | None, scratch: Path, request: ImportRequest) -> Layout:
    """What a source is, found out or as it was said."""
    from siod.data.formats.layouts import FORMAT_NAMES  # noqa: PLC0415  (keeps --help fast)
    from siod.data.formats.recognise import recognise  # noqa: PLC0415
    from siod.data.formats.through_datumaro import PREFIX, read_by_datumaro  # noqa: PLC0415

    if format_ is None:
        return recognise(source)
    if not format_.startswith(PREFIX):
        wanted = next((known for known in FORMAT_NAMES if known == format_), None)
        if wanted is None:
            raise UserError(f"--format {format_}: not one of {', '.join(FORMAT_NAMES)}, {PREFIX}NAME")
        return recognise(source, wanted)
    if request.link:
        raise UserError("--link: what datumaro reads passes through a folder that is deleted; leave it out")
    return read_by_datumaro(source, format_.removeprefix(PREFIX), scratch)


def _print_result(found: Found) -> None:
    for defect in found.defects():
        more = ", ..." if defect.count > len(defect.examples) else ""
        typer.echo(f"{defect.kind} x {defect.count}: {defect.meaning}")
        typer.echo(f"    {', '.join(defect.examples)}{more}")
    for change, count in found.changes().items():
        typer.echo(f"repaired: {change}: {count}")
    for remark in found.remarks():
        typer.echo(f"remark: {remark}")


def _show(made: Imported) -> None:
    for remark in made.remarks:
        typer.echo(f"remark: {remark}")
    splits = [split for split in ("train", "val", "test") if split in made.images]
    width = max(len("category"), *(len(name) for name in made.boxes))
    typer.echo(f"{'':{width}}" + "".join(f"{split:>8}" for split in splits))
    typer.echo(f"{'images':{width}}" + "".join(f"{made.images[split]:>8}" for split in splits))
    for name, counts in made.boxes.items():
        typer.echo(f"{name:{width}}" + "".join(f"{counts[split]:>8}" for split in splits))
    typer.echo(f"{made.out}: written; siod.data.source.CocoFolder(root=...) reads it")
