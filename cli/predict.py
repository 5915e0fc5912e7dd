"""``siod predict``: a checkpoint's detections in any images, as COCO JSON and drawn."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import Annotated

import typer

from siod.cli.options import CACHE, Cache, PlainDevice, absolute, asked_device, refuse_occupied, writable_parent

DETECTIONS, IMAGES = "detections.json", "images.json"


def predict(
    checkpoint: Annotated[Path, typer.Argument(help="A run's folder, or a file of its checkpoints.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Image files, or folders of them.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder to write: detections.json, images.json, drawn images.")],
    threshold: Annotated[
        float, typer.Option("--threshold", min=0, max=1, help="Lowest score that is drawn; the file holds all.")
    ] = 0.3,
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="COCO file whose image ids and names are used; only images it lists are looked at.",
            show_default=False,
        ),
    ] = None,
    device: PlainDevice = "auto",
    cache: Cache = CACHE,
) -> None:
    """Find objects in images: detections as COCO JSON, and the images with boxes drawn."""
    refuse_occupied(out)
    writable_parent(out)
    from siod.cli.progress import progress_bar  # noqa: PLC0415  (keeps --help fast)
    from siod.data.image_list import listed_images  # noqa: PLC0415
    from siod.json_file import write_json  # noqa: PLC0415
    from siod.training.predict import image_files, predict  # noqa: PLC0415
    from siod.tuning.trials.pictures import draw_detections  # noqa: PLC0415

    paths = [absolute(path) for path in images]
    listed = None if annotations is None else listed_images(absolute(annotations), paths)
    files = image_files(paths) if listed is None else [file for _, file in listed]
    records = None if listed is None else [record for record, _ in listed]
    with progress_bar("looking at images") as progress:
        made = predict(
            absolute(checkpoint),
            files,
            cache_dir=absolute(cache),
            compute=asked_device(device),
            records=records,
            progress=progress,
        )
    out.mkdir(exist_ok=True)
    with progress_bar("drawing images") as progress:
        for place, file in enumerate(made.files):
            sure = [one for one in made.in_image(place) if one[2] >= threshold]
            boxes = [(box, f"{name} {100 * score:.0f}") for box, name, score in sure]
            draw_detections(file, boxes, out / f"{place + 1:04}_{file.stem}.png")
            progress(place + 1, len(made.files))
    write_json(out / IMAGES, made.document)
    write_json(out / DETECTIONS, made.detections)
    drawn = sum(one["score"] >= threshold for one in made.detections)
    typer.echo(f"{len(made.files)} images, {drawn} objects scored {threshold:g} or higher: {out}")
