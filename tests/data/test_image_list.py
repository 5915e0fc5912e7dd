"""Images are found by the names an annotation file gives them, and only those."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from siod.data.image_list import listed_images
from siod.errors import UserError


def listing(folder: Path, *names: str, **changes: Any) -> Path:
    images = [{"id": 10 + place, "file_name": name, "width": 8, "height": 6} for place, name in enumerate(names)]
    path = folder / "list.json"
    path.write_text(json.dumps({"images": images} | changes))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``a/x.jpg``, ``b/x.jpg`` and ``y.jpg``."""
    for name in ("a/x.jpg", "b/x.jpg", "y.jpg"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).touch()
    return tmp_path / "images"


def test_a_folder_gives_the_listed_images_in_the_order_of_the_file(folder: Path, tmp_path: Path) -> None:
    found = listed_images(listing(tmp_path, "y.jpg", "gone.jpg", "b/x.jpg"), [folder])
    assert [(record.id, file) for record, file in found] == [(10, folder / "y.jpg"), (12, folder / "b/x.jpg")]


def test_a_file_is_known_by_the_end_of_its_path(folder: Path, tmp_path: Path) -> None:
    found = listed_images(listing(tmp_path, "a/x.jpg", "b/x.jpg", "y.jpg"), [folder / "b/x.jpg"])
    assert [(record.id, file) for record, file in found] == [(11, folder / "b/x.jpg")]


@pytest.mark.parametrize(
    ("names", "paths", "sentence"),
    [
        (["x.jpg"], ["a", "b"], r"x\.jpg may be .*a/x\.jpg or .*b/x\.jpg; name the folder"),
        (["x.jpg"], ["."], r"none of its 1 images is among those named; .* \('x\.jpg' is the first\)"),
        (["x.jpg", "a/x.jpg"], ["a/x.jpg"], r"a/x\.jpg belongs to two of its images"),
        (["../y.jpg"], ["a"], r"'\.\./y\.jpg' leaves the image folder"),
        (["y.jpg"], ["c"], r"c: no such image"),
        ([], ["."], r"images is empty"),
    ],
)
def test_what_cannot_be_told_is_refused(
    folder: Path, tmp_path: Path, names: list[str], paths: list[str], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        listed_images(listing(tmp_path, *names), [folder / path for path in paths])


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    one = {"id": 1, "file_name": "a.jpg", "width": 8, "height": 6}
    with pytest.raises(UserError, match="images: id 1 occurs more than once"):
        listed_images(listing(tmp_path, images=[one, one]), [tmp_path])
    with pytest.raises(UserError, match=r"list\.json: is no list of images"):
        listed_images(listing(tmp_path, images=[{"id": 1}]), [tmp_path])
    with pytest.raises(UserError, match=r"gone\.json: No such file"):
        listed_images(tmp_path / "gone.json", [tmp_path])
