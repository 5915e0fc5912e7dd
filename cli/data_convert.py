"""``siod data convert``: a Pascal VOC or YOLO folder as a COCO file."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import Annotated, Literal

import typer

from siod.cli.options import refuse_occupied, writable_parent
from siod.errors import UserError


def convert(
    kind: Annotated[Literal["voc", "yolo"], typer.Argument(help="What the folder holds.")],
    annotations: Annotated[Path, typer.Argument(help="Folder of XML files (voc) or label files (yolo).")],
    images: Annotated[Path, typer.Argument(help="Folder of the images.")],
    out: Annotated[Path, typer.Argument(help="The COCO file to write; must not exist.")],
    *,
    names: Annotated[
        Path | None,
        typer.Option(help="For yolo: a text file with a class name per line, first to last.", show_default=False),
    ] = None,
) -> None:
    """Write a folder of Pascal VOC or YOLO annotations as one COCO file."""
    from siod.cli.progress import shown  # noqa: PLC0415  (keeps --help fast)
    from siod.data.coco import write  # noqa: PLC0415
    from siod.data.convert import from_voc, from_yolo  # noqa: PLC0415

    if (names is None) != (kind == "voc"):
        raise UserError("--names belongs to yolo, which needs it; name a text file with a class per line")
    refuse_occupied(out)
    writable_parent(out)
    with shown(f"converting {annotations.name}") as progress:
        if names is None:
            document = from_voc(annotations, images, progress=progress)
        else:
            document = from_yolo(annotations, images, _read_names(names), progress=progress)
    write(out, document)
    typer.echo(f"{out}: {len(document['images'])} images, {len(document['annotations'])} boxes")


def _read_names(path: Path) -> list[str]:
    try:
        names = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); name a file with a class name per line") from error
    if not names:
        raise UserError(f"{path}: has no names; write a class name per line")
    return names
