"""Pascal VOC and YOLO folders become COCO documents whose boxes cover the same pixels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from siod.data import coco
from siod.data.convert import from_voc, from_yolo
from siod.errors import UserError

VOC = """<annotation><filename>{name}</filename><size><width>9</width><height>9</height></size>{objects}</annotation>"""
OBJECT = (
    "<object><name>{name}</name><difficult>{difficult}</difficult>"
    "<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
)


def voc_object(name: str, x1: object, y1: object, x2: object, y2: object, *, difficult: int = 0) -> str:
    return OBJECT.format(name=name, difficult=difficult, x1=x1, y1=y1, x2=x2, y2=y2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (20, 10)).save(tmp_path / "images" / f"{name}.png")
    return tmp_path


def voc(folder: Path, a: str, b: str = "") -> dict[str, object]:
    for name, objects in (("a", a), ("b", b)):
        (folder / "labels" / f"{name}.xml").write_text(VOC.format(name=f"{name}.png", objects=objects))
    return from_voc(folder / "labels", folder / "images")


def read(document: dict[str, object], folder: Path) -> coco.CocoDataset:
    coco.write(folder / "made.json", document)
    return coco.read(folder / "made.json")


def test_voc_boxes_count_from_one_and_hold_their_last_pixel(folder: Path) -> None:
    dataset = read(voc(folder, voc_object("dog", 1, 1, 20, 10) + voc_object("cat", 3, 4, 5, 6, difficult=1)), folder)
    assert [(image.file_name, image.width, image.height) for image in dataset.images] == [
        ("a.png", 20, 10),
        ("b.png", 20, 10),
    ]
    assert [category.name for category in dataset.categories] == ["cat", "dog"]
    assert dataset.labels.tolist() == [1, 0]
    assert dataset.boxes_xywh.tolist() == [[0, 0, 20, 10], [2, 3, 3, 3]]
    assert dataset.iscrowd.tolist() == [False, True]


def test_yolo_boxes_are_shares_of_the_image(folder: Path) -> None:
    (folder / "labels" / "a.txt").write_text("1 0.5 0.5 0.5 0.4\n\n0 0.95 0.5 0.2 1.0\n")
    document = from_yolo(folder / "labels", folder / "images", ["cat", "dog"])
    dataset = read(document, folder)
    # 20 x 10 px: the first spans x 5 to 15, y 3 to 7; the second x 17 to 21, cut at 20.
    assert dataset.boxes_xywh.tolist() == [[5, 3, 10, 4], [17, 0, 3, 10]]
    assert [dataset.categories[label].name for label in dataset.labels] == ["dog", "cat"]
    assert len(dataset.images) == 2


@pytest.mark.parametrize(
    ("objects", "sentence"),
    [
        ("<object>", "a.xml: is not XML"),
        ("<object><name>cat</name></object>", "a.xml: object 0 lacks bndbox/xmin"),
        (voc_object("cat", "left", 1, 2, 2), "a.xml: object 0 xmin: 'left' is not a finite number"),
        (voc_object("cat", "nan", 1, 2, 2), "a.xml: object 0 xmin: 'nan' is not a finite number"),
        (voc_object("cat", 9, 1, 2, 2), "a.xml: object 0: the box has no area inside its image"),
    ],
)
def test_a_broken_voc_file_is_refused_by_name(folder: Path, objects: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        voc(folder, objects)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("0 1 2", "a.txt: line 1: has 3 fields"),
        ("2 .5 .5 .1 .1", "a.txt: line 1: class '2' is not one of 0 to 1"),
        ("0 x .5 .1 .1", "a.txt: line 1: 'x' is not a finite number"),
        ("0 9 9 .1 .1", "a.txt: line 1: the box has no area inside its image"),
    ],
)
def test_a_broken_yolo_line_is_refused_by_name(folder: Path, line: str, sentence: str) -> None:
    (folder / "labels" / "a.txt").write_text(line)
    with pytest.raises(UserError, match=sentence):
        from_yolo(folder / "labels", folder / "images", ["cat", "dog"])


def test_labels_without_an_image_and_images_that_are_none_are_refused(folder: Path) -> None:
    (folder / "labels" / "c.txt").write_text("")
    with pytest.raises(UserError, match=r"c\.txt: has no image in"):
        from_yolo(folder / "labels", folder / "images", ["cat"])
    (folder / "labels" / "c.txt").unlink()
    (folder / "images" / "b.png").write_bytes(b"none")
    with pytest.raises(UserError, match=r"b\.png: does not open as an image"):
        from_yolo(folder / "labels", folder / "images", ["cat"])


@given(st.text(max_size=60))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_at_all_is_converted_or_refused(folder: Path, text: str) -> None:
    (folder / "labels" / "a.txt").write_text(text, encoding="utf-8", errors="replace")
    try:
        document = from_yolo(folder / "labels", folder / "images", ["cat"])
    except UserError:
        return
    read(json.loads(json.dumps(document)), folder)
