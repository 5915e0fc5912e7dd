"""``siod visualize``: what a checkpoint finds at several score thresholds, and where its miners look, as pictures."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import TYPE_CHECKING, Annotated

import typer

from siod.cli.options import CACHE, Cache, PlainDevice, absolute, asked_device, refuse_occupied, writable_parent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.data.source import PreparedData
    from siod.training.predict import Trained

Threshold = Annotated[
    list[float], typer.Option("--threshold", min=0, max=1, help="Score threshold; name it again for another panel.")
]
Similarity = Annotated[
    list[float],
    typer.Option("--similarity", min=-1, max=1, help="SPLG's least similarity; name it again for another panel."),
]


def visualize(
    checkpoint: Annotated[Path, typer.Argument(help="A run's folder, or a file of its checkpoints.")],
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IMAGES]...",
            help="Image files, or folders of them; images of the run's own data set when not given.",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder to write: scores_*.png and mining_*.png.")],
    threshold: Threshold = [0.0, 0.1, 0.2, 0.3],  # noqa: B006  (typer copies it)
    similarity: Similarity = [0.6, 0.7, 0.8, 0.9],  # noqa: B006  (typer copies it)
    count: Annotated[int, typer.Option(min=1, help="How many images of the data set are drawn.")] = 8,
    device: PlainDevice = "auto",
    cache: Cache = CACHE,
) -> None:
    """Draw detections at several score thresholds and, without IMAGES, what SPLG and PGCL find in training images."""
    refuse_occupied(out)
    writable_parent(out)
    from siod.training.predict import data_of, image_files, load_trained  # noqa: PLC0415  (keeps --help fast)

    files = image_files([absolute(path) for path in images]) if images else ()
    trained = load_trained(absolute(checkpoint), cache_dir=absolute(cache), compute=asked_device(device))
    data = data_of(trained.experiment, cache_dir=absolute(cache)) if not files else None
    out.mkdir(exist_ok=True)
    thresholds = sorted(set(threshold))
    if data is None:
        drawn = _draw_scores(trained, files, thresholds, out)
        typer.echo(f"{drawn} pictures: {out}; what the miners find is drawn for images of the data set alone")
        return
    drawn = _draw_scores_of_data(trained, data, count, thresholds, out)
    if trained.experiment.detector.mined_levels():
        drawn += _draw_mining(trained, data, count, sorted(set(similarity)), out)
    else:
        family = trained.experiment.detector.family
        typer.echo(f"no mining pictures: this {family} was trained without detector.mining_branch", err=True)
    typer.echo(f"{drawn} pictures: {out}")


def _draw_scores(trained: Trained, files: Sequence[Path], thresholds: Sequence[float], out: Path) -> int:
    """Draw images of which nothing is known."""
    from siod.training.predict import detections_of  # noqa: PLC0415  (keeps --help fast)
    from siod.tuning.showing.panels import draw_panels, score_panels  # noqa: PLC0415

    made = detections_of(trained, files)
    for number, file in enumerate(files, start=1):
        panels = score_panels(None, made.in_image(number - 1), thresholds)
        draw_panels(file, panels, out / f"scores_{number:04}_{file.stem}.png")
    return len(files)


def _draw_scores_of_data(
    trained: Trained, data: PreparedData, count: int, thresholds: Sequence[float], out: Path
) -> int:
    """Draw validation images, with their instances beside."""
    from siod.data.coco import read  # noqa: PLC0415  (keeps --help fast)
    from siod.training.predict import detections_of  # noqa: PLC0415
    from siod.tuning.showing.panels import draw_panels, score_panels  # noqa: PLC0415
    from siod.tuning.trials.gallery import choose_images, study_gallery  # noqa: PLC0415

    dataset = read(data.val)
    gallery = study_gallery(dataset, choose_images(dataset, count=count))
    files = [data.val_images / image.file for image in gallery.images]
    made = detections_of(trained, files)
    for place, (image, file) in enumerate(zip(gallery.images, files, strict=True)):
        truth = [(box[:4], gallery.categories[box.label]) for box in image.ground_truth]
        panels = score_panels(truth, made.in_image(place), thresholds)
        draw_panels(file, panels, out / f"scores_{file.stem}.png")
    return len(files)


def _draw_mining(trained: Trained, data: PreparedData, count: int, similarities: Sequence[float], out: Path) -> int:
    from siod.training.visualize import mined_images  # noqa: PLC0415  (keeps --help fast)
    from siod.tuning.showing.panels import LEGEND, draw_panels, mining_panels  # noqa: PLC0415

    made = mined_images(trained, data, count=count, similarities=similarities)
    for image in made:
        panels = mining_panels(image, trained.category_names)
        draw_panels(image.file, panels, out / f"mining_{image.file.stem}.png", legend=LEGEND)
    return len(made)
