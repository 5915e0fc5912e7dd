"""Boxes of the frame a photo is shown in cover the same pixels of the stored one; tones beyond 8 bits can be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from siod.data.images import decode_rgb
from siod.picture import box_in_stored, read_frame, shown_size, stored, visible

ORIENTATION = 0x0112


def marked(path: Path, orientation: int) -> np.ndarray:
    """A photo of 12 x 8 stored pixels with a white patch at x 2..7, y 1..4; returns its stored pixels."""
    pixels = np.zeros((8, 12, 3), np.uint8)
    pixels[1:4, 2:7] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return pixels


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_of_the_shown_frame_covers_the_same_pixels_of_the_stored_one(tmp_path: Path, orientation: int) -> None:
    marked(tmp_path / "a.png", orientation)
    with Image.open(tmp_path / "a.png") as file:
        shown = np.asarray(ImageOps.exif_transpose(file).convert("L"))  # Pillow's own way to show it
    ys, xs = np.nonzero(shown)
    box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    assert shown_size((12, 8), orientation) == shown.shape[::-1]
    assert box_in_stored(box, (12, 8), orientation) == (2, 1, 7, 4)
    x1, y1, x2, y2 = box_in_stored((box[2], box[1], box[0], box[3]), (12, 8), orientation)
    assert (x2 - x1) * (y2 - y1) < 0, "a box the wrong way round does not become one the right way round"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_pixels_and_sizes_are_the_stored_ones_in_every_format(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    pixels = marked(path, orientation)
    assert read_frame(path) == ((12, 8), orientation)
    assert np.array_equal(decode_rgb(path), pixels)
    with Image.open(path) as file:
        assert np.array_equal(np.asarray(stored(file)), pixels)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_ramp_of_any_depth_is_seen_as_a_ramp(tmp_path: Path, bits: int) -> None:
    ramp = np.linspace(0, 2**bits - 1, 256).round().astype(np.uint16 if bits > 8 else np.uint8)
    Image.fromarray(np.tile(ramp, (4, 1))).save(tmp_path / "ramp.png")
    with Image.open(tmp_path / "ramp.png") as file:
        seen = np.asarray(visible(file))[0, :, 0].astype(int)
    assert np.abs(seen - np.arange(256)).max() <= 1


def test_floating_point_tones_are_seen_and_nan_is_black(tmp_path: Path) -> None:
    tones = np.array([[0.0, 0.5, 1.0, np.nan]], np.float32)
    Image.fromarray(tones).save(tmp_path / "f.tif")
    with Image.open(tmp_path / "f.tif") as file:
        assert np.asarray(visible(file))[0, :, 0].tolist() == [0, 128, 255, 0]
    Image.fromarray(np.full((2, 2), 0.5, np.float32)).save(tmp_path / "flat.tif")
    with Image.open(tmp_path / "flat.tif") as file:
        assert np.asarray(visible(file)).max() == 0
