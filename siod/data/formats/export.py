"""A COCO file and its images as the folder of another format: Pascal VOC, YOLO, or plain COCO.

What comes back through ``siod data import`` are the same boxes, to the rounding of the format: whole pixels in VOC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import yaml

from siod.data import coco
from siod.data.formats.convert import read_image_frame
from siod.data.formats.image_folder import atomic_folder, place
from siod.data.formats.layouts import split_of_file
from siod.errors import UserError
from siod.picture import box_in_shown, shown_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.data.formats.layouts import Format

SHARE_DIGITS = 10
"""Of YOLO's shares: a ten-thousandth of a pixel in any image."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        images: Number of them.
        boxes: Number of boxes.
        remarks: Sentences about what the format cannot hold.
    """

    images: int
    boxes: int
    remarks: tuple[str, ...] = ()


def export(format_: Format, dataset: coco.CocoDataset, images: Path, out: Path, *, link: bool = False) -> Exported:
    """Write a data set in another format.

    Args:
        format_: Which.
        dataset: A COCO file.
        images: Folder of its images.
        out: Folder to write; empty or absent. It is there whole or not at all.
        link: Place symbolic links to the images instead of copies.

    Raises:
        UserError: An image is missing, two images would share a name, or nothing can be written.
    """
    writer, folder_name = WRITERS[format_]
    if format_ != "coco":
        _refuse_shared_stems(dataset)
    for record in dataset.images:
        if not (images / record.file_name).is_file():
            raise UserError(f"{images / record.file_name}: no such image; name the folder of the images")
    with atomic_folder(out) as folder:
        (folder / folder_name).mkdir()
        made = writer(dataset, images, folder)
        for record in dataset.images:
            place(images / record.file_name, folder / folder_name / record.file_name, link=link)
    return made


def _refuse_shared_stems(dataset: coco.CocoDataset) -> None:
    """VOC and YOLO name annotations by the image without its suffix."""
    owners: dict[PurePosixPath, coco.ImageRecord] = {}
    for record in dataset.images:
        owner = owners.setdefault(PurePosixPath(record.file_name).with_suffix(""), record)
        if owner is not record:
            names = f"{owner.file_name} and {record.file_name}"
            raise UserError(f"{dataset.path}: {names} would share one annotation file; rename one of them")


def _write_voc(dataset: coco.CocoDataset, _images: Path, folder: Path) -> Exported:
    """XML files that count pixels from 1 and hold the last one; crowds are difficult objects."""
    stems = []
    for index, record in enumerate(dataset.images):
        stem = PurePosixPath(record.file_name).with_suffix("")
        stems.append(str(stem))
        root = ET.Element("annotation")
        ET.SubElement(root, "folder").text = "JPEGImages"
        ET.SubElement(root, "filename").text = record.file_name
        size = ET.SubElement(root, "size")
        for name, value in (("width", record.width), ("height", record.height), ("depth", 3)):
            ET.SubElement(size, name).text = str(value)
        ET.SubElement(root, "segmented").text = "0"
        for row in dataset.rows_of_image(index):
            root.append(_voc_object(dataset, int(row), (record.width, record.height)))
        ET.indent(root)
        _write(folder / "Annotations" / f"{stem}.xml", ET.tostring(root, encoding="unicode") + "\n")
    split = split_of_file(dataset.path.name.split(".")[0])
    if split is not None:
        _write(folder / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{stem}\n" for stem in stems))
    return Exported(len(stems), len(dataset.annotation_ids))


def _voc_object(dataset: coco.CocoDataset, row: int, size: tuple[int, int]) -> ET.Element:
    entry = ET.Element("object")
    ET.SubElement(entry, "name").text = dataset.categories[dataset.labels[row]].name
    ET.SubElement(entry, "pose").text = "Unspecified"
    ET.SubElement(entry, "truncated").text = "0"
    ET.SubElement(entry, "difficult").text = str(int(dataset.iscrowd[row]))
    box = ET.SubElement(entry, "bndbox")
    for name, value in zip(
        ("xmin", "ymin", "xmax", "ymax"), _voc_corners(dataset.boxes_xyxy[row].tolist(), size), strict=True
    ):
        ET.SubElement(box, name).text = str(value)
    return entry


def _voc_corners(corners: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The first and last pixels of a box; it keeps at least one.

    Example:
        >>> _voc_corners((0.0, 2.0, 20.0, 4.4), (20, 10))
        (1, 3, 20, 4)
    """
    first, last = [], []
    for axis in range(2):
        low, high = (min(max(round(corners[axis + end]), 0), size[axis]) for end in (0, 2))
        low = min(low, size[axis] - 1)
        first.append(low + 1)
        last.append(max(high, low + 1))
    return first[0], first[1], last[0], last[1]


