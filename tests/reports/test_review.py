"""The review page as it is written: its data, its pictures, and nothing of the user's that could be markup."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from proposing import draw, proposed, record

from siod.errors import UserError
from siod.reports.review.page import write_review
from siod.reports.review.pictures import write_pictures

NASTY = "</script><script>document.title = 'owned'</script>\"'"
TURNED = 6
IMAGES = [record(7, "b.png"), record(3, "a.png", 20, 10), record(9, "c.png")]
ANNOTATIONS = [
    {"id": 8, "image_id": 3, "category_id": 2, "bbox": [1, 2, 10, 5]},
    {"id": 4, "image_id": 7, "category_id": 5, "bbox": [0.25, 0.5, 10.06, 5]},
]
ROWS = [
    (7, 5, (20.0, 5.0, 8.0, 8.25), 0.75, 0.125),
    (7, 2, (2.0, 5.0, 8.0, 8.0), 0.5, None),
    (3, 2, (4.0, 1.0, 3.0, 3.0), 0.9996, 0.00004),
]


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, flags=re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_page_holds_boxes_as_columns_by_image(tmp_path: Path) -> None:
    draw(tmp_path, IMAGES)
    proposals = proposed(tmp_path, IMAGES, ROWS, annotations=ANNOTATIONS)
    page = write_review(proposals, tmp_path / "review")
    assert page == tmp_path / "review" / "index.html"
    assert data_of(page.read_text(encoding="utf-8")) == {
        "proposals": str(tmp_path / "review" / "proposals.json"),
        "sha256": proposals.sha256,
        "categories": {"id": [2, 5], "name": ["cell", "rook"], "reason": ["Too few of cell.", "Too few of rook."]},
        "images": {
            "id": [7, 3, 9],
            "name": ["b.png", "a.png", "c.png"],
            "picture": ["000000.png", "000001.png", "000002.png"],
            "width": [40, 20, 40],
            "height": [30, 10, 30],
            "annotated": [1, 1, 0],
            "proposed": [2, 1, 0],
        },
        # In the order of images, not of the file; 10.06 is 100.6 tenths.
        "annotated": {"category": [1, 0], "bbox": [2, 5, 101, 50, 10, 20, 100, 50]},
        "proposed": {
            "id": [100, 1, 1],
            "category": [1, 0, 0],
            "bbox": [200, 50, 80, 82, 20, 50, 80, 80, 40, 10, 30, 30],
            "score": [750, 500, 1000],
            "fdr": [1250, None, 0],
            "state": [0, 0, 0],
        },
    }


def test_names_of_the_user_are_never_markup(tmp_path: Path) -> None:
    images = [record(1, f"{NASTY}.png")]
    draw(tmp_path, images)
    proposals = proposed(tmp_path, images, [(1, 2, (1, 1, 5, 5), 0.5, None)], categories=[{"id": 2, "name": NASTY}])
    page = write_review(proposals, tmp_path / "review").read_text(encoding="utf-8")
    assert NASTY not in page
    assert page.count("</script>") == 2
    assert page.count("<script") == 2
    assert data_of(page)["categories"]["name"] == [NASTY]
    assert data_of(page)["images"]["name"] == [f"{NASTY}.png"]


def test_only_its_own_script_and_style_may_work_and_no_network(tmp_path: Path) -> None:
    draw(tmp_path, IMAGES)
    page = write_review(proposed(tmp_path, IMAGES, ROWS), tmp_path / "review").read_text(encoding="utf-8")
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert found is not None
    policy = {name: value for name, _, value in (part.partition(" ") for part in html.unescape(found[1]).split("; "))}
    hashes = {name: policy.pop(name) for name in ("style-src", "script-src")}
    assert policy == {
        "default-src": "'none'",
        "img-src": "'self' file:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert all(re.fullmatch(r"'sha256-[\w+/]{43}='", value) for value in hashes.values())
    assert "http:" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https:" not in page


def test_five_thousand_images_of_ten_proposals_stay_small(tmp_path: Path) -> None:
    images = [record(image, "one.png") for image in range(5000)]
    draw(tmp_path, images[:1])
    rows = [
        (image, 2, (0.5 * place, 0.5 * place, 10.125, 12.375), 0.9 - 0.05 * place, 0.0333)
        for image in range(5000)
        for place in range(10)
    ]
    page = write_review(proposed(tmp_path, images, rows), tmp_path / "review", link=True)
    assert len(list((tmp_path / "review" / "images").iterdir())) == 5000
    # Proposals cost 30 bytes each, images 45.
    assert page.stat().st_size < 2_000_000


def test_pictures_that_browsers_show_as_they_are_stored_are_copied(tmp_path: Path) -> None:
    images = [record(1, "b c/d#e%20f'\"ü.png"), record(2, "a.jpg"), record(3, "B.bmp")]
    draw(tmp_path, images)
    proposals = proposed(tmp_path, images, [])
    told: list[tuple[int, int]] = []
    names = write_pictures(proposals, tmp_path / "review", progress=lambda *done: told.append(done))
    assert names == ["000000.png", "000001.jpg", "000002.bmp"]
    assert told == [(1, 3), (2, 3), (3, 3)]
    for name, image in zip(names, images, strict=True):
        copied = tmp_path / "review" / "images" / name
        assert not copied.is_symlink()
        assert copied.read_bytes() == (tmp_path / image["file_name"]).read_bytes()


def test_names_that_fall_together_have_a_picture_each(tmp_path: Path) -> None:
    images = [record(1, "a/x.png"), record(2, "a_x.png"), record(3, "x.tif"), record(4, "X.TIF"), record(5, "x.tif")]
    draw(tmp_path, images)
    names = write_pictures(proposed(tmp_path, images, []), tmp_path / "review")
    assert names == ["000000.png", "000001.png", "000002.png", "000003.png", "000004.png"]


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_a_photograph_that_asks_to_be_turned_is_shown_in_its_stored_frame(suffix: str, tmp_path: Path) -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :10] = 250  # bright at the left as stored; turned, it would be at the top
    exif = Image.Exif()
    exif[0x0112] = TURNED
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", exif=exif)
    proposals = proposed(tmp_path, [record(1, f"a.{suffix}", 40, 20)], [])
    (name,) = write_pictures(proposals, tmp_path / "review", link=True)
    assert name == {"jpg": "000000.jpg", "tif": "000000.png"}[suffix]
    with Image.open(tmp_path / "review" / "images" / name) as shown:
        assert (shown.size, shown.getexif().get(0x0112)) == ((40, 20), None)
        assert np.asarray(shown.convert("L"))[:, [2, 37]].mean(axis=0).round(-1).tolist() == [250, 0]


def test_pictures_of_sixteen_bits_and_moving_ones_become_plain(tmp_path: Path) -> None:
    Image.fromarray(np.array([[1000, 1500], [2000, 3000]], np.uint16)).save(tmp_path / "deep.png")
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    frames[0].convert("CMYK").save(tmp_path / "print.jpg")
    images = [record(1, "deep.png", 2, 2), record(2, "moving.gif", 2, 2), record(3, "print.jpg", 2, 2)]
    names = write_pictures(proposed(tmp_path, images, []), tmp_path / "review")
    assert names == ["000000.png", "000001.png", "000002.jpg"]
    shown = []
    for name in names:
        with Image.open(tmp_path / "review" / "images" / name) as file:
            assert (file.mode, getattr(file, "is_animated", False)) == ("RGB", False)
            shown.append(np.asarray(file))
    # 1000 is black and 3000 white: 500 of 2000 are a quarter of 255.
    assert shown[0][..., 0].tolist() == [[0, 64], [128, 255]]
    assert shown[1][0, 0].tolist() == [255, 0, 0]


def test_links_point_to_the_files_and_copies_after_them_leave_the_files_alone(tmp_path: Path) -> None:
    draw(tmp_path, IMAGES)
    before = (tmp_path / "b.png").read_bytes()
    proposals = proposed(tmp_path, IMAGES, ROWS)
    write_review(proposals, tmp_path / "review", link=True)
    link = tmp_path / "review" / "images" / "000000.png"
    assert link.readlink() == (tmp_path / "b.png").resolve()
    write_review(proposals, tmp_path / "review")
    assert not link.is_symlink()
    assert link.read_bytes() == (tmp_path / "b.png").read_bytes() == before


def test_a_folder_that_cannot_hold_pictures_is_named(tmp_path: Path) -> None:
    draw(tmp_path, IMAGES)
    proposals = proposed(tmp_path, IMAGES, ROWS)
    (tmp_path / "review" / "images").write_text("a file")
    with pytest.raises(UserError, match=r"review/images: cannot be written \(File exists\); free space or"):
        write_pictures(proposals, tmp_path / "review")


def test_an_image_with_proposals_must_be_there_and_another_may_lack(tmp_path: Path) -> None:
    draw(tmp_path, IMAGES[:2])
    (tmp_path / "c.png").write_bytes(b"no image")
    proposals = proposed(tmp_path, IMAGES, ROWS)
    assert write_pictures(proposals, tmp_path / "review") == ["000000.png", "000001.png", ""]
    (tmp_path / "a.png").unlink()
    with pytest.raises(UserError, match=r"a\.png: cannot be read as an image \(.*\); put the file where it was"):
        write_pictures(proposals, tmp_path / "review")
