"""``siod data export``: a COCO file and its images in another format."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import Annotated, Literal

import typer

from siod.cli.options import refuse_occupied, writable_parent
from siod.errors import UserError


def export(
    kind: Annotated[Literal["voc", "yolo", "coco"], typer.Argument(help="The format to write.")],
    source: Annotated[Path, typer.Argument(help="A COCO annotation file.")],
    images: Annotated[Path, typer.Argument(help="Folder of its images.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder to write; must be empty or absent.")],
    link: Annotated[bool, typer.Option("--link", help="Symbolic links to the images instead of copies.")] = False,
) -> None:
    """Write a COCO file as a folder of Pascal VOC, YOLO or plain COCO."""
    from siod.data.coco import read  # noqa: PLC0415  (keeps --help fast)
    from siod.data.formats.export import export as write  # noqa: PLC0415

    if not images.is_dir():
        raise UserError(f"{images}: is no folder; name the folder of the images")
    refuse_occupied(out)
    writable_parent(out)
    made = write(kind, read(source), images, out, link=link)
    for remark in made.remarks:
        typer.echo(f"remark: {remark}")
    typer.echo(f"{out}: {made.images} images, {made.boxes} boxes")
