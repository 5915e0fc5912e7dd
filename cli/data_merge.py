"""``siod data merge``: several COCO files as one."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import Annotated, Literal

import typer

import siod
from siod.cli.options import refuse_occupied, refuse_twice, writable_parent
from siod.errors import UserError


def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="A.json B.json...", help="COCO annotation files.")],
    *,
    out: Annotated[Path, typer.Option(help="The file to write; must not exist.")],
    same_images: Annotated[
        bool, typer.Option("--same-images", help="A file name in several files is one image: join its annotations.")
    ] = False,
    unlisted: Annotated[
        Literal["absent", "unlabelled"],
        typer.Option(help="What holds for a category in images of a file that does not list it."),
    ] = "absent",
) -> None:
    """Put COCO files of one image folder together: ids made anew, categories joined by name."""
    from siod.data.coco import read, write  # noqa: PLC0415  (keeps --help fast)
    from siod.data.formats.merging import (  # noqa: PLC0415
        join,
        shared_names,
        unlisted_categories,
        with_same_images,
        with_source_ids,
    )

    if len(sources) < 2:  # noqa: PLR2004
        raise UserError(f"{sources[0]}: is alone; name the files to put together")
    refuse_occupied(out)
    writable_parent(out)
    refuse_twice(sources)
    documents = {str(source): with_source_ids(read(source).raw) for source in sources}
    if not same_images:
        shared_names(documents)
    joined = join(list(documents.values()), unlisted=unlisted)
    if same_images:
        joined = with_same_images(joined)
    made = {"command": shlex.join(["siod", *sys.argv[1:]]), "siod": siod.__version__, "sources": list(documents)}
    write(out, {"info": {"description": "written by siod data merge", "merge": made}, **joined.sections()})
    partly = unlisted_categories(documents.values())
    if partly and unlisted == "absent":
        joined.remarks.append(
            f"{', '.join(partly)}: not listed by every file, and taken as absent from the images of those that do not; "
            "if nobody looked for them there, add --unlisted unlabelled"
        )
    for remark in joined.remarks:
        typer.echo(f"remark: {remark}")
    counts = f"{len(joined.images)} images, {len(joined.annotations)} annotations"
    typer.echo(f"{out}: {counts}, {len(joined.categories)} categories")
