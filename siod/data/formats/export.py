"""A COCO file and its images as the folder of another format: Pascal VOC, YOLO, or plain COCO.

What comes back through ``siod data import`` are the same boxes, to the rounding of the format: whole pixels in VOC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import yaml

from siod.data import coco
from siod.data.formats.convert import read_image_frame
from siod.data.formats.image_folder import atomic_folder, place
from siod.data.formats.layouts import split_of_file
from siod.errors import UserError
from siod.picture import box_in_shown, shown_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
        refuse_shared_stems(dataset)
    for record in dataset.images:
        if not (images / record.file_name).is_file():
            raise UserError(f"{images / record.file_name}: no such image; name the folder of the images")
    with atomic_folder(out) as folder:
        (folder / folder_name).mkdir()
        made = writer(dataset, images, folder)
        for record in dataset.images:
            place(images / record.file_name, folder / folder_name / record.file_name, link=link)
    return made


def refuse_shared_stems(dataset: coco.CocoDataset) -> None:
    """Refuse images that differ in their suffix alone: VOC and YOLO name annotations by the image without it.

    Raises:
        UserError: Names the first two.
    """
    owners: dict[PurePosixPath, coco.ImageRecord] = {}
    for record in dataset.images:
        owner = owners.setdefault(PurePosixPath(record.file_name).with_suffix(""), record)
        if owner is not record:
            names = f"{owner.file_name} and {record.file_name}"
            raise UserError(f"{dataset.path}: {names} would share one annotation file; rename one of them")


def _write_voc(dataset: coco.CocoDataset, _images: Path, folder: Path) -> Exported:
    """XML files that count pixels from 1 and hold the last one; crowds are difficult objects."""
    names = [category.name for category in dataset.categories]
    boxes = dataset.boxes_xyxy
    for index, record in enumerate(dataset.images):
        objects = (
            voc_object(names[dataset.labels[row]], boxes[row].tolist(), record, difficult=bool(dataset.iscrowd[row]))
            for row in dataset.rows_of_image(index)
        )
        write_voc_file(folder, record, objects)
    split = split_of_file(dataset.path.name.split(".")[0])
    if split is not None:
        write_voc_list(folder, split, dataset.images)
    return Exported(len(dataset.images), len(dataset.annotation_ids))


def write_voc_file(folder: Path, record: coco.ImageRecord, objects: Iterable[str]) -> None:
    """Write ``Annotations/NAME.xml`` of one image.

    Args:
        folder: Of the Pascal VOC data set.
        record: The image.
        objects: Each by :func:`voc_object`.
    """
    text = (
        f"<annotation>\n  <folder>JPEGImages</folder>\n  <filename>{escape(record.file_name)}</filename>\n"
        f"  <size>\n    <width>{record.width}</width>\n    <height>{record.height}</height>\n"
        "    <depth>3</depth>\n  </size>\n  <segmented>0</segmented>\n"
    )
    path = folder / "Annotations" / PurePosixPath(record.file_name).with_suffix(".xml")
    write_text(path, "".join((text, *objects, "</annotation>\n")))


def write_voc_list(folder: Path, split: str, images: Iterable[coco.ImageRecord]) -> None:
    """Write the list of the images of a split, by their names without suffix."""
    stems = (PurePosixPath(record.file_name).with_suffix("") for record in images)
    write_text(folder / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{stem}\n" for stem in stems))


def voc_object(
    name: str,
    corners: Sequence[float],
    image: coco.ImageRecord,
    *,
    difficult: bool,
    attributes: Mapping[str, str] | None = None,
) -> str:
    """An object of a Pascal VOC file, which counts pixels from 1 and holds the last one.

    Args:
        name: Of its category.
        corners: x1, y1, x2, y2 in pixels, cut at the image's edges.
        image: That it lies in.
        difficult: Whether it is a crowd.
        attributes: What datumaro and CVAT read as attributes, and other readers pass over.
    """
    x1, y1, x2, y2 = _voc_corners(corners, (image.width, image.height))
    more = "".join(
        f"      <attribute>\n        <name>{escape(key)}</name>\n        <value>{escape(value)}</value>\n"
        "      </attribute>\n"
        for key, value in (attributes or {}).items()
    )
    return (
        f"  <object>\n    <name>{escape(name)}</name>\n    <pose>Unspecified</pose>\n    <truncated>0</truncated>\n"
        f"    <difficult>{int(difficult)}</difficult>\n    <bndbox>\n      <xmin>{x1}</xmin>\n"
        f"      <ymin>{y1}</ymin>\n      <xmax>{x2}</xmax>\n      <ymax>{y2}</ymax>\n    </bndbox>\n"
        + (f"    <attributes>\n{more}    </attributes>\n" if more else "")
        + "  </object>\n"
    )


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
            lines.append(yolo_line(int(dataset.labels[row]), corners, shown_size(size, orientation)))
        write_yolo_file(folder / "labels", record, lines)
    write_yolo_description(folder, dataset)
    crowds = int(dataset.iscrowd.sum())
    remarks = (f"{crowds} crowds were left out, which YOLO cannot tell from objects",) if crowds else ()
    return Exported(len(dataset.images), len(dataset.iscrowd) - crowds, remarks)


def write_yolo_file(labels: Path, record: coco.ImageRecord, lines: Iterable[str]) -> None:
    """Write the label file of one image.

    Args:
        labels: Folder of the label files.
        record: The image.
        lines: Each by :func:`yolo_line`.
    """
    path = labels / PurePosixPath(record.file_name).with_suffix(".txt")
    write_text(path, "".join(f"{line}\n" for line in lines))


def write_yolo_description(folder: Path, dataset: coco.CocoDataset) -> None:
    """Write ``data.yaml``, which names the classes in the order of the categories' ids."""
    split = split_of_file(dataset.path.name.split(".")[0]) or "train"
    described = {split: "images", "names": dict(enumerate(category.name for category in dataset.categories))}
    write_text(folder / "data.yaml", yaml.safe_dump(described, allow_unicode=True, sort_keys=False))


def yolo_line(label: int, corners: Sequence[float], size: tuple[int, int], score: float | None = None) -> str:
    """A line of a label file.

    Args:
        label: The class.
        corners: x1, y1, x2, y2 in pixels of the photo as it is shown.
        size: Width and height of the photo as it is shown.
        score: Stands last, as in the files that YOLO tools write of what they detect; None for an annotation.

    Example:
        >>> yolo_line(2, (5, 3, 15, 7), (20, 10), 0.75)
        '2 0.5 0.5 0.5 0.4 0.75'
    """
    return f"{label} {_shares(corners, size)}{'' if score is None else f' {score:.6g}'}"


def _shares(corners: Sequence[float], size: tuple[int, int]) -> str:
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


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


Writer = Callable[[coco.CocoDataset, Path, Path], Exported]
WRITERS: dict[str, tuple[Writer, str]] = {
    "voc": (_write_voc, "JPEGImages"),
    "yolo": (_write_yolo, "images"),
    "coco": (_write_coco, "images"),
}
"""What writes a format, and the folder of its images."""
