"""Reading keeps everything, refuses what is broken in one sentence, and writing is whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from siod.data import coco
from siod.data.json_text import SLICES
from siod.errors import UserError

Document = dict[str, Any]


def test_columns_follow_the_file_and_labels_follow_category_ids(coco_file: Path) -> None:
    dataset = coco.read(coco_file)
    assert [(image.id, image.file_name) for image in dataset.images] == [(20, "b.png"), (10, "a.png")]
    assert [(category.id, category.name) for category in dataset.categories] == [(2, "cat"), (7, "dog")]
    assert dataset.annotation_ids.tolist() == [5, 3, 4, 9]
    assert dataset.image_index.tolist() == [1, 0, 0, 0]
    assert dataset.labels.tolist() == [1, 0, 0, 0]
    assert dataset.boxes_xywh[0].tolist() == [1, 2, 10, 20]
    assert dataset.boxes_xyxy[0].tolist() == [1, 2, 11, 22]
    assert dataset.iscrowd.tolist() == [False, False, False, True]
    assert dataset.sha256 == hashlib.sha256(coco_file.read_bytes()).hexdigest()


def test_a_missing_area_is_that_of_the_box(coco_file: Path) -> None:
    assert coco.read(coco_file).area.tolist() == [150.5, 1200, 25, 400]


def test_rows_of_an_image_keep_the_order_of_the_file(coco_file: Path) -> None:
    dataset = coco.read(coco_file)
    assert dataset.rows_of_image(0).tolist() == [1, 2, 3]
    assert dataset.rows_of_image(1).tolist() == [0]


def test_an_image_without_annotations_has_no_rows(document: Document, tmp_path: Path) -> None:
    document["images"].insert(1, {"id": 1, "file_name": "c.png", "width": 4, "height": 4})
    dataset = coco.read(written(tmp_path, document))
    assert dataset.rows_of_image(1).tolist() == []
    assert dataset.rows_of_image(2).tolist() == [0]


def test_unknown_fields_survive(coco_file: Path, document: Document) -> None:
    assert coco.read(coco_file).raw == document


def test_undecoded_records_are_written_byte_for_byte(coco_file: Path, document: Document, tmp_path: Path) -> None:
    dataset = coco.read(coco_file)
    coco.write(tmp_path / "copy.json", {**dataset.sections, "annotations": dataset.annotation_records()})
    assert json.loads((tmp_path / "copy.json").read_text()) == document


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 2),
            st.floats(0, 50, allow_nan=False),
            st.floats(0, 50, allow_nan=False),
            st.floats(0.01, 50),
            st.floats(0.01, 50),
        ),
        max_size=30,
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_back(tmp_path: Path, rows: list[tuple[int, int, float, float, float, float]]) -> None:
    document = {
        "images": [{"id": 10 - i, "file_name": f"{i}.png", "width": 100, "height": 100} for i in range(4)],
        "categories": [{"id": 30 - i, "name": str(i)} for i in range(3)],
        "annotations": [
            {"id": number, "image_id": 10 - image, "category_id": 30 - category, "bbox": box}
            for number, (image, category, *box) in enumerate(rows)
        ],
    }
    coco.write(tmp_path / "x.json", document)
    dataset = coco.read(tmp_path / "x.json")
    assert dataset.image_index.tolist() == [row[0] for row in rows]
    assert dataset.labels.tolist() == [2 - row[1] for row in rows]
    np.testing.assert_array_equal(dataset.boxes_xywh, np.array([row[2:] for row in rows]).reshape(-1, 4))
    assert [len(dataset.rows_of_image(i)) for i in range(4)] == [sum(row[0] == i for row in rows) for i in range(4)]


def change(section: str, place: int, **fields: Any) -> Callable[[Document], None]:
    def apply(document: Document) -> None:
        document[section][place].update(fields)

    return apply


def drop(section: str, place: int, field: str) -> Callable[[Document], None]:
    def apply(document: Document) -> None:
        del document[section][place][field]

    return apply


def without(section: str) -> Callable[[Document], None]:
    def apply(document: Document) -> None:
        del document[section]

    return apply


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (without("images"), r"lacks the key 'images'"),
        (without("annotations"), r"lacks the key 'annotations'"),
        (without("categories"), r"lacks the key 'categories'"),
        (drop("images", 1, "width"), r"images\[1\]: object missing required field `width`"),
        (drop("images", 0, "file_name"), r"images\[0\]: object missing required field `file_name`"),
        (drop("annotations", 2, "bbox"), r"annotations\[2\]: object missing required field `bbox`"),
        (drop("annotations", 2, "image_id"), r"annotations\[2\]: object missing required field `image_id`"),
        (drop("categories", 1, "name"), r"categories\[1\]: object missing required field `name`"),
        (change("categories", 1, name=""), r"categories\[1\].name: expected `str` of length >= 1"),
        (change("images", 0, width=0), r"images\[0\]\.width: expected `int` >= 1"),
        (change("images", 0, id="20"), r"images\[0\]\.id: expected `int`, got `str`"),
        (change("images", 0, file_name="../b.png"), r"images\[0\]\.file_name '\.\./b\.png' leaves the image folder"),
        (change("images", 0, file_name="/etc/b.png"), r"images\[0\]\.file_name '/etc/b\.png' leaves the image folder"),
        (change("images", 0, id=10), r"images: id 10 occurs more than once"),
        (change("categories", 0, id=2), r"categories: id 2 occurs more than once"),
        (change("annotations", 0, id=3), r"annotations: id 3 occurs more than once"),
        (change("annotations", 1, image_id=99), r"annotations\[1\] \(id 3\): image_id 99 is not in images"),
        (change("annotations", 1, category_id=3), r"annotations\[1\] \(id 3\): category_id 3 is not in categories"),
        (change("annotations", 1, category_id=8), r"annotations\[1\] \(id 3\): category_id 8 is not in categories"),
        (change("annotations", 1, bbox=[1, 1, 0, 5]), r"\(id 3\): bbox \[1\.0, 1\.0, 0\.0, 5\.0\] has no area"),
        (change("annotations", 1, bbox=[1, 1, 5, -2]), r"\(id 3\): bbox .* has no area"),
        (change("annotations", 1, bbox=[30, 1, 15, 5]), r"\(id 3\): bbox .* reaches outside .*image 20, 40 x 30 px"),
        (change("annotations", 1, bbox=[-3, 1, 15, 5]), r"\(id 3\): bbox .* reaches outside its image"),
        (change("annotations", 1, bbox=[1, 2, 3]), r"annotations\[1\]\.bbox: expected `array` of length 4"),
        (change("annotations", 1, bbox=None), r"annotations\[1\]\.bbox: expected `array`, got `null`"),
        (change("annotations", 1, bbox=[1, 2, "3", 4]), r"annotations\[1\]\.bbox\[2\]: expected `float`, got `str`"),
        (change("annotations", 1, bbox=[1, math.nan, 3, 4]), r"annotations\[1\]\.bbox\[1\] is not a finite number"),
        (change("annotations", 1, bbox=[1, 2, math.inf, 4]), r"annotations\[1\]\.bbox\[2\] is not a finite number"),
        (change("annotations", 1, area=math.nan), r"annotations\[1\]\.area is not a finite number"),
        (change("annotations", 1, area=-1), r"\(id 3\): .*negative area"),
    ],
)
def test_a_broken_file_is_refused_with_file_field_and_remedy(
    document: Document, tmp_path: Path, break_it: Callable[[Document], None], sentence: str
) -> None:
    break_it(document)
    path = written(tmp_path, document)
    with pytest.raises(UserError, match=sentence) as refusal:
        coco.read(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert "; " in message, "the remedy stands after a semicolon"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not JSON"),
        (b'{"images": [', "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"<html>", "is not JSON"),
        (b'{"images": [], "annotations": [], "categories": []} x', "is not JSON"),
        (b"[1, 2]", "is not a COCO file"),
        (b'{"images": {}, "annotations": [], "categories": []}', "images: expected `array`, got `object`"),
        (b'{"images": [], "annotations": [3], "categories": []}', r"annotations\[0\]: expected `object`, got `int`"),
        (b'{"images": ' + b"[" * 100_000, "is not JSON"),
    ],
)
def test_a_file_that_is_no_coco_file_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        coco.read(tmp_path / "bad.json")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json: No such file"):
        coco.read(tmp_path / "none.json")
    with pytest.raises(UserError, match="Is a directory"):
        coco.read(tmp_path)


def test_a_box_may_reach_one_pixel_past_the_image(document: Document, tmp_path: Path) -> None:
    document["annotations"][1]["bbox"] = [-1, -1, 42, 32]  # image 40 x 30
    assert coco.read(written(tmp_path, document)).boxes_xywh[1].tolist() == [-1, -1, 42, 32]


def test_numbers_json_cannot_hold_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"annotations\[0\]\.area is not a finite number"):
        coco.write(tmp_path / "x.json", {"annotations": [{"area": math.nan}]})
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    coco.write(path, {"a": 1})
    with pytest.raises(TypeError):
        coco.write(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/x\.json: cannot be written .*; free space or name another folder"):
        coco.write(tmp_path / "file" / "x.json", {})


def test_a_full_disk_is_reported_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    coco.write(path, {"a": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # a file that grows past 1000 bytes fails
    try:
        with pytest.raises(UserError, match=r"cannot be written .*; free space or name another folder"):
            coco.write(path, {"a": "b" * 5000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]
    assert json.loads(path.read_text()) == {"a": 1}


def written(folder: Path, document: Document) -> Path:
    """Python's writer, because it lets NaN pass as careless tools do."""
    path = folder / "instances.json"
    path.write_text(json.dumps(document))
    return path


