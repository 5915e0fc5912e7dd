"""``siod data split``: a COCO file as training, validation and test files."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import Annotated

import typer

from siod.cli.options import refuse_occupied, writable_parent
from siod.cli.splits import Group, Seed, TestShare, ValShare, shares_of


def split(
    source: Annotated[Path, typer.Argument(help="A COCO annotation file.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder to write; must be empty or absent.")],
    val: ValShare = None,
    test: TestShare = None,
    group: Group = None,
    seed: Seed = None,
) -> None:
    """Divide the images of a COCO file by hash; every entry stays as it is."""
    from siod.data.coco import read  # noqa: PLC0415  (keeps --help fast)
    from siod.data.formats.split_files import split_file  # noqa: PLC0415

    refuse_occupied(out)
    writable_parent(out)
    made = split_file(read(source), out, shares_of(val=val, test=test, group=group, seed=seed))
    for remark in made.remarks:
        typer.echo(f"remark: {remark}")
    for path, (images, boxes) in made.files.items():
        typer.echo(f"{path}: {images} images, {boxes} annotations")
