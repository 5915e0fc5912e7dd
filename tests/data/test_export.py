"""What is written for other tools comes back with the same boxes, to the rounding of the format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from siod.data import coco
from siod.data.formats.export import export
from siod.data.formats.found import read_sources
from siod.data.formats.layouts import Format
from siod.data.formats.recognise import recognise
from siod.errors import UserError

SIZE = (40, 30)
Box = tuple[float, float, float, float]


def dataset(folder: Path, images: dict[str, list[tuple[str, Box, int]]]) -> coco.CocoDataset:
    """A COCO file of images of 40 x 30 px; each box with its category and whether it is a crowd."""
    names = ["cat", "dog"]
    entries: list[dict[str, Any]] = []
    for place, (name, boxes) in enumerate(images.items(), start=3):
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE, (place, 0, 0)).save(path)
        entries += [
            {"id": number, "image_id": place, "category_id": 10 * (names.index(category) + 1)}
            | {"bbox": list(box), "area": box[2] * box[3], "iscrowd": crowd}
            for number, (category, box, crowd) in enumerate(boxes, start=len(entries) + 1)
        ]
    records = [
        {"id": place, "file_name": name, "width": SIZE[0], "height": SIZE[1], "mine": 1}
        for place, name in enumerate(images, start=3)
    ]
    categories = [{"id": 10 * number, "name": name} for number, name in enumerate(names, start=1)]
    path = folder / "instances_val.json"
    path.write_text(json.dumps({"images": records, "annotations": entries, "categories": categories}))
    return coco.read(path)


def back(folder: Path) -> dict[str, list[tuple[str, Box, int]]]:
    """What import reads of a folder, image by image."""
    joined = read_sources([recognise(folder)]).joined
    names = {entry["id"]: entry["name"] for entry in joined.categories}
    images: dict[int, tuple[str, list[tuple[str, Box, int]]]] = {
        entry["id"]: (entry["file_name"], []) for entry in joined.images
    }
    for entry in joined.annotations:
        box = (entry["bbox"][0], entry["bbox"][1], entry["bbox"][2], entry["bbox"][3])
        images[entry["image_id"]][1].append((names[entry["category_id"]], box, int(entry.get("iscrowd", 0))))
    return dict(images.values())


TWO: dict[str, list[tuple[str, Box, int]]] = {
    "a.png": [("cat", (0, 0, 40, 30), 0), ("dog", (3, 4, 5, 6), 1), ("cat", (39, 29, 1, 1), 0)],
    "below/b.jpg": [],
}


def test_voc_holds_whole_pixels_crowds_and_empty_images(tmp_path: Path) -> None:
    made = export("voc", dataset(tmp_path, TWO), tmp_path / "images", tmp_path / "out")
    assert (made.images, made.boxes, made.remarks) == (2, 3, ())
    root = ET.parse(tmp_path / "out" / "Annotations" / "a.xml").getroot()  # noqa: S314  (our own file)
    corners = [[int(side.text or "") for side in box] for box in root.iter("bndbox")]
    # Pixels are counted from 1 and the last one is inside.
    assert corners == [[1, 1, 40, 30], [4, 5, 8, 10], [40, 30, 40, 30]]
    assert [entry.findtext("difficult") for entry in root.iter("object")] == ["0", "1", "0"]
    assert (tmp_path / "out" / "ImageSets" / "Main" / "val.txt").read_text() == "a\nbelow/b\n"
    assert back(tmp_path / "out") == TWO


def test_yolo_holds_shares_and_no_crowds(tmp_path: Path) -> None:
    made = export("yolo", dataset(tmp_path, TWO), tmp_path / "images", tmp_path / "out")
    assert (made.images, made.boxes) == (2, 2)
    assert made.remarks == ("1 crowds were left out, which YOLO cannot tell from objects",)
    assert (tmp_path / "out" / "labels" / "a.txt").read_text().splitlines()[0] == "0 0.5 0.5 1 1"
    assert yaml.safe_load((tmp_path / "out" / "data.yaml").read_text()) == {
        "val": "images",
        "names": {0: "cat", 1: "dog"},
    }
    assert back(tmp_path / "out") == TWO | {"a.png": [TWO["a.png"][0], TWO["a.png"][2]]}


def test_plain_coco_holds_what_coco_defines_and_nothing_else(tmp_path: Path) -> None:
    export("coco", dataset(tmp_path, TWO), tmp_path / "images", tmp_path / "out", link=True)
    document = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert document["images"][0] == {"id": 3, "file_name": "a.png", "width": 40, "height": 30}
    assert set(document["annotations"][0]) == {
        "id",
        "image_id",
        "category_id",
        "bbox",
        "area",
        "iscrowd",
        "segmentation",
    }
    assert (tmp_path / "out" / "images" / "below" / "b.jpg").is_symlink()
    assert back(tmp_path / "out") == TWO


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x, y = draw(st.floats(0, 38)), draw(st.floats(0, 28))
    return x, y, draw(st.floats(1.0, 40 - x)), draw(st.floats(1.0, 30 - y))


@given(box=boxes(), crowd=st.integers(0, 1), format_=st.sampled_from(["voc", "yolo", "coco"]))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_box_comes_back_to_the_rounding_of_the_format(
    tmp_path_factory: pytest.TempPathFactory, box: Box, crowd: int, format_: Format
) -> None:
    folder = tmp_path_factory.mktemp("set")
    images: dict[str, list[tuple[str, Box, int]]] = {"a.png": [("dog", box, crowd), ("cat", (1, 1, 30, 20), 0)]}
    export(format_, dataset(folder, images), folder / "images", folder / "out")
    found = back(folder / "out")["a.png"]
    if format_ == "yolo" and crowd:
        assert [category for category, _, _ in found] == ["cat"]
        return
    (category, returned, is_crowd), _ = found
    assert (category, is_crowd) == ("dog", crowd)
    edges = [(x, y, x + width, y + height) for x, y, width, height in (box, returned)]
    # Half a pixel at each edge where pixels are whole; a box keeps one pixel, so an edge may move a little more.
    worst = {"voc": 1.0, "yolo": 2e-4, "coco": 0.0}[format_]
    assert max(abs(a - b) for a, b in zip(*edges, strict=True)) <= worst


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["voc", "yolo"])
def test_a_photo_that_asks_to_be_turned_comes_back_alike(tmp_path: Path, orientation: int, format_: Format) -> None:
    source = dataset(tmp_path, {"a.jpg": [("cat", (3, 4, 5, 6), 0)]})
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", SIZE).save(tmp_path / "images" / "a.jpg", exif=exif)
    export(format_, source, tmp_path / "images", tmp_path / "out")
    ((_, box, _),) = back(tmp_path / "out")["a.jpg"]
    assert box == pytest.approx((3, 4, 5, 6), abs=1e-4)


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    source = dataset(tmp_path, {"a.png": [("cat", (3, 4, 5, 6), 0)], "a.jpg": []})
    with pytest.raises(UserError, match=r"a\.png and a\.jpg would share one annotation file"):
        export("voc", source, tmp_path / "images", tmp_path / "out")
    (tmp_path / "images" / "a.jpg").unlink()
    with pytest.raises(UserError, match=r"a\.jpg: no such image"):
        export("coco", source, tmp_path / "images", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"images", "instances_val.json"}
