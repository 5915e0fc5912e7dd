"""Pascal VOC and YOLO folders become COCO documents whose boxes cover the same pixels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from siod.data import coco
from siod.data.formats.convert import Conversion
from siod.data.formats.voc import from_voc
from siod.data.formats.yolo import from_yolo, read_names
from siod.errors import UserError

VOC = """<annotation><filename>{name}</filename><size>{size}</size>{objects}</annotation>"""
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


def voc_file(folder: Path, name: str, objects: str, size: tuple[int, int] | None = (20, 10)) -> None:
    stated = "" if size is None else f"<width>{size[0]}</width><height>{size[1]}</height>"
    text = VOC.format(name=name, size=stated, objects=objects)
    (folder / "labels" / Path(name).with_suffix(".xml")).write_text(text)


def voc(folder: Path, a: str, b: str = "") -> Conversion:
    voc_file(folder, "a.png", a)
    voc_file(folder, "b.png", b)
    return from_voc(folder / "labels", folder / "images")


def read(made: Conversion, folder: Path) -> coco.CocoDataset:
    coco.write(folder / "made.json", made.document)
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
    dataset = read(from_yolo(folder / "labels", folder / "images", ["cat", "dog"]), folder)
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
        made = from_yolo(folder / "labels", folder / "images", ["cat"])
    except UserError:
        return
    json.dumps(made.document)
    read(made, folder)


def test_a_voc_folder_with_a_minimum_of_zero_is_counted_from_zero(folder: Path) -> None:
    made = voc(folder, voc_object("cat", 0, 1, 10, 9), voc_object("cat", 3, 3, 6, 6))
    # The whole folder: the second file by itself would not show it.
    assert read(made, folder).boxes_xywh.tolist() == [[0, 1, 10, 8], [3, 3, 3, 3]]
    assert made.remarks[0].startswith("pixels are counted from 0: 1 of 2 files have a minimum below 1")


def test_a_voc_folder_of_fractions_is_counted_from_zero_and_one_with_a_few_is_not(folder: Path) -> None:
    fraction, whole = voc_object("cat", 2.5, 2, 7, 9), voc_object("cat", 3, 3, 6, 6)
    assert read(voc(folder, fraction, fraction), folder).boxes_xywh.tolist() == [[2.5, 2, 4.5, 7]] * 2
    assert read(voc(folder, fraction, whole), folder).boxes_xywh.tolist() == [[1.5, 1, 5.5, 8], [2, 2, 4, 4]]


def test_the_first_pixel_may_be_stated(folder: Path) -> None:
    voc(folder, voc_object("cat", 0, 1, 10, 9))
    made = from_voc(folder / "labels", folder / "images", first_pixel="1")
    assert read(made, folder).boxes_xywh.tolist() == [[0, 0, 10, 9]]
    assert made.remarks == ()
    voc(folder, voc_object("cat", 3, 3, 6, 6))
    made = from_voc(folder / "labels", folder / "images", first_pixel="0")
    assert read(made, folder).boxes_xywh.tolist() == [[3, 3, 3, 3]]


def test_a_voc_size_that_is_not_the_images_is_refused(folder: Path) -> None:
    voc_file(folder, "a.png", voc_object("cat", 3, 3, 6, 6), size=(40, 20))
    with pytest.raises(UserError, match=r"a\.xml: <size> is 40 x 20 but a\.png has 20 x 10 pixels"):
        from_voc(folder / "labels", folder / "images")


@pytest.mark.parametrize("size", [None, (0, 0)])
def test_a_voc_size_that_states_nothing_is_passed_over(folder: Path, size: tuple[int, int] | None) -> None:
    voc_file(folder, "a.png", voc_object("cat", 3, 3, 6, 6), size=size)
    made = from_voc(folder / "labels", folder / "images")
    assert read(made, folder).boxes_xywh.tolist() == [[2, 2, 4, 4]]


def phone_photo(folder: Path, orientation: int = 6) -> None:
    """100 x 40 stored, 40 x 100 shown; orientation 6 shows the stored (x, y) at (40 - y, x)."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (100, 40)).save(folder / "images" / "p.jpg", exif=exif)


def test_a_voc_file_of_a_photo_as_it_is_shown_is_brought_into_the_stored_frame(folder: Path) -> None:
    phone_photo(folder)
    # Shown x 10 to 30, y 20 to 90: stored x 20 to 90, y 10 to 30.
    voc_file(folder, "p.jpg", voc_object("cat", 11, 21, 30, 90), size=(40, 100))
    made = from_voc(folder / "labels", folder / "images")
    assert read(made, folder).boxes_xywh.tolist() == [[20, 10, 70, 20]]
    assert made.document["images"][0]["width"] == 100
    voc_file(folder, "p.jpg", voc_object("cat", 21, 11, 90, 30), size=(100, 40))
    made = from_voc(folder / "labels", folder / "images")
    assert read(made, folder).boxes_xywh.tolist() == [[20, 10, 70, 20]]
    voc_file(folder, "p.jpg", voc_object("cat", 21, 11, 90, 30), size=None)
    with pytest.raises(UserError, match=r"p\.jpg asks to be rotated \(EXIF\) and no <size> tells which way"):
        from_voc(folder / "labels", folder / "images")


