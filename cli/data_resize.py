"""``siod data resize``: a small copy of a data set for studies at low resolution."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import Annotated

import typer

from siod.cli.options import CACHE, Cache, absolute
from siod.errors import UserError


def resize(
    source: Annotated[Path, typer.Argument(help="A COCO annotation file.")],
    images: Annotated[Path, typer.Argument(help="Folder of its images.")],
    *,
    longest: Annotated[int, typer.Option(min=32, help="Longest side of a copied image in pixels.")],
    limit_gb: Annotated[float, typer.Option(min=0, help="What all copies may take; unused ones go first.")] = 20.0,
    cache: Cache = CACHE,
) -> None:
    """Make or find the small copy of a data set in the cache, and print its two paths."""
    from siod.cli.progress import progress_bar  # noqa: PLC0415  (keeps --help fast)
    from siod.data.resized import resized  # noqa: PLC0415

    if not images.is_dir():
        raise UserError(f"{images}: is no folder; name the folder of the images")
    with progress_bar(f"resizing {source.name}") as progress:
        copy = resized(source, images, longest, absolute(cache), limit_bytes=int(limit_gb * 2**30), progress=progress)
    typer.echo(f"{copy.annotations}\n{copy.images}")
