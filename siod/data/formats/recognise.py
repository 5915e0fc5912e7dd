"""Recognise how the annotations of a folder or file are written and where its images are.

Nothing is changed and no image is opened. What is looked for, format by format, stands in ``LOOKED_FOR``; a folder that
answers to several formats, or to none, is refused, and the user says which one it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from siod.data.formats.layouts import (
    FORMAT_NAMES,
    Layout,
    Part,
    child,
    files_below,
    folders_in,
    has_file,
    has_image,
    split_of_folder,
)
from siod.data.formats.recognise_coco import look_for_coco
from siod.data.formats.recognise_yolo import look_for_yolo
from siod.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from siod.data.formats.layouts import Format, Split

LOOKED_FOR: dict[Format, str] = {
    "voc": "Annotations with JPEGImages or images, or XML files beside images",
    "yolo": "data.yaml, or images with labels and classes.txt",
    "coco": "a JSON file with images, annotations and categories, the images beside it",
}
_IMAGE_SETS: tuple[tuple[str, Split], ...] = (("train", "train"), ("val", "val"), ("test", "test"))


def recognise(source: Path, wanted: Format | None = None) -> Layout:
    """Find out what a source is.

    Args:
        source: A folder, a COCO file, or the ``data.yaml`` of a YOLO folder.
        wanted: The format it is said to be; None looks for all.

    Returns:
        Format, folders and splits.

    Raises:
        UserError: It does not exist, is nothing that is known, or could be several formats.
    """
    if not source.exists():
        raise UserError(f"{source}: does not exist; name a folder of annotated images, or a COCO file")
    found = [layout for layout in _looked(source, wanted) if layout is not None]
    if len(found) > 1:
        names = " and ".join(FORMAT_NAMES[layout.format] for layout in found)
        raise UserError(f"{source}: could be {names}; say which with --format {found[0].format}")
    if not found:
        places = (f"{FORMAT_NAMES[name]} ({place})" for name, place in LOOKED_FOR.items() if wanted in (None, name))
        raise UserError(f"{source}: no annotations that siod knows; looked for {', '.join(places)}")
    return found[0]


def _looked(source: Path, wanted: Format | None) -> list[Layout | None]:
    look = {"voc": look_for_voc, "yolo": look_for_yolo, "coco": look_for_coco}
    return [look[name](source) for name in FORMAT_NAMES if wanted in (None, name)]


def look_for_voc(source: Path) -> Layout | None:
    """Pascal VOC: XML files in ``Annotations`` with ``JPEGImages`` or ``images`` beside it, or among the images.

    Raises:
        UserError: An image is in two of its lists.
    """
    if not source.is_dir():
        return None
    folders = folders_in(source)
    parts = [part for folder in folders if (part := _devkit(folder)) is not None]
    parts = parts or [part for folder in folders if (part := _side_by_side(folder)) is not None]
    return Layout("voc", source, tuple(parts)) if parts else None


def _devkit(folder: Path) -> Part | None:
    annotations = child(folder, ("annotations",))
    images = child(folder, ("jpegimages", "images")) or (folder if has_image(folder) else None)
    if annotations is None or images is None or not _holds_voc(annotations):
        return None
    return Part(annotations, images, split_of_folder(folder.name), _listed_splits(folder))


def _side_by_side(folder: Path) -> Part | None:
    if not has_file(folder, (".xml",)) or not has_image(folder) or not _holds_voc(folder):
        return None
    return Part(folder, folder, split_of_folder(folder.name))


def _holds_voc(folder: Path) -> bool:
    """Whether an XML file below a folder is an annotation as VOC writes it."""
    path = next(files_below(folder, (".xml",)), None)
    if path is None:
        return False
    try:
        return ET.parse(path).getroot().tag == "annotation"  # noqa: S314  (expat since 2.4.1 refuses entity bombs)
    except (ET.ParseError, OSError, ValueError):
        return True  # a broken file is named when it is read


def _listed_splits(folder: Path) -> dict[str, Split] | None:
    """The split of each image that ``ImageSets/Main`` lists; ``trainval`` counts where ``train`` is not there."""
    main = folder / "ImageSets" / "Main"
    lists = [(main / f"{name}.txt", split) for name, split in _IMAGE_SETS]
    if not lists[0][0].is_file():
        lists[0] = (main / "trainval.txt", "train")
    members: dict[str, Split] = {}
    for path, split in lists:
        for name in _names(path):
            if members.setdefault(name, split) != split:
                raise UserError(f"{path}: lists {name}, which {members[name]} has too; take it out of one list")
    return members or None


def _names(path: Path) -> list[str]:
    """Names of images; the lists of single classes have a second column of 1, 0 or -1."""
    if not path.is_file():
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); write a name per line") from error
    words = (line.rsplit(maxsplit=1) for line in lines if line.strip())
    return [pair[0] if len(pair) > 1 and pair[1] in {"1", "0", "-1"} else " ".join(pair) for pair in words]
