"""The check names every defect once per kind, never stumbles, and what it repairs can be read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from siod.data import coco
from siod.data.check import KINDS, Examination, examine
from siod.errors import UserError


def examined(document: Any, folder: Path, images: Path | None = None) -> Examination:
    (folder / "x.json").write_text(json.dumps(document))
    return examine(folder / "x.json", images)


def kinds(examination: Examination) -> dict[str, int]:
    return {defect.kind: defect.count for defect in examination.defects}


def repaired(examination: Examination, folder: Path) -> coco.CocoDataset:
    assert examination.repaired is not None
    coco.write(folder / "repaired.json", examination.repaired)
    return coco.read(folder / "repaired.json")


def test_a_sound_file_has_no_defects_and_is_repaired_to_itself(document: dict[str, Any], tmp_path: Path) -> None:
    examination = examined(document, tmp_path)
    assert examination.defects == ()
    assert examination.changes == {}
    assert repaired(examination, tmp_path).raw == document


def test_every_defect_is_found_in_one_pass(document: dict[str, Any], tmp_path: Path) -> None:
    sound = document["annotations"][1]
    document["images"] += [
        {"id": 10, "file_name": "again.png", "width": 5, "height": 5},
        {"id": 11, "file_name": "../up.png", "width": 5, "height": 5},
        {"id": 12, "file_name": "a.png", "width": 5, "height": 5},
        {"id": 13, "file_name": "c.png", "width": 5.5, "height": 5},
        {"id": 14, "width": 5, "height": 5},
        "e.png",
    ]
    document["categories"] += [{"id": 2, "name": "other"}, {"id": 3}, {"id": 4, "name": "cat"}]
    document["annotations"] += [
        {**sound, "id": 100, "bbox": [1, 2, 3]},
        {**sound, "id": 101, "bbox": [1, 2, 3, -4]},
        {**sound, "id": 102, "bbox": [39, 20, 10, 5], "area": 50},
        {**sound, "id": 103, "bbox": [50, 20, 10, 5]},
        {**sound, "id": 104, "image_id": 77},
        {**sound, "id": 105, "category_id": 77},
        {**sound, "id": 3},
        {**sound, "id": 106, "area": 5000},
        {**sound, "id": 107, "area": "large", "iscrowd": 2},
        {"id": 108, "image_id": 10, "bbox": [0, 0, 1, 1]},
    ]
    examination = examined(document, tmp_path)
    assert kinds(examination) == {
        "entry-type": 1,
        "key-missing": 2,
        "wrong-type": 4,
        "image-id-twice": 1,
        "category-id-twice": 1,
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
    assert examples["path-escape"] == ("images[3] '../up.png'",)
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
    assert mended.area[4:].tolist() == [5, 1200, 1200, 1200]
    assert not mended.iscrowd[-1]


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
    assert kinds(examination) == {"not-finite": 3, "wrong-type": 2, "category-unused": 1}
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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
SMALL_ID = st.integers(0, 3) | JSON
NUMBER = st.integers(-5, 30) | st.floats() | JSON


def entries(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.fixed_dictionaries({}, optional=fields) | JSON, max_size=6) | JSON


ALMOST_COCO = st.fixed_dictionaries(
    {},
    optional={
        "info": JSON,
        "images": entries(
            id=SMALL_ID, file_name=st.sampled_from(["a.png", "../b.png", "/c"]) | JSON, width=NUMBER, height=NUMBER
        ),
        "categories": entries(id=SMALL_ID, name=st.sampled_from(["cat", "dog"]) | JSON),
        "annotations": entries(
            id=SMALL_ID,
            image_id=SMALL_ID,
            category_id=SMALL_ID,
            bbox=st.lists(NUMBER, min_size=4, max_size=4) | JSON,
            area=NUMBER,
            iscrowd=st.integers(0, 1) | JSON,
        ),
    },
)


@given(ALMOST_COCO)
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_whatever_is_broken_is_found_and_what_is_repaired_is_sound(tmp_path: Path, document: Any) -> None:
    examination = examined(document, tmp_path, tmp_path / "no images here")
    assert all(defect.count >= len(defect.examples) >= 1 for defect in examination.defects)
    without_images = examined(document, tmp_path)
    mended = repaired(without_images, tmp_path)
    left = kinds(examine(tmp_path / "repaired.json"))
    assert left.keys() <= {"category-unused", "file-name-twice", "category-name-twice"}, "only what is lawful is left"
    if not without_images.changes and "section-missing" not in kinds(without_images):
        assert coco.read(tmp_path / "x.json").annotation_ids.tolist() == mended.annotation_ids.tolist()


@given(ALMOST_COCO)
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_what_reading_refuses_the_check_explains(tmp_path: Path, document: Any) -> None:
    found = kinds(examined(document, tmp_path))
    try:
        coco.read(tmp_path / "x.json")
    except UserError:
        assert found


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_at_all_are_reported_not_raised(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert examine(tmp_path / "x.json").defects


SCRAPS = [
    b"\xff",
    b"\xc3",
    b"\\ud800",
    b"1e999",
    b"9" * 5000,
    b"NaN",
    b"[" * 600,
    b"]",
    b"{",
    b",",
    b'"',
    b"-",
    b"0",
    b"\0",
]
MUTATION = st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(SCRAPS) | st.binary(max_size=3))


@given(changes=st.lists(MUTATION, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_damaged_anywhere_is_examined_and_what_is_repaired_is_sound(
    document: dict[str, Any], tmp_path: Path, changes: list[tuple[float, int, bytes]]
) -> None:
    content = json.dumps(document).encode()
    for share, cut, scrap in changes:
        place = int(share * len(content))
        content = content[:place] + scrap + content[place + cut :]
    (tmp_path / "x.json").write_bytes(content)
    examination = examine(tmp_path / "x.json")
    try:
        coco.read(tmp_path / "x.json")
    except UserError:
        assert examination.defects
    if examination.repaired is not None:
        repaired(examination, tmp_path)
        json.loads((tmp_path / "repaired.json").read_bytes())
