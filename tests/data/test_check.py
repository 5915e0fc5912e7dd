"""The check names every defect once per kind, never stumbles, and what it repairs can be read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from examined import examined, kinds, one_box, repaired
from PIL import Image

from siod.data import coco
from siod.data.checking.check import KINDS, examine
from siod.errors import UserError


def test_a_sound_file_has_no_defects_and_is_repaired_to_itself(document: dict[str, Any], tmp_path: Path) -> None:
    examination = examined(document, tmp_path)
    assert examination.defects == ()
    assert examination.changes == {}
    assert repaired(examination, tmp_path).raw == document


def test_every_defect_is_found_in_one_pass(document: dict[str, Any], tmp_path: Path) -> None:
    sound = document["annotations"][1]
    document["images"] += [
        {"id": 15, "file_name": "one.png", "width": 5, "height": 5},
        {"id": 15, "file_name": "other.png", "width": 5, "height": 5},
        {"id": 11, "file_name": "../up.png", "width": 5, "height": 5},
        {"id": 12, "file_name": "a.png", "width": 5, "height": 5},
        {"id": 13, "file_name": "c.png", "width": 5.5, "height": 5},
        {"id": 14, "width": 5, "height": 5},
        "e.png",
    ]
    document["categories"] += [{"id": 9, "name": "x"}, {"id": 9, "name": "y"}, {"id": 3}, {"id": 4, "name": "cat"}]
    document["annotations"] += [
        {**sound, "id": 100, "bbox": [1, 2, 3]},
        {**sound, "id": 101, "bbox": [1, 2, 3, -4]},
        {**sound, "id": 102, "bbox": [39, 20, 10, 5], "area": 50},
        {**sound, "id": 103, "bbox": [50, 20, 10, 5]},
        {**sound, "id": 104, "image_id": 77},
        {**sound, "id": 105, "category_id": 77},
        {**sound, "id": 3, "bbox": [0, 0, 40, 20], "area": 800},
        {**sound, "id": 106, "area": 5000},
        {**sound, "id": 107, "area": "large", "iscrowd": 2},
        {"id": 108, "image_id": 10, "bbox": [0, 0, 1, 1]},
    ]
    examination = examined(document, tmp_path)
    assert kinds(examination) == {
        "entry-type": 1,
        "key-missing": 2,
        "wrong-type": 4,
        "image-id-twice": 2,
        "category-id-twice": 2,
        "annotation-id-twice": 1,
        "file-name-twice": 1,
        "category-name-twice": 1,
        "category-unnamed": 1,
        "category-unused": 2,
        "path-escape": 1,
        "image-unknown": 1,
        "category-unknown": 1,
        "box-empty": 1,
        "box-outside": 2,
        "area-disagrees": 2,  # also the clipped box
    }
    examples = {defect.kind: defect.examples for defect in examination.defects}
    assert examples["box-empty"] == ("annotations[5] bbox [1, 2, 3, -4]",)
    assert examples["image-unknown"] == ("annotations[8] image_id 77",)
    assert examples["path-escape"] == ("images[4] '../up.png'",)
    mended = repaired(examination, tmp_path)
    assert [image.id for image in mended.images] == [20, 10, 12]
    assert [(category.id, category.name) for category in mended.categories] == [
        (2, "cat"),
        (3, "category 3"),
        (4, "cat"),
        (7, "dog"),
    ]
    assert mended.annotation_ids.tolist() == [5, 3, 4, 9, 102, 1, 106, 107]  # 1 is the first id nobody has
    assert mended.boxes_xywh[4].tolist() == [39, 20, 1, 5]
    assert mended.area[4:].tolist() == [5, 800, 1200, 1200]
    assert mended.iscrowd[-1], "2 is true, as pycocotools reads it"


def test_progress_counts_annotations_where_no_images_are_looked_at(coco_file: Path) -> None:
    told: list[tuple[int, int]] = []
    examine(coco_file, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (4, 4)]


def test_only_the_first_three_of_a_kind_are_shown(document: dict[str, Any], tmp_path: Path) -> None:
    document["annotations"] += [
        {"id": i, "image_id": 99, "category_id": 2, "bbox": [0, 0, 1, 1]} for i in range(50, 60)
    ]
    (defect,) = examined(document, tmp_path).defects
    assert (defect.kind, defect.count, len(defect.examples)) == ("image-unknown", 10, 3)
    assert defect.meaning == KINDS["image-unknown"]


def test_numbers_that_are_not_finite_are_named_and_the_rest_is_kept(document: dict[str, Any], tmp_path: Path) -> None:
    document["annotations"][0]["bbox"][2] = math.nan
    document["annotations"][1]["area"] = math.inf
    document["annotations"][2]["segmentation"] = [[1.0, -math.inf]]
    examination = examined(document, tmp_path)
    assert kinds(examination) == {"not-finite": 3, "wrong-type": 1}
    assert examination.defects[0].examples == (
        "annotations[0].bbox[2]",
        "annotations[1].area",
        "annotations[2].segmentation[0][1]",
    )
    mended = repaired(examination, tmp_path)
    assert mended.annotation_ids.tolist() == [3, 4, 9]
    assert mended.area[0] == 1200


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "not-json"),
        (b"{", "not-json"),
        (b"\xff", "not-json"),
        (b"[" * 100_000, "not-coco"),
        (b'{"a": ' + b"[" * 100_000, "not-json"),
        (b"[]", "not-coco"),
        (b'"a"', "not-coco"),
        (b"3", "not-coco"),
    ],
)
def test_a_file_that_holds_nothing_usable_cannot_be_repaired(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    examination = examine(tmp_path / "x.json")
    assert kinds(examination) == {kind: 1}
    assert examination.repaired is None


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json: No such file"):
        examine(tmp_path / "none.json")


def test_images_are_looked_at_when_their_folder_is_given(document: dict[str, Any], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "b.png")
    Image.new("RGB", (48, 64)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "rotated.jpg", exif=exif)
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    names = {30: "rotated.jpg", 31: "torn.png", 32: "gone.png", 33: "no\0file", 34: "x" * 300}
    document["images"] += [{"id": i, "file_name": name, "width": 8, "height": 8} for i, name in names.items()]
    document["annotations"].append({"id": 50, "image_id": 31, "category_id": 2, "bbox": [0, 0, 1, 1]})
    told: list[tuple[int, int]] = []
    (tmp_path / "x.json").write_text(json.dumps(document))
    examination = examine(tmp_path / "x.json", tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == [(i + 1, 7) for i in range(7)]
    assert kinds(examination) == {"image-missing": 3, "image-unreadable": 1, "image-size": 1, "image-rotated": 1}
    assert examination.changes["annotations dropped with their image"] == 1
    mended = repaired(examination, tmp_path)
    assert {image.id: (image.width, image.height) for image in mended.images} == {
        20: (40, 30),
        10: (48, 64),
        30: (8, 8),
    }
    assert 50 not in mended.annotation_ids


@pytest.mark.parametrize(
    ("field", "written", "meant"),
    [
        ("image_id", 1.0, 1),
        ("image_id", "1", 1),
        ("category_id", " 1 ", 1),
        ("id", "1.0", 1),
        ("bbox", ["1", 2.0, "1e1", 10], [1, 2.0, 10.0, 10]),
        ("area", "100", 100),
        ("iscrowd", 1.0, 1),
        ("iscrowd", "1", 1),
        ("iscrowd", 0.0, 0),
    ],
)
def test_numbers_written_as_text_or_as_floats_are_kept(tmp_path: Path, field: str, written: Any, meant: Any) -> None:
    examination = examined(one_box(**{field: written}), tmp_path)
    assert kinds(examination) == {"number-form": 1}
    assert repaired(examination, tmp_path).raw == one_box(**{field: meant})


@pytest.mark.parametrize(("field", "written"), [("width", 64.0), ("height", "48"), ("id", 1.0)])
def test_numbers_of_images_are_kept_likewise(tmp_path: Path, field: str, written: Any) -> None:
    document = one_box()
    document["images"][0][field] = written
    examination = examined(document, tmp_path)
    assert kinds(examination) == {"number-form": 1}
    assert repaired(examination, tmp_path).raw == one_box()


@pytest.mark.parametrize("written", ["1_000", "0x1", "one", "", "nan", "1" * 400, True, [1], 1.5])
def test_what_is_no_number_without_a_guess_is_none(tmp_path: Path, written: Any) -> None:
    assert kinds(examined(one_box(image_id=written), tmp_path)) == {"wrong-type": 1}


@pytest.mark.parametrize("area", [None, 100])
@pytest.mark.parametrize("crowd", [None, 0])
def test_fields_that_are_null_are_those_that_are_missing(tmp_path: Path, area: Any, crowd: Any) -> None:
    assert examined(one_box(area=area, iscrowd=crowd), tmp_path).defects == ()
    dataset = coco.read(tmp_path / "x.json")
    assert (dataset.area.tolist(), dataset.iscrowd.tolist()) == ([100.0], [False])


@pytest.mark.parametrize("identifier", [None, "abc", 2.5])
def test_an_annotation_without_a_usable_id_is_given_one(tmp_path: Path, identifier: Any) -> None:
    document = one_box()
    document["annotations"].append({**document["annotations"][0], "id": identifier, "bbox": [20, 20, 5, 5], "area": 25})
    mended = repaired(examined(document, tmp_path), tmp_path)
    assert mended.annotation_ids.tolist() == [1, 2]


def test_the_same_annotation_twice_is_one_and_another_of_its_id_is_another(tmp_path: Path) -> None:
    document = one_box()
    annotation = document["annotations"][0]
    document["annotations"] += [dict(annotation), {**annotation, "bbox": [20, 20, 10, 10]}]
    examination = examined(document, tmp_path)
    assert kinds(examination) == {"annotation-twice": 1, "annotation-id-twice": 1}
    mended = repaired(examination, tmp_path)
    assert mended.annotation_ids.tolist() == [1, 2]
    assert mended.boxes_xywh.tolist() == [[1, 2, 10, 10], [20, 20, 10, 10]]


def test_boxes_of_images_that_share_an_id_are_given_to_neither(tmp_path: Path) -> None:
    document = one_box()
    document["images"] += [{**document["images"][0], "file_name": "c.png"}, {**document["images"][0], "id": 2}]
    document["images"][2]["file_name"] = "b.png"
    document["annotations"].append({**document["annotations"][0], "id": 2, "image_id": 2})
    examination = examined(document, tmp_path)
    assert kinds(examination) == {"image-id-twice": 2}
    assert examination.changes["annotations dropped with their image"] == 1
    mended = repaired(examination, tmp_path)
    assert [image.file_name for image in mended.images] == ["b.png"]
    assert mended.annotation_ids.tolist() == [2]


def test_an_image_listed_twice_is_kept_once_with_its_boxes(tmp_path: Path) -> None:
    document = one_box()
    document["images"].append(dict(document["images"][0]))
    document["categories"].append(dict(document["categories"][0]))
    examination = examined(document, tmp_path)
    assert kinds(examination) == {"image-twice": 1, "category-twice": 1}
    assert repaired(examination, tmp_path).raw == one_box()


def test_boxes_of_categories_that_share_an_id_are_given_to_neither(tmp_path: Path) -> None:
    document = one_box()
    document["categories"].append({"id": 1, "name": "y"})
    examination = examined(document, tmp_path)
    assert kinds(examination) == {"category-id-twice": 2}
    assert examination.changes["annotations dropped with their category"] == 1
    assert examination.left == (1, 0)


def test_nothing_is_said_that_only_follows_from_what_was_dropped(tmp_path: Path) -> None:
    document = one_box(bbox=[1, 2, 10, 0])
    assert kinds(examined(document, tmp_path)) == {"box-empty": 1}, "the category has an annotation"
    document = one_box()
    del document["images"][0]["width"]
    assert kinds(examined(document, tmp_path)) == {"key-missing": 1}, "the image is listed"


def test_sizes_that_are_not_stated_are_those_of_the_files(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    document = one_box()
    del document["images"][0]["width"]
    document["images"][0]["height"] = None
    examination = examined(document, tmp_path, tmp_path)
    assert kinds(examination) == {"key-missing": 1}
    assert repaired(examination, tmp_path).raw["images"] == one_box()["images"]


def test_an_area_may_count_the_pixels_that_a_box_touches(tmp_path: Path) -> None:
    # From 33.3 to 44.0 are 11 pixels a side, 121 where the box has 114.49.
    assert examined(one_box(bbox=[33.3, 33.3, 10.7, 10.7], area=121), tmp_path).defects == ()
    assert kinds(examined(one_box(bbox=[33.3, 33.3, 10.7, 10.7], area=145), tmp_path)) == {"area-disagrees": 1}


def test_annotation_0_is_a_remark_and_is_given_another_id(tmp_path: Path) -> None:
    examination = examined(one_box(id=0), tmp_path)
    assert examination.defects == ()
    assert kinds(examination) == {"annotation-id-zero": 1}
    assert repaired(examination, tmp_path).annotation_ids.tolist() == [1]


def rotated(folder: Path, name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (100, 40)).save(folder / name, exif=exif)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    # 100 x 40 stored, 40 x 100 shown, x 10..30 and y 20..90 there. Orientation 6 shows the stored (x, y) at
    # (40 - y, x), 8 at (y, 100 - x), 5 at (y, x), 7 at (40 - y, 100 - x).
    [(6, [20, 10, 70, 20]), (8, [10, 10, 70, 20]), (5, [20, 10, 70, 20]), (7, [10, 10, 70, 20])],
)
def test_a_photo_annotated_as_it_is_shown_is_brought_into_its_stored_frame(
    tmp_path: Path, orientation: int, stored: list[float]
) -> None:
    rotated(tmp_path, "a.jpg", orientation)
    document = one_box(bbox=[10, 20, 20, 70], area=1400, segmentation=[[10, 20, 30, 20, 30, 90]])
    document["images"][0] |= {"file_name": "a.jpg", "width": 40, "height": 100}
    examination = examined(document, tmp_path, tmp_path)
    assert kinds(examination) == {"image-shown-frame": 1}
    (annotation,) = repaired(examination, tmp_path).raw["annotations"]
    assert annotation["bbox"] == stored
    xs, ys = annotation["segmentation"][0][::2], annotation["segmentation"][0][1::2]
    assert [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)] == stored


def test_masks_that_cannot_follow_are_removed_and_told(tmp_path: Path) -> None:
    rotated(tmp_path, "a.jpg", 6)
    document = one_box(bbox=[10, 20, 20, 70], segmentation={"size": [100, 40], "counts": "x"}, keypoints=[1, 2, 2])
    document["images"][0] |= {"file_name": "a.jpg", "width": 40, "height": 100}
    examination = examined(document, tmp_path, tmp_path)
    (annotation,) = repaired(examination, tmp_path).raw["annotations"]
    assert annotation.keys() == {"id", "image_id", "category_id", "bbox", "area", "iscrowd"}
    assert examination.changes["segmentation of annotations removed (cannot be brought into the stored frame)"] == 1


def test_boxes_of_a_larger_photo_are_scaled_to_the_file_they_do_not_fit(tmp_path: Path) -> None:
    Image.new("RGB", (32, 24)).save(tmp_path / "a.png")
    examination = examined(one_box(bbox=[40, 20, 20, 20], area=400), tmp_path, tmp_path)
    assert kinds(examination) == {"image-size": 1}
    mended = repaired(examination, tmp_path)
    assert mended.boxes_xywh.tolist() == [[20, 10, 10, 10]]
    assert mended.area.tolist() == [100]


def test_boxes_that_fit_the_file_stay_where_the_stated_size_is_wrong(tmp_path: Path) -> None:
    Image.new("RGB", (32, 24)).save(tmp_path / "a.png")
    mended = repaired(examined(one_box(), tmp_path, tmp_path), tmp_path)
    assert mended.boxes_xywh.tolist() == [[1, 2, 10, 10]]


@pytest.mark.parametrize(
    ("boxes", "kind"),
    [
        ([[20, 10, 60, 40], [30, 30, 50, 40], [40, 5, 64, 48]], "boxes-as-corners"),
        ([[0.1, 0.2, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 0.25, 0.25]], "boxes-relative"),
    ],
)
def test_boxes_of_another_form_are_named_and_not_cut(tmp_path: Path, boxes: list[list[float]], kind: str) -> None:
    document = one_box()
    sound = document["annotations"][0]
    document["annotations"] = [
        {**sound, "id": place, "bbox": box, "area": None} for place, box in enumerate(boxes, start=1)
    ]
    examination = examined(document, tmp_path)
    assert kind in kinds(examination)
    assert examination.refusal() == f"{KINDS[kind]}; write the file again with x, y, width, height in pixels"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_are_a_defect_and_written_as_utf_8(
    document: dict[str, Any], tmp_path: Path, encoding: str
) -> None:
    document["info"]["title"] = "Köln"
    (tmp_path / "x.json").write_bytes(json.dumps(document, ensure_ascii=False).encode(encoding))
    examination = examine(tmp_path / "x.json")
    assert kinds(examination) == {"not-unicode": 1}
    assert examination.changes == {"text written as UTF-8": 1}
    assert repaired(examination, tmp_path).raw == document


def test_what_readers_cannot_hold_is_found_in_fields_nobody_looks_at(document: dict[str, Any], tmp_path: Path) -> None:
    text = json.dumps(document).replace("2026", "1e999").replace("[[5, 5, 10", "[[5, -1e999, 10").encode()
    (tmp_path / "x.json").write_bytes(text.replace(b"CC0", b"CC\xff").replace(b"animal", b"\\ud800nimal"))
    examination = examine(tmp_path / "x.json")
    assert kinds(examination) == {"not-unicode": 2, "not-finite": 2}
    examples = {defect.kind: defect.examples for defect in examination.defects}
    assert examples["not-finite"] == ("info.year", "annotations[2].segmentation[0][1]")
    mended = repaired(examination, tmp_path).raw
    assert mended["licenses"][0]["name"] == "CC\ufffd"
    assert mended["categories"][1]["supercategory"] == "\ufffdnimal"
    assert mended["annotations"][2]["segmentation"] == [[5, None, 10, 5, 10, 10]]
