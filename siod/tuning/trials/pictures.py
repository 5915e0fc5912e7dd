"""A trial's sample predictions as one picture: the instances above, what was found below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from siod.files import replacing
from siod.picture import visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from siod.tracking.records import Gallery, GalleryImage

CELL_PX = 240
# The longer side of a picture of detections, at least.
LEAST_PX = 320
GAP_PX = 6
COLUMNS = 4
LETTER_PX = 13
# Okabe and Ito's colour-blind safe blue and orange.
TRUE_COLOUR, FOUND_COLOUR = "#56b4e9", "#e69f00"


def draw_predictions(
    gallery: Gallery, folder: Path, found: Mapping[str, Sequence[Sequence[float]]], picture: Path
) -> None:
    """Draw the instances and the detections of some images, and write them to a PNG file.

    Args:
        gallery: The images with their instances.
        folder: What the images' files are relative to.
        found: Rows of x, y, width, height, score, label by image id as text (``siod.tuning.trials.gallery.found_in``).
        picture: File to write; it is there whole or not at all.
    """
    step = CELL_PX + GAP_PX
    columns = min(COLUMNS, len(gallery.images))
    rows = -(-len(gallery.images) // COLUMNS)
    sheet = Image.new("RGB", (columns * step + GAP_PX, 2 * rows * step + GAP_PX), "white")
    for place, image in enumerate(gallery.images):
        left, top = GAP_PX + place % COLUMNS * step, GAP_PX + place // COLUMNS * 2 * step
        names = gallery.categories
        true = [(box[:4], names[box.label]) for box in image.ground_truth]
        sure = [row for row in found.get(str(image.id), ()) if row[4] >= gallery.score_threshold]
        hits = [(row[:4], f"{names[int(row[5])]} {100 * row[4]:.0f}") for row in sure]
        sheet.paste(_cell(image, folder, true, TRUE_COLOUR), (left, top))
        sheet.paste(_cell(image, folder, hits, FOUND_COLOUR), (left, top + step))
    write_picture(sheet, picture)


def draw_detections(file: Path, boxes: Sequence[tuple[Sequence[float], str]], picture: Path) -> None:
    """Draw boxes over one image and write it to a PNG file.

    Args:
        file: The image; small ones are enlarged by a whole factor, so that the captions leave something of them.
        boxes: x, y, width, height in pixels of the image, with what is written beside them.
        picture: File to write; it is there whole or not at all.
    """
    with Image.open(file) as image:
        drawn = visible(image)
    factor = max(1, -(-LEAST_PX // max(drawn.size)))
    drawn = drawn.resize((factor * drawn.width, factor * drawn.height))
    draw_boxes(drawn, boxes, FOUND_COLOUR, float(factor))
    write_picture(drawn, picture)


def write_picture(sheet: Image.Image, picture: Path) -> None:
    """Write a PNG file, whole or not at all."""
    with replacing(picture) as temporary:
        sheet.save(temporary, "PNG", compress_level=1)  # four times as fast as 6, and a sixth larger


def _cell(image: GalleryImage, folder: Path, boxes: Sequence[tuple[Sequence[float], str]], colour: str) -> Image.Image:
    scale = CELL_PX / max(image.width, image.height)
    cell = Image.new("RGB", (CELL_PX, CELL_PX), "#eeeeee")
    with Image.open(folder / image.file) as file:
        size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
        cell.paste(visible(file).resize(size))
    draw_boxes(cell, boxes, colour, scale)
    return cell


def draw_boxes(image: Image.Image, boxes: Sequence[tuple[Sequence[float], str]], colour: str, scale: float) -> None:
    """Draw boxes over an image.

    Args:
        image: Drawn on.
        boxes: x, y, width, height, and what is written above them.
        colour: Of the boxes.
        scale: Pixels of ``image`` for each of the boxes'.
    """
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(LETTER_PX)
    for (x, y, width, height), caption in boxes:
        corners = [x * scale, y * scale, (x + width) * scale, (y + height) * scale]
        pen.rectangle(corners, outline=colour, width=2)
        pen.text(
            (corners[0] + 2, max(corners[1] - LETTER_PX - 3, 0)),
            caption,
            fill="white",
            font=font,
            stroke_width=2,
            stroke_fill="black",
        )