def test_a_yolo_file_of_a_photo_as_it_is_shown_is_brought_into_the_stored_frame(folder: Path) -> None:
    phone_photo(folder)
    # Shown x 10 to 30 of 40, y 20 to 90 of 100.
    (folder / "labels" / "p.txt").write_text("0 0.5 0.55 0.5 0.7")
    made = from_yolo(folder / "labels", folder / "images", ["cat"])
    assert read(made, folder).boxes_xywh.tolist() == [[20, 10, 70, 20]]
    assert made.remarks == ("1 photos ask to be rotated (EXIF); their labels were read as the photo is shown",)


def test_boxes_without_area_are_left_out_where_that_is_wanted(folder: Path) -> None:
    voc_file(folder, "a.png", voc_object("cat", 5, 5, 4, 9) + voc_object("cat", 3, 3, 6, 6))
    made = from_voc(folder / "labels", folder / "images", defects="repair")
    assert read(made, folder).boxes_xywh.tolist() == [[2, 2, 4, 4]]
    where = folder / "labels" / "a.xml"
    assert made.remarks == (f"1 boxes without area inside their image were left out ({where}: object 0)",)
    (folder / "labels" / "a.txt").write_text("0 .5 .5 0 .1")
    assert from_yolo(folder / "labels", folder / "images", ["cat"], defects="repair").document["annotations"] == []


def test_images_that_do_not_open_are_left_out_by_name_where_that_is_wanted(folder: Path) -> None:
    voc_file(folder, "a.png", voc_object("cat", 3, 3, 6, 6))
    voc_file(folder, "b.png", voc_object("cat", 3, 3, 6, 6))
    (folder / "images" / "b.png").write_bytes(b"none")
    with pytest.raises(UserError, match=r"b\.png: does not open as an image"):
        from_voc(folder / "labels", folder / "images")
    made = from_voc(folder / "labels", folder / "images", defects="repair")
    assert [image["file_name"] for image in made.document["images"]] == ["a.png"]
    broken = folder / "images" / "b.png"
    told = f"1 images that cannot be used were left out ({broken}: does not open as an image)"
    assert made.remarks == (told,)
    made = from_yolo(folder / "labels", folder / "images", ["cat"], defects="repair")
    assert [image["file_name"] for image in made.document["images"]] == ["a.png"]
    assert made.remarks == (told,)


def test_a_voc_file_that_names_no_image_means_the_one_of_its_own_name(folder: Path) -> None:
    voc_file(folder, "a.png", voc_object("cat", 3, 3, 6, 6))
    path = folder / "labels" / "a.xml"
    path.write_text(path.read_text().replace("a.png", "IMG_0001"))
    made = from_voc(folder / "labels", folder / "images")
    assert [image["file_name"] for image in made.document["images"]] == ["a.png"]
    assert made.remarks == ("1 files name an image that is not there; the image of the file's own name was taken",)


def test_yolo_labels_of_folders_below_are_those_of_the_images_there(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / "images" / name).mkdir()
        (folder / "labels" / name).mkdir()
        Image.new("RGB", (20, 10)).save(folder / "images" / name / "x.png")
    (folder / "labels" / "one" / "x.txt").write_text("0 .5 .5 .1 .2")
    made = from_yolo(folder / "labels", folder / "images", ["cat"])
    assert [image["file_name"] for image in made.document["images"]] == ["a.png", "b.png", "one/x.png", "two/x.png"]
    assert [entry["image_id"] for entry in made.document["annotations"]] == [3]


def test_yolo_classes_may_be_floats_and_files_may_begin_with_a_byte_order_mark(folder: Path) -> None:
    (folder / "labels" / "a.txt").write_bytes(b"\xef\xbb\xbf1.0000 .5 .5 .1 .2\n")
    made = from_yolo(folder / "labels", folder / "images", ["cat", "dog"])
    assert [entry["category_id"] for entry in made.document["annotations"]] == [2]


def test_a_yolo_polygon_becomes_its_box(folder: Path) -> None:
    (folder / "labels" / "a.txt").write_text("0 .1 .2 .5 .2 .4 .9\n")
    made = from_yolo(folder / "labels", folder / "images", ["cat"])
    assert made.document["annotations"][0]["bbox"] == [2, 2, 8, 7]
    assert made.remarks == ("1 polygons became their boxes",)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("classes.txt", b"cat\ndog\n"),
        ("classes.txt", b"\xef\xbb\xbfcat\r\ndog\r\n"),
        ("data.yaml", b"train: ../train/images\nnc: 2\nnames: ['cat', 'dog']\n"),
        ("data.yaml", b"names:\n- cat\n- dog\n"),
        ("data.yml", b"names:\n  1: dog\n  0: cat\n"),
    ],
)
def test_names_are_read_from_text_and_from_data_yaml(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_names(tmp_path / name) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"nc: 2\n", "has no list 'names'"),
        (b"names: {0: cat, 2: dog}\n", r"classes are \[0, 2\]; number them from 0 without a gap"),
        (b"names: [cat\n", "is not YAML"),
    ],
)
def test_a_data_yaml_without_names_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "data.yaml").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        read_names(tmp_path / "data.yaml")
