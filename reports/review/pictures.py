"""The pictures beside a review page: a browser shows each in the frame that the boxes of the annotation file are in."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from PIL import Image

from siod.errors import UserError
from siod.picture import UPRIGHT, orientation_of, visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from siod.completion.proposals import Proposals

FOLDER = "images"
THREADS = 4
"""Copying and decoding release the interpreter; more threads than this wait for the disk."""

# What every browser shows, by Pillow's names of formats and modes.
SUFFIXES = {"BMP": ".bmp", "GIF": ".gif", "JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}
PHOTOGRAPHS = {"JPEG", "MPO"}
QUALITY = 95


def write_pictures(
    proposals: Proposals, folder: Path, *, link: bool = False, progress: Callable[[int, int], None] | None = None
) -> list[str]:
    """Put the images of an annotation file beside a page, each under the number of its place in the file.

    A file that a browser would show as the annotation file has it is copied. Others (TIFF, 16 bits, CMYK, several
    frames, an EXIF orientation other than 1) are written as PNG, photographs as JPEG, in the frame of the stored
    pixels.

    Args:
        proposals: Name the images and their folder.
        folder: Where ``images/`` is made; files of an earlier call are replaced.
        link: Symbolic links instead of copies.
        progress: Called with the number of images done and of all.

    Returns:
        For each image the file's name in ``images/``; empty for one that cannot be read and has no proposals.

    Raises:
        UserError: An image with proposals cannot be read, or a file cannot be written.
    """
    target, source = folder / FOLDER, Path(proposals.origin.images)
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        _refuse(target, error)
    images = proposals.annotated.images
    proposed = {box.image_id for box in proposals.boxes}

    def write(place: int) -> str:
        try:
            return _write_picture(source / images[place].file_name, target, f"{place:06}", link=link)
        except UserError:
            if images[place].id in proposed:
                raise
            return ""

    names = []
    with ThreadPoolExecutor(THREADS) as pool:
        for name in pool.map(write, range(len(images))):
            names.append(name)
            if progress is not None:
                progress(len(names), len(images))
    return names


def _write_picture(path: Path, folder: Path, stem: str, *, link: bool) -> str:
    """Write one picture; returns its name in the folder."""
    try:
        with Image.open(path) as file:
            if file.format in SUFFIXES and _shown_as_stored(file):
                name = stem + SUFFIXES[file.format]
                _place(path, folder / name, link=link)
                return name
            suffix = ".jpg" if file.format in PHOTOGRAPHS else ".png"
            shown = visible(file)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{path}: cannot be read as an image ({reason}); put the file where it was") from error
    _save(shown, folder / (stem + suffix))
    return stem + suffix


def _shown_as_stored(file: Image.Image) -> bool:
    """True when a browser shows the pixels of an opened file as they are stored."""
    return file.mode in MODES and orientation_of(file) == UPRIGHT and not getattr(file, "is_animated", False)


def _place(source: Path, target: Path, *, link: bool) -> None:
    """Copy or link a file. What stood there goes first: writing through a link would change what it points to."""
    try:
        target.unlink(missing_ok=True)
        if link:
            target.symlink_to(source.resolve())
        else:
            shutil.copyfile(source, target)
    except OSError as error:
        _refuse(target, error)


def _save(picture: Image.Image, target: Path) -> None:
    """Write pixels without what their file said of turning them."""
    try:
        target.unlink(missing_ok=True)
        picture.save(target, quality=QUALITY, exif=b"")
    except OSError as error:
        _refuse(target, error)


def _refuse(target: Path, error: OSError) -> NoReturn:
    reason = error.strerror or str(error)
    raise UserError(f"{target}: cannot be written ({reason}); free space or name another folder") from error
