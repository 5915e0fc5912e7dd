"""What Pascal VOC and YOLO folders have in common on their way to a COCO document; see ``voc`` and ``yolo``.

A folder of annotations becomes one document. Nothing is guessed: what does not parse is refused by file and field.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from siod.errors import UserError
from siod.picture import read_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Progress = Callable[[int, int], None]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
Defects = Literal["refuse", "repair"]
NAMED = 3
"""How many of the things left out are named."""


class UnusableImageError(UserError):
    """An image file that is missing or no image."""


@dataclass(frozen=True)
class Conversion:
    """A converted folder.

    Attributes:
        document: In COCO's format.
        remarks: Sentences about what was decided on the way and what was left out.
    """

    document: dict[str, Any]
    remarks: tuple[str, ...]


@dataclass
class CocoBuilder:
    """Collects images and boxes for a COCO document.

    Args:
        kind: Of the folder, for the file's ``info``.
        defects: Whether a box without area, or an image that does not open, is refused or left out.
    """

    kind: str
    defects: Defects
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)

    def add_image(self, file_name: str, size: tuple[int, int]) -> None:
        """An image by its name below the folder, with stored width and height."""
        self.images.append({"id": len(self.images) + 1, "file_name": file_name, "width": size[0], "height": size[1]})

    def add_box(self, category: Any, corners: Sequence[float], where: str, *, crowd: bool = False) -> None:
        """A box of the image added last, cut at its edges.

        Args:
            category: Its id, or what becomes one.
            corners: x1, y1, x2, y2 in pixels of the stored frame.
            where: File and place, for the error.
            crowd: Whether it is neither learnt from nor judged.

        Raises:
            UserError: Nothing of it lies inside the image, and defects are refused.
        """
        image = self.images[-1]
        x1, x2 = (min(max(value, 0.0), float(image["width"])) for value in (corners[0], corners[2]))
        y1, y2 = (min(max(value, 0.0), float(image["height"])) for value in (corners[1], corners[3]))
        box = [round(value, 4) for value in (x1, y1, x2 - x1, y2 - y1)]
        if not (box[2] > 0 and box[3] > 0):
            if self.defects == "refuse":
                raise UserError(
                    f"{where}: the box has no area inside its image; correct or remove it, or leave such boxes out "
                    "with --defects repair"
                )
            self.left_out.append(where)
            return
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

    def leave_out(self, error: UnusableImageError) -> None:
        """Go on without an image, unless defects are refused.

        Raises:
            UnusableImageError: They are.
        """
        if self.defects == "refuse":
            raise error
        self.unusable.append(str(error).partition(";")[0])

    def finish(self, names: Sequence[str], remarks: Sequence[str]) -> Conversion:
        """The document with its categories, numbered from 1."""
        document = {
            "info": {"description": f"converted from {self.kind}"},
            "images": self.images,
            "annotations": self.annotations,
            "categories": [{"id": place, "name": name} for place, name in enumerate(names, start=1)],
        }
        lost = (
            ("boxes without area inside their image", self.left_out),
            ("images that cannot be used", self.unusable),
        )
        left_out = [f"{len(places)} {what} were left out ({_first(places)})" for what, places in lost if places]
        return Conversion(document, (*remarks, *left_out))


def _first(places: Sequence[str]) -> str:
    return "; ".join(places[:NAMED]) + ("; ..." if len(places) > NAMED else "")


def listed(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder and the folders in it, sorted.

    Raises:
        UserError: There is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder; name the folder of {pattern} files")
    found = sorted(path for path in folder.rglob(pattern) if path.is_file())
    if not found and pattern != "*.txt":
        raise UserError(f"{folder}: has no {pattern} files; name another folder")
    return found


def read_image_frame(path: Path) -> tuple[tuple[int, int], int]:
    """Stored size and EXIF orientation of an image file.

    Raises:
        UnusableImageError: It is missing or no image.
    """
    try:
        return read_frame(path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "no such image" if isinstance(error, FileNotFoundError) else "does not open as an image"
        raise UnusableImageError(f"{path}: {reason}; replace the file or remove its annotations") from error


def number(text: str, where: str) -> float:
    """A finite number.

    Raises:
        UserError: It is none; ``where`` names file and field.
    """
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise UserError(f"{where}: {text!r} is not a finite number; correct it")
    return found


def with_progress(files: Sequence[Path], progress: Progress | None) -> Iterator[Path]:
    """Yield files and report how many are done."""
    for place, path in enumerate(files, start=1):
        yield path
        if progress is not None:
            progress(place, len(files))
