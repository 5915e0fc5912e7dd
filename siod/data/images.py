"""Decode image files, and find those that do not decode before training meets them.

H, W: height and width of the file in pixels.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8  # noqa: TC002  (beartype resolves the annotations at run time)
from PIL import Image, UnidentifiedImageError

from siod.errors import UserError
from siod.picture import stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from siod.data.coco import ImageRecord

CHECK_THREADS = 4
"""Decoding releases the interpreter; more threads than this wait for the disk."""
CHECK_BATCH = 32
"""Images that a thread is given at once: handing them over one by one takes as long as decoding a small one."""


class BrokenImageError(UserError):
    """A file that cannot be used as the image its record describes."""


def decode_rgb(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """Decode an image file to RGB; grey becomes RGB, 16 bits become 8, transparency is dropped.

    An EXIF rotation is not applied: boxes are in the frame of the stored pixels, as in COCO.

    Pillow decodes: torchvision's own decoders are deprecated, give the same bits, and save a quarter of the time at
    best.

    Raises:
        BrokenImageError: The file is missing or damaged.
    """
    try:
        _refuse_special(path)
        with Image.open(path) as file:
            return np.array(_as_rgb(stored(file)))
    except FileNotFoundError as error:
        raise BrokenImageError(f"{path}: no such image; add the file or remove its record") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "no known image format" if isinstance(error, UnidentifiedImageError) else _first_line(error)
        raise BrokenImageError(f"{path}: does not decode ({reason}); replace the file or remove its record") from error


def _refuse_special(path: Path) -> None:
    """Opening a pipe would wait for somebody to write into it."""
    if not os.path.isfile(path):  # noqa: PTH113  (unlike Path.is_file it never raises)
        raise FileNotFoundError(path)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def decode_record(folder: Path, record: ImageRecord) -> UInt8[np.ndarray, "H W 3"]:
    """Decode the file of a COCO image record.

    Raises:
        BrokenImageError: As ``decode_rgb``, or the size is not the one the record states.
    """
    path = folder / record.file_name
    pixels = decode_rgb(path)
    height, width = pixels.shape[:2]
    if (width, height) != (record.width, record.height):
        sizes = f"is {width} x {height} px but its record says {record.width} x {record.height}"
        raise BrokenImageError(f"{path}: {sizes}; correct the record, or the file if it was rotated or resized")
    return pixels


def broken_images(
    images: tuple[ImageRecord, ...], folder: Path, *, progress: Callable[[int, int], None] | None = None
) -> dict[int, str]:
    """Decode every image of a data set.

    Args:
        images: The records.
        folder: Where their files lie.
        progress: Called with the number of images done and of all.

    Returns:
        For each image that cannot be used, its place among the records and one sentence why.
    """
    batches = [images[start : start + CHECK_BATCH] for start in range(0, len(images), CHECK_BATCH)]
    found = {}
    with ThreadPoolExecutor(CHECK_THREADS) as pool:
        sentences = chain.from_iterable(
            pool.map(lambda batch: [_complaint(folder, record) for record in batch], batches)
        )
        for place, sentence in enumerate(sentences):
            if sentence:
                found[place] = sentence
            if progress is not None:
                progress(place + 1, len(images))
    return found


def _complaint(folder: Path, record: ImageRecord) -> str:
    """Why an image cannot be used; nothing where it can."""
    try:
        decode_record(folder, record)
    except BrokenImageError as error:
        return str(error)
    return ""


def refuse_broken(found: dict[int, str], folder: Path, total: int) -> None:
    """Stop before training when images are broken.

    Raises:
        UserError: Names the first three.
    """
    if not found:
        return
    first = "; ".join(list(found.values())[:3])
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""  # noqa: PLR2004
    raise UserError(f"{folder}: {len(found)} of {total} images cannot be used: {first}{more} (or skip broken images)")
