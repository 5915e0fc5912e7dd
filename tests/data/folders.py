"""Folders as other tools leave them, and what importing makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from siod.data import coco
from siod.data.formats.convert import Defects
from siod.data.formats.found import Found, read_sources
from siod.data.formats.importing import Imported, ImportRequest, import_found
from siod.data.formats.recognise import recognise

OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
Corners = tuple[int, int, int, int]


def picture(path: Path, shade: int = 0, size: tuple[int, int] = (20, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 0, 0)).save(path)


def voc(root: Path, name: str, *objects: tuple[str, Corners], shade: int = 0) -> None:
    """An image of 20 x 10 px and its XML file below Annotations and JPEGImages."""
    picture(root / "JPEGImages" / f"{name}.png", shade)
    (root / "Annotations").mkdir(exist_ok=True)
    boxes = "".join(OBJECT.format(category, *corners) for category, corners in objects)
    text = f"<annotation><filename>{name}.png</filename>{boxes}</annotation>"
    (root / "Annotations" / f"{name}.xml").write_text(text)


def ten_cells(root: Path) -> Path:
    """Images c0 to c9 of different shades: each has a red cell, every second one a white one besides."""
    for number in range(10):
        objects: list[tuple[str, Corners]] = [("red", (1, 1, 4, 4))]
        objects += [("white", (6, 2, 15, 9))] if number % 2 else []
        voc(root, f"c{number}", *objects, shade=number)
    return root


def lists(root: Path, **splits: list[str]) -> None:
    folder = root / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    for split, names in splits.items():
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))


def yolo(folder: Path, name: str, *lines: str, shade: int = 0) -> None:
    picture(folder / "images" / f"{name}.png", shade)
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / f"{name}.txt").write_text("\n".join(lines))


def coco_file(path: Path, names: dict[str, list[list[float]]], categories: list[dict[str, Any]] | None = None) -> None:
    """A COCO file, in which each image has boxes of its first category; ids count from 0, as several tools write."""
    categories = categories or [{"id": 0, "name": "cat"}]
    images = [
        {"id": place, "file_name": name, "width": 20, "height": 10, "made": "by hand"}
        for place, name in enumerate(names)
    ]
    boxes = [(place, box) for place, boxes in enumerate(names.values()) for box in boxes]
    annotations = [
        {"id": number, "image_id": place, "category_id": categories[-1]["id"], "bbox": box, "score": 0.5}
        for number, (place, box) in enumerate(boxes)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def found_in(*sources: Path, defects: Defects = "repair") -> Found:
    return read_sources([recognise(source) for source in sources], defects)


def imported(out: Path, *sources: Path, **request: Any) -> Imported:
    found = read_sources([recognise(source) for source in sources], unlisted=request.get("anew", False))
    return import_found(found, ImportRequest(out=out, **request))


def written(out: Path, split: str) -> coco.CocoDataset:
    return coco.read(out / "annotations" / f"instances_{split}.json")


def roboflow(root: Path) -> None:
    """The group 'pets' above all categories, which no box has; one image has no box, one a box past its edge."""
    categories = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "pets"},
    ]
    boxes: list[list[float]] = [[1, 2, 3, 4]]
    for number, split in enumerate(("train", "valid", "test")):
        for place, name in enumerate(("a.png", "b.png")):
            picture(root / split / name, 10 * number + place)
        names = {"a.png": boxes, "b.png": [] if split == "test" else [[5.5, 5, 5, 5]]}
        coco_file(root / split / "_annotations.coco.json", names, categories)
