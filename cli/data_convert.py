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
        typer.Option(help="For yolo: data.yaml, or a text file with a class name per line.", show_default=False),
    ] = None,
    first_pixel: Annotated[
        Literal["auto", "0", "1"],
        typer.Option(help="For voc: what pixels are counted from; auto is 1 unless the files show otherwise."),
    ] = "auto",
    defects: Annotated[
        Literal["refuse", "repair"], typer.Option(help="Stop at a box without area, or leave such boxes out.")
    ] = "refuse",
) -> None:
    """Write a folder of Pascal VOC or YOLO annotations as one COCO file."""
    from siod.cli.progress import progress_bar  # noqa: PLC0415  (keeps --help fast)
    from siod.data.coco import write  # noqa: PLC0415
    from siod.data.formats.voc import from_voc  # noqa: PLC0415
    from siod.data.formats.yolo import from_yolo, read_names  # noqa: PLC0415

    if (names is None) != (kind == "voc"):
        raise UserError("--names belongs to yolo, which needs it; name data.yaml or a text file with a class per line")
    refuse_occupied(out)
    writable_parent(out)
    with progress_bar(f"converting {annotations.name}") as progress:
        if names is None:
            made = from_voc(annotations, images, first_pixel=first_pixel, defects=defects, progress=progress)
        else:
            made = from_yolo(annotations, images, read_names(names), defects=defects, progress=progress)
    write(out, made.document)
    typer.echo(f"{out}: {len(made.document['images'])} images, {len(made.document['annotations'])} boxes")
    for remark in made.remarks:
        typer.echo(f"remark: {remark}")
