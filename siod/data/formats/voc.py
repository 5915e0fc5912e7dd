"""Pascal VOC folders as COCO documents; categories are numbered from 1 in alphabetical order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree as ET

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
from siod.picture import SIDEWAYS, UPRIGHT, box_in_stored, shown_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from siod.data.formats.convert import Progress

FirstPixel = Literal["auto", "0", "1"]


@dataclass(frozen=True)
class _Object:
    name: str
    corners: tuple[float, ...]
    difficult: bool
    where: str


@dataclass(frozen=True)
class _File:
    """One XML file; ``orientation`` is that of the frame its boxes are in, 1 for the stored one."""

    file_name: str
    size: tuple[int, int]
    orientation: int
    rotated: bool
    objects: tuple[_Object, ...]
    misnamed: bool


def from_voc(
    annotations: Path,
    images: Path,
    *,
    first_pixel: FirstPixel = "auto",
    defects: Defects = "refuse",
    progress: Progress | None = None,
) -> Conversion:
    """Convert a folder of Pascal VOC XML files.

    VOC counts pixels from 1 and means the last pixel by its maxima, so a box ``xmin, xmax`` covers ``xmin - 1`` to
    ``xmax``. Several tools write edges that count from 0 instead: ``xmin`` to ``xmax``. Objects marked difficult become
    crowds: they are neither learnt from nor judged. Where ``<size>`` is that of a photo as it is shown, its boxes are
    brought into the stored frame. Where ``filename`` leads to no file, the image of the XML file's own name is meant.

    Args:
        annotations: Folder of ``*.xml``, folders in it included.
        images: Folder the files' ``filename`` is relative to.
        first_pixel: What the files count from. ``auto`` takes 0 if a minimum below 1 stands anywhere in the folder, or
            fractions in most of its files with objects (a few have them in VOC2012 itself).
        defects: Whether boxes without area, and images that do not open, are refused or left out.
        progress: Called with the number of files done and of all.

    Raises:
        UserError: A file is no VOC annotation, its image is missing, or ``<size>`` is not that of the image.
    """
    builder = CocoBuilder("Pascal VOC", defects)
    files = []
    for path in with_progress(listed(annotations, "*.xml"), progress):
        try:
            files.append(_parsed(path, annotations, images))
        except UnusableImageError as error:
            builder.leave_out(error)
    evidence = _evidence_of_zero(files)
    first = int(first_pixel) if first_pixel != "auto" else int(not evidence)
    for file in files:
        builder.add_image(file.file_name, file.size)
        for entry in file.objects:
            x1, y1, x2, y2 = entry.corners
            corners = box_in_stored((x1 - first, y1 - first, x2, y2), file.size, file.orientation)
            builder.add_box(entry.name, corners, entry.where, crowd=entry.difficult)
    names = sorted({entry["category_id"] for entry in builder.annotations})
    for annotation in builder.annotations:
        annotation["category_id"] = names.index(annotation["category_id"]) + 1
    return builder.finish(names, _remarks(files, evidence if first_pixel == "auto" else "", first))


def _evidence_of_zero(files: Sequence[_File]) -> str:
    """What shows that a folder's pixels are counted from 0; empty if nothing does."""
    filled = [file for file in files if file.objects]
    below = sum(any(min(entry.corners[:2]) < 1 for entry in file.objects) for file in filled)
    broken = sum(any(corner % 1 for entry in file.objects for corner in entry.corners) for file in filled)
    if below:
        return f"{below} of {len(files)} files have a minimum below 1"
    return f"{broken} of {len(files)} files have fractions" if 2 * broken > len(filled) else ""