def _write_yolo(dataset: coco.CocoDataset, images: Path, folder: Path) -> Exported:
    """Label files with shares of the photo as it is shown, which is how YOLO tools read it, and ``data.yaml``."""
    for index, record in enumerate(dataset.images):
        _, orientation = read_image_frame(images / record.file_name)
        size = (record.width, record.height)
        lines = []
        for row in dataset.rows_of_image(index):
            if dataset.iscrowd[row]:
                continue
            corners = box_in_shown(dataset.boxes_xyxy[row].tolist(), size, orientation)
            lines.append(f"{dataset.labels[row]} {_shares(corners, shown_size(size, orientation))}\n")
        path = PurePosixPath(record.file_name).with_suffix(".txt")
        _write(folder / "labels" / path, "".join(lines))
    split = split_of_file(dataset.path.name.split(".")[0]) or "train"
    names = dict(enumerate(category.name for category in dataset.categories))
    described = {split: "images", "names": names}
    _write(folder / "data.yaml", yaml.safe_dump(described, allow_unicode=True, sort_keys=False))
    crowds = int(dataset.iscrowd.sum())
    remarks = (f"{crowds} crowds were left out, which YOLO cannot tell from objects",) if crowds else ()
    return Exported(len(dataset.images), len(dataset.iscrowd) - crowds, remarks)


def _shares(corners: tuple[float, ...], size: tuple[int, int]) -> str:
    """Centre and size of a box as shares.

    Example:
        >>> _shares((5, 3, 15, 7), (20, 10))
        '0.5 0.5 0.5 0.4'
    """
    x1, y1, x2, y2 = corners
    width, height = size
    shares = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    return " ".join(f"{round(share, SHARE_DIGITS):.{SHARE_DIGITS}g}" for share in shares)


def _write_coco(dataset: coco.CocoDataset, _images: Path, folder: Path) -> Exported:
    """One file with the fields that COCO defines and every evaluator reads, and no others."""
    annotations: list[dict[str, Any]] = []
    for row, raw in enumerate(dataset.annotation_records()):
        entry = coco.decode_entry(raw, dataset.path, f"annotations[{row}]")
        annotations.append(
            {
                "id": entry["id"],
                "image_id": entry["image_id"],
                "category_id": entry["category_id"],
                "bbox": entry["bbox"],
                "area": float(dataset.area[row]),
                "iscrowd": int(dataset.iscrowd[row]),
                "segmentation": entry.get("segmentation") or [],
            }
        )
    document = {
        "info": {"description": "written by siod data export"},
        "images": [
            {"id": one.id, "file_name": one.file_name, "width": one.width, "height": one.height}
            for one in dataset.images
        ],
        "annotations": annotations,
        "categories": [{"id": one.id, "name": one.name, "supercategory": ""} for one in dataset.categories],
    }
    coco.write(folder / "annotations.json", document)
    return Exported(len(dataset.images), len(annotations))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


Writer = Callable[[coco.CocoDataset, Path, Path], Exported]
WRITERS: dict[str, tuple[Writer, str]] = {
    "voc": (_write_voc, "JPEGImages"),
    "yolo": (_write_yolo, "images"),
    "coco": (_write_coco, "images"),
}
"""What writes a format, and the folder of its images."""
