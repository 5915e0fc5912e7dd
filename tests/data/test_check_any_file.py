"""Whatever a file holds, the check explains it, and what it repairs can be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from examined import examined, kinds, repaired
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from siod.data import coco
from siod.data.checking.check import examine
from siod.errors import UserError

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
    left = {defect.kind for defect in examine(tmp_path / "repaired.json").defects}
    assert left <= {"file-name-twice", "category-name-twice", "boxes-relative", "boxes-as-corners"}, "no remedy"
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
