"""Pascal VOC and YOLO folders as COCO documents.

A folder of annotations becomes one document whose categories are numbered from 1 in alphabetical order (VOC) or in
the order of the list of names (YOLO). Nothing is guessed: what does not parse is refused by file and field.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from PIL import Image

from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Progress = Callable[[int, int], None]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
YOLO_FIELDS = 5


@dataclass
class _Document:
    """A COCO document while it grows."""

    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)

    def add_image(self, file_name: str, width: int, height: int) -> None:
        self.images.append({"id": len(self.images) + 1, "file_name": file_name, "width": width, "height": height})

    def add_box(self, category: Any, corners: Sequence[float], *, crowd: bool = False) -> None:
        """A box of the image added last, cut at its edges."""
        image = self.images[-1]
        x1, x2 = (min(max(value, 0.0), float(image["width"])) for value in (corners[0], corners[2]))
        y1, y2 = (min(max(value, 0.0), float(image["height"])) for value in (corners[1], corners[3]))
        box = [round(value, 4) for value in (x1, y1, x2 - x1, y2 - y1)]
        self.annotations.append(
            {
                "id": len(self.annotations) + 1,
                "image_id": image["id"],
                "category_id": category,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": int(crowd),
            }
        )

    def finish(self, kind: str, names: Sequence[str]) -> dict[str, Any]:
        categories = [{"id": place, "name": name} for place, name in enumerate(names, start=1)]
        info = {"description": f"converted from {kind}"}
        return {"info": info, "images": self.images, "annotations": self.annotations, "categories": categories}


def from_voc(annotations: Path, images: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Convert a folder of Pascal VOC XML files.

    VOC counts pixels from 1 and means the last pixel by its maxima, so a box ``xmin, xmax`` covers ``xmin - 1`` to
    ``xmax``. Objects marked difficult become crowds: they are neither learnt from nor judged.

    Args:
        annotations: Folder of ``*.xml``.
        images: Folder the files' ``filename`` is relative to.
        progress: Called with the number of files done and of all.

    Raises:
        UserError: A file is no VOC annotation, or its image is missing.
    """
    files = _listed(annotations, "*.xml")
    document = _Document()
    for place, path in enumerate(files, start=1):
        _add_voc(document, path, images)
        if progress is not None:
            progress(place, len(files))
    names = sorted({entry["category_id"] for entry in document.annotations})
    for entry in document.annotations:
        entry["category_id"] = names.index(entry["category_id"]) + 1
    return document.finish("Pascal VOC", names)


def from_yolo(labels: Path, images: Path, names: Sequence[str], *, progress: Progress | None = None) -> dict[str, Any]:
    """Convert a folder of YOLO label files; images without one have no objects.

    Args:
        labels: Folder of ``NAME.txt``, a line ``class x y width height`` per box, relative to the image's size.
        images: Folder of images; sizes are read from them.
        names: Of the classes, first to last.
        progress: Called with the number of images done and of all.

    Raises:
        UserError: A line does not parse, names an unknown class, or an image cannot be opened.
    """
    files = [path for path in _listed(images, "*") if path.suffix.lower() in IMAGE_SUFFIXES]
    strays = {path.stem for path in _listed(labels, "*.txt")} - {path.stem for path in files} - {"classes"}
    if strays:
        raise UserError(f"{labels / min(strays)}.txt: has no image in {images}; add the image or remove the file")
    document = _Document()
    for place, path in enumerate(files, start=1):
        document.add_image(path.name, *_size_of(path))
        _add_yolo(document, labels / f"{path.stem}.txt", len(names))
        if progress is not None:
            progress(place, len(files))
    return document.finish("YOLO", names)


def _listed(folder: Path, pattern: str) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder; name the folder of {pattern} files")
    found = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not found and pattern != "*.txt":
        raise UserError(f"{folder}: has no {pattern} files; name another folder")
    return found


def _size_of(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as file:
            return file.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "no such image" if isinstance(error, FileNotFoundError) else "does not open as an image"
        raise UserError(f"{path}: {reason}; replace the file or remove its annotations") from error


def _add_voc(document: _Document, path: Path, images: Path) -> None:
    try:
        root = ET.parse(path).getroot()  # noqa: S314  (expat since 2.4.1 refuses entity bombs; nothing is fetched)
    except (ET.ParseError, OSError, ValueError) as error:
        raise UserError(f"{path}: is not XML ({error}); write or download the file again") from error
    file_name = _text(root, "filename", path)
    document.add_image(file_name, *_size_of(images / file_name))
    for place, entry in enumerate(root.findall("object")):
        where = f"object {place}"
        low_x, low_y, high_x, high_y = (
            _number(_text(entry, f"bndbox/{name}", path, where), path, f"{where} {name}")
            for name in ("xmin", "ymin", "xmax", "ymax")
        )
        difficult = (entry.findtext("difficult") or "0").strip() == "1"
        document.add_box(_text(entry, "name", path, where), (low_x - 1, low_y - 1, high_x, high_y), crowd=difficult)
        _refuse_empty(document, path, where)


def _add_yolo(document: _Document, path: Path, classes: int) -> None:
    if not path.exists():
        return
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); write the file again") from error
    image = document.images[-1]
    for number, line in zip(itertools.count(1), lines, strict=False):
        if not line.strip():
            continue
        where = f"line {number}"
        words = line.split()
        if len(words) != YOLO_FIELDS:
            raise UserError(f"{path}: {where}: has {len(words)} fields; a box is: class x y width height")
        if not words[0].isdecimal() or int(words[0]) >= classes:
            raise UserError(
                f"{path}: {where}: class {words[0]!r} is not one of 0 to {classes - 1}; correct it or --names"
            )
        x, y, width, height = (_number(word, path, where) for word in words[1:])
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        sides = (image["width"], image["height"]) * 2
        scaled = [corner * side for corner, side in zip(corners, sides, strict=True)]
        document.add_box(int(words[0]) + 1, scaled)
        _refuse_empty(document, path, where)


def _refuse_empty(document: _Document, path: Path, where: str) -> None:
    box = document.annotations[-1]["bbox"]
    if not (box[2] > 0 and box[3] > 0):
        raise UserError(f"{path}: {where}: the box has no area inside its image; correct or remove it")


def _text(entry: ET.Element, name: str, path: Path, where: str = "") -> str:
    found = (entry.findtext(name) or "").strip()
    if not found:
        raise UserError(f"{path}: {where} lacks {name}; a Pascal VOC file has it".replace(":  ", ": "))
    return found


def _number(text: str, path: Path, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{path}: {where}: {text!r} is not a finite number; correct it")
    return number