def test_records_are_slices_of_the_file(coco_file: Path) -> None:
    records = coco.read(coco_file).annotation_records()
    assert [msgspec.json.decode(record)["id"] for record in records] == [5, 3, 4, 9]


def test_bytes_that_are_no_utf_8_are_refused_wherever_they_are(coco_file: Path) -> None:
    coco_file.write_bytes(coco_file.read_bytes().replace(b"CC0", b"CC\xff"))
    with pytest.raises(UserError, match=r"is not JSON \(not in UTF-8\); mend it with siod data check --fix"):
        coco.read(coco_file)


def test_a_number_too_large_for_readers_is_named_when_its_entry_is_needed(coco_file: Path) -> None:
    coco_file.write_bytes(coco_file.read_bytes().replace(b"2026", b"1e999"))
    with pytest.raises(UserError, match="info cannot be read"):
        coco.read(coco_file).info()


@pytest.mark.parametrize("count", [0, 1, SLICES, SLICES + 1, 2 * SLICES])
def test_a_document_is_written_piece_by_piece_as_it_is_at_once(tmp_path: Path, count: int) -> None:
    """Fingerprints of data, and with them the names of trials, are made of these bytes."""
    slices = [msgspec.Raw(b'{"id": %d}' % number) for number in range(count)]
    document = {"info": {"é": [1.5, None]}, "images": slices, "annotations": [*slices, {"id": 1}], "categories": []}
    sha256 = coco.write(tmp_path / "file.json", document)
    written = (tmp_path / "file.json").read_bytes()
    assert written == msgspec.json.encode(document)
    assert sha256 == hashlib.sha256(written).hexdigest()
