"""YOLO folders as COCO documents; categories are numbered from 1 in the order of the list of names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from siod.data.checking.entries import as_whole
from siod.data.formats.convert import (
    IMAGE_SUFFIXES,
    CocoBuilder,
    Conversion,
    Defects,
    UnusableImageError,
    listed,
    number,
    read_image_frame,
    with_progress,
)
from siod.errors import UserError
from siod.picture import UPRIGHT, box_in_stored, shown_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from siod.data.formats.convert import Progress

BOX_FIELDS, FEWEST_POLYGON_FIELDS = 5, 7


def from_yolo(
    labels: Path,
    images: Path,
    names: Sequence[str],
    *,
    defects: Defects = "refuse",
    progress: Progress | None = None,
) -> Conversion:
    """Convert a folder of YOLO label files; images without one have no objects.

    A label file belongs to the image of its name in the same folder below ``images``. A polygon becomes its box. Shares
    are of the photo as it is shown, as YOLO tools read it; where its EXIF data asks for a rotation, boxes are brought
    into the stored frame.

    Args:
        labels: Folder of ``NAME.txt``, a line ``class x y width height`` or ``class x y x y x y ...`` per object,
            relative to the image's size.
        images: Folder of images; sizes are read from them.
        names: Of the classes, first to last.
        defects: Whether boxes without area, and images that do not open, are refused or left out.
        progress: Called with the number of images done and of all.

    Raises:
        UserError: A line does not parse, names an unknown class, or an image cannot be opened.
    """
    files = [path for path in listed(images, "*") if path.suffix.lower() in IMAGE_SUFFIXES]
    _refuse_strays(labels, images, files)
    builder, turned, polygons = CocoBuilder("YOLO", defects), 0, 0
    for path in with_progress(files, progress):
        try:
            size, orientation = read_image_frame(path)
        except UnusableImageError as error:
            builder.leave_out(error)
            continue
        builder.add_image(path.relative_to(images).as_posix(), size)
        label_file = labels / path.relative_to(images).with_suffix(".txt")
        for where, words in _lines(label_file):
            corners, is_polygon = _corners(words, where, shown_size(size, orientation))
            builder.add_box(_class_of(words[0], len(names), where), box_in_stored(corners, size, orientation), where)
            polygons += is_polygon
        turned += orientation != UPRIGHT and label_file.exists()
    remarks = [f"{polygons} polygons became their boxes"] if polygons else []
    if turned:
        remarks.append(f"{turned} photos ask to be rotated (EXIF); their labels were read as the photo is shown")
    return builder.finish(names, remarks)


def read_names(path: Path) -> list[str]:
    """Names of the classes, from a text file with one a line or from the ``names`` of a ``data.yaml``.

    Raises:
        UserError: The file cannot be read, or has no names.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        found: Any = yaml.safe_load(text) if path.suffix.lower() in {".yaml", ".yml"} else text.splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); name a file with a class name per line") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not YAML ({' '.join(str(error).split())}); correct it") from error
    if isinstance(found, dict):
        found = _in_order(found.get("names"), path)
    if not isinstance(found, list):
        raise UserError(f"{path}: has no list 'names'; add one, or name a text file with a class name per line")
    names = [str(name).strip() for name in found if str(name).strip()]
    if not names:
        raise UserError(f"{path}: has no names; write a class name per line")
    return names


def _in_order(names: Any, path: Path) -> Any:
    """A map from class to name as a list."""
    if not isinstance(names, dict):
        return names
    classes = [as_whole(key) for key in names]
    if sorted(key for key in classes if key is not None) != list(range(len(names))):
        raise UserError(f"{path}: names: classes are {list(names)}; number them from 0 without a gap")
    return [name for _, name in sorted(zip(classes, names.values(), strict=True))]


def _refuse_strays(labels: Path, images: Path, files: Sequence[Path]) -> None:
    known = {path.relative_to(images).with_suffix("") for path in files}
    found = {path.relative_to(labels).with_suffix("") for path in listed(labels, "*.txt")}
    strays = {path for path in found - known if path.name != "classes"}
    if strays:
        raise UserError(f"{labels / min(strays)}.txt: has no image in {images}; add the image or remove the file")


def _lines(path: Path) -> list[tuple[str, list[str]]]:
    """Words of each line that has some, with the file and number of the line."""
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); write the file again") from error
    return [(f"{path}: line {place}", line.split()) for place, line in enumerate(lines, start=1) if line.strip()]


def _class_of(word: str, classes: int, where: str) -> int:
    """The category id of a class."""
    found = as_whole(word)
    if found is None or not 0 <= found < classes:
        raise UserError(f"{where}: class {word!r} is not one of 0 to {classes - 1}; correct it or --names")
    return found + 1


def _corners(words: list[str], where: str, size: tuple[int, int]) -> tuple[tuple[float, ...], bool]:
    """x1, y1, x2, y2 in pixels of the shown photo, and whether they come from a polygon."""
    shares = [number(word, where) for word in words[1:]]
    width, height = size
    if len(words) == BOX_FIELDS:
        x, y, across, down = shares
        corners = (x - across / 2, y - down / 2, x + across / 2, y + down / 2)
        return tuple(corner * side for corner, side in zip(corners, size * 2, strict=True)), False
    if len(words) < FEWEST_POLYGON_FIELDS or len(words) % 2 == 0:
        raise UserError(f"{where}: has {len(words)} fields; a box is: class x y width height")
    xs, ys = [share * width for share in shares[::2]], [share * height for share in shares[1::2]]
    return (min(xs), min(ys), max(xs), max(ys)), True
