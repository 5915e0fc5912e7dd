"""Small copies: boxes scale with their images, content names them, room is made of what is not used."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from PIL import Image

from siod.data import coco
from siod.data.resized import Resized, clear, resized, usage
from siod.errors import UserError

LONG_AGO = 1_000_000_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """One image of 200 x 100, one of 40 x 30."""
    document = {
        "images": [
            {"id": 1, "file_name": "sub/a.jpg", "width": 200, "height": 100, "mine": 1},
            {"id": 2, "file_name": "b.png", "width": 40, "height": 30},
        ],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [20, 10, 40, 60], "area": 1200, "segmentation": [[1]]},
            {"id": 2, "image_id": 2, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 1},
        ],
    }
    (tmp_path / "images" / "sub").mkdir(parents=True)
    Image.new("RGB", (200, 100), (9, 200, 30)).save(tmp_path / "images" / "sub" / "a.jpg")
    Image.new("RGB", (40, 30)).save(tmp_path / "images" / "b.png")
    (tmp_path / "x.json").write_text(json.dumps(document))
    return tmp_path / "x.json"


def copy_of(source: Path, longest: int = 50, limit: int = 2**40) -> Resized:
    return resized(source, source.parent / "images", longest, source.parent / "cache", limit_bytes=limit)


def test_images_boxes_and_areas_shrink_together(source: Path) -> None:
    copy = copy_of(source)
    dataset = coco.read(copy.annotations)
    assert [(image.width, image.height) for image in dataset.images] == [(50, 25), (40, 30)]
    # 200 x 100 to 50 x 25 is a quarter of each side and a sixteenth of the area.
    assert dataset.boxes_xywh.tolist() == [[5, 2.5, 10, 15], [1, 2, 3, 4]]
    assert dataset.area.tolist() == [75, 12]
    assert dataset.iscrowd.tolist() == [False, True]
    for image in dataset.images:
        with Image.open(copy.images / image.file_name) as file:
            assert file.size == (image.width, image.height)
    raw = json.loads(copy.annotations.read_text())
    assert raw["images"][0]["mine"] == 1
    assert "segmentation" not in raw["annotations"][0]


def test_a_copy_is_made_once_and_anew_when_an_image_changes(source: Path) -> None:
    first = copy_of(source)
    written = first.annotations.stat().st_mtime_ns
    assert copy_of(source) == first
    assert first.annotations.stat().st_mtime_ns == written
    assert copy_of(source, longest=60) != first
    Image.new("RGB", (40, 30), (1, 2, 3)).save(source.parent / "images" / "b.png", compress_level=0)
    assert copy_of(source) != first


def test_trials_that_ask_at_once_get_the_same_copy(source: Path) -> None:
    found: list[Resized] = []
    threads = [threading.Thread(target=lambda: found.append(copy_of(source))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert usage(source.parent / "cache")[0] == 1


def test_room_is_made_of_copies_nobody_asked_for_in_a_week(source: Path) -> None:
    old, recent = copy_of(source, 40), copy_of(source, 60)
    os.utime(old.annotations.parent / "used", (LONG_AGO, LONG_AGO))
    new = copy_of(source, 50, limit=1)
    assert not old.annotations.exists()
    assert recent.annotations.exists()
    assert new.annotations.exists()


def test_clearing_deletes_the_copies_and_nothing_else(source: Path) -> None:
    copy_of(source)
    other = source.parent / "cache" / "digits"
    other.mkdir()
    count, size = usage(source.parent / "cache")
    assert (count, size > 0) == (1, True)
    assert clear(source.parent / "cache") == (count, size)
    assert usage(source.parent / "cache") == (0, 0)
    assert other.exists()


def test_a_broken_image_leaves_no_half_copy(source: Path) -> None:
    (source.parent / "images" / "b.png").write_bytes(b"none")
    with pytest.raises(UserError, match=r"b\.png: does not decode"):
        copy_of(source)
    left = [path.name for path in (source.parent / "cache" / "resized").iterdir() if not path.name.endswith(".lock")]
    assert left == []


def test_what_a_killed_process_left_is_made_anew_or_cleared(source: Path) -> None:
    copy = copy_of(source)
    folder = copy.annotations.parent
    half = folder.rename(folder.with_name(f".unfinished.{folder.name}"))
    (half / "stray").touch()
    assert usage(source.parent / "cache")[0] == 0
    assert copy_of(source) == copy
    assert sorted(path.name for path in folder.iterdir()) == ["annotations.json", "images", "used"]
    half.mkdir()
    clear(source.parent / "cache")
    assert not half.exists()
