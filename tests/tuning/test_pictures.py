"""Sample predictions show instances in one colour above and detections in another below, where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from siod.tracking.records import Gallery, GalleryImage, TrueBox
from siod.tuning.trials.pictures import CELL_PX, FOUND_COLOUR, GAP_PX, TRUE_COLOUR, draw_predictions


def gallery(folder: Path, count: int) -> Gallery:
    images = []
    for number in range(1, count + 1):
        Image.new("L", (80, 40)).save(folder / f"{number}.png")
        images.append(GalleryImage(number, f"{number}.png", 80, 40, (TrueBox(10, 5, 30, 20, 0),)))
    return Gallery(("cat",), tuple(images))


def extent(pixels: np.ndarray, colour: str) -> tuple[int, int, int, int]:
    rgb = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    rows, columns = np.nonzero((pixels == rgb).all(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def test_boxes_are_drawn_where_they_are(tmp_path: Path) -> None:
    picture = tmp_path / "predictions.png"
    draw_predictions(gallery(tmp_path, 1), tmp_path, {"1": [[20, 10, 40, 25, 0.5, 0]]}, picture)
    pixels = np.array(Image.open(picture))
    # One column, two rows; 80 px become 240, so that everything is three times as large.
    assert pixels.shape == (2 * (CELL_PX + GAP_PX) + GAP_PX, CELL_PX + 2 * GAP_PX, 3)
    assert extent(pixels, TRUE_COLOUR) == (GAP_PX + 30, GAP_PX + 15, GAP_PX + 120, GAP_PX + 75)
    below = GAP_PX + CELL_PX + GAP_PX
    assert extent(pixels, FOUND_COLOUR) == (GAP_PX + 60, below + 30, GAP_PX + 180, below + 105)


def test_five_images_take_two_blocks_and_an_image_without_detections_stays_empty(tmp_path: Path) -> None:
    picture = tmp_path / "predictions.png"
    draw_predictions(gallery(tmp_path, 5), tmp_path, {}, picture)
    pixels = np.array(Image.open(picture))
    assert pixels.shape[:2] == (4 * (CELL_PX + GAP_PX) + GAP_PX, 4 * (CELL_PX + GAP_PX) + GAP_PX)
    rgb = [int(FOUND_COLOUR[place : place + 2], 16) for place in (1, 3, 5)]
    assert not (pixels == rgb).all(axis=2).any()
    assert [path.name for path in tmp_path.glob(".*")] == []