def _remarks(files: Sequence[_File], evidence: str, first: int) -> list[str]:
    remarks = []
    if evidence:
        remarks.append(f"pixels are counted from 0: {evidence} (--first-pixel 1 counts from 1 all the same)")
    if turned := sum(file.orientation != UPRIGHT for file in files):
        remarks.append(f"{turned} photos are annotated as shown (EXIF); their boxes were brought into the stored frame")
    if rotated := sum(file.rotated and file.orientation == UPRIGHT for file in files):
        remarks.append(f"{rotated} photos ask to be rotated (EXIF); their boxes were taken in the stored frame")
    points = [entry.where for file in files for entry in file.objects if _is_point(entry)] if first else []
    if points:
        remarks.append(
            f"{len(points)} boxes begin and end on one pixel, perhaps by a slip; they are kept ({points[0]})"
        )
    if misnamed := sum(file.misnamed for file in files):
        remarks.append(f"{misnamed} files name an image that is not there; the image of the file's own name was taken")
    return remarks


def _is_point(entry: _Object) -> bool:
    x1, y1, x2, y2 = entry.corners
    return (x1, y1) == (x2, y2)


def _parsed(path: Path, annotations: Path, images: Path) -> _File:
    try:
        root = ET.parse(path).getroot()  # noqa: S314  (expat since 2.4.1 refuses entity bombs; nothing is fetched)
    except (ET.ParseError, OSError, ValueError) as error:
        raise UserError(f"{path}: is not XML ({error}); write or download the file again") from error
    stated = _text(root, "filename", path)
    file_name = _image_of(path.relative_to(annotations), images, stated)
    size, orientation = read_image_frame(images / file_name)
    shown = _is_shown_frame(_stated_size(root, path), size, orientation, path, file_name)
    frame = orientation if shown else UPRIGHT
    objects = tuple(_object(entry, path, f"object {place}") for place, entry in enumerate(root.findall("object")))
    return _File(file_name, size, frame, orientation != UPRIGHT, objects, file_name != stated)


def _image_of(path: Path, images: Path, stated: str) -> str:
    """The name of a file's image; renamed images often keep the old name inside their files."""
    if (images / stated).is_file():
        return stated
    suffixes = (*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES))
    own = (path.with_suffix(suffix).as_posix() for suffix in suffixes)
    return next((name for name in own if (images / name).is_file()), stated)


def _stated_size(root: ET.Element, path: Path) -> tuple[int, int] | None:
    """Width and height as the file states them; some tools write none or zeros."""
    sides = [(root.findtext(f"size/{name}") or "").strip() for name in ("width", "height")]
    if not all(sides):
        return None
    width, height = (int(number(side, f"{path}: size")) for side in sides)
    return (width, height) if width > 0 and height > 0 else None


def _is_shown_frame(
    stated: tuple[int, int] | None, size: tuple[int, int], orientation: int, path: Path, file_name: str
) -> bool:
    """Whether the boxes are in the frame the photo is shown in: only the stated size can tell."""
    if stated is None and orientation in SIDEWAYS and size[0] != size[1]:
        raise UserError(
            f"{path}: {file_name} asks to be rotated (EXIF) and no <size> tells which way its boxes lie; "
            "add the <size> they were drawn in"
        )
    if stated is None or stated == size:
        return False
    if orientation in SIDEWAYS and stated == shown_size(size, orientation):
        return True
    raise UserError(
        f"{path}: <size> is {stated[0]} x {stated[1]} but {file_name} has {size[0]} x {size[1]} pixels; "
        "scale the boxes with the image, or put the original image back"
    )


def _object(entry: ET.Element, path: Path, where: str) -> _Object:
    corners = tuple(
        number(_text(entry, f"bndbox/{name}", path, where), f"{path}: {where} {name}")
        for name in ("xmin", "ymin", "xmax", "ymax")
    )
    difficult = (entry.findtext("difficult") or "0").strip() == "1"
    return _Object(_text(entry, "name", path, where), corners, difficult, f"{path}: {where}")


def _text(entry: ET.Element, name: str, path: Path, where: str = "") -> str:
    found = (entry.findtext(name) or "").strip()
    if not found:
        raise UserError(f"{path}: {where} lacks {name}; a Pascal VOC file has it".replace(":  ", ": "))
    return found
