"""``siod data digits``: write scenes of handwritten digits as a COCO data set."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import Annotated

import typer

from siod.cli.options import refuse_occupied, writable_parent


def digits(
    out: Annotated[Path, typer.Argument(help="Folder to write; must be empty or absent.")],
    *,
    images: Annotated[int, typer.Option(help="Training images.")] = 3000,
    val_images: Annotated[int, typer.Option(help="Validation images.")] = 300,
    size: Annotated[int, typer.Option(help="Width and height of a scene in pixels.")] = 96,
    classes: Annotated[int, typer.Option(help="Digit classes, starting with 0.")] = 5,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 0,
    processes: Annotated[int, typer.Option(min=1, help="Processes that draw; the files do not depend on it.")] = 1,
) -> None:
    """Write scenes of handwritten digits on photographs, in the layout of COCO."""
    from siod.data.digits import Digits, write_digits  # noqa: PLC0415  (keeps --help fast)

    spec = Digits.parse(
        {
            "image_size_px": size,
            "num_classes": classes,
            "train_images": images,
            "val_images": val_images,
            "seed": seed,
        },
        source="siod data digits",
    )
    refuse_occupied(out)
    writable_parent(out)
    write_digits(spec, out, processes=processes)
    typer.echo(f"{out}: {images} training and {val_images} validation images")
