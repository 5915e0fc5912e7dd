"""Images decode to RGB as they are stored, and broken ones are named before training."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import resize

from siod.data.coco import ImageRecord
from siod.data.images import BrokenImageError, broken_images, decode_record, decode_rgb, refuse_broken
from siod.data.loading.pixels import as_tensor
from siod.errors import UserError

RAMP = np.arange(60, dtype=np.uint8).reshape(5, 4, 3) * 4


def test_a_png_is_read_to_the_bit_channels_first(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "x.png")
    assert torch.equal(as_tensor(decode_rgb(tmp_path / "x.png")), torch.from_numpy(RAMP).permute(2, 0, 1))


def test_grey_palette_alpha_and_deep_images_become_rgb(tmp_path: Path) -> None:
    grey = RAMP[:, :, 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(RAMP).convert("RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(RAMP).quantize(20).save(tmp_path / "palette.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for name in ("grey", "alpha", "palette", "deep"):
        image = decode_rgb(tmp_path / f"{name}.png")
        assert (image.shape, image.dtype) == ((5, 4, 3), np.uint8)
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    assert np.array_equal(decode_rgb(tmp_path / "grey.png"), expected)
    assert np.array_equal(decode_rgb(tmp_path / "deep.png"), expected)


def test_an_exif_rotation_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees to display"
    Image.fromarray(RAMP).save(tmp_path / "x.jpg", exif=exif, quality=95)
    assert decode_rgb(tmp_path / "x.jpg").shape == (5, 4, 3)


def test_resizing_does_not_depend_on_the_order_pixels_lie_in(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (97, 151, 3), dtype=np.uint8)).save(tmp_path / "x.png")
    interleaved = as_tensor(decode_rgb(tmp_path / "x.png"))
    for size in ([48, 75], [120, 190], [97, 60]):
        assert torch.equal(resize(interleaved, size), resize(interleaved.contiguous(), size))


def test_a_pipe_among_the_images_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(BrokenImageError, match=r"x\.jpg: no such image"):
        decode_rgb(tmp_path / "x.jpg")


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n1234", b"\xff\xd8\xff\xe0garbage"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(BrokenImageError, match=r"bad\.jpg: does not decode .*; replace the file"):
        decode_rgb(tmp_path / "bad.jpg")


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_a_truncated_file_is_named(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"x.{kind}")
    whole = (tmp_path / f"x.{kind}").read_bytes()
    (tmp_path / f"x.{kind}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BrokenImageError, match="does not decode"):
        decode_rgb(tmp_path / f"x.{kind}")


def test_a_size_other_than_stated_is_refused(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "x.png")
    with pytest.raises(BrokenImageError, match=r"x\.png: is 4 x 5 px but its record says 5 x 4; correct"):
        decode_record(tmp_path, ImageRecord(1, "x.png", 5, 4))


def test_the_check_finds_each_kind_and_counts(tmp_path: Path) -> None:
    for name in ("good.png", "small.png"):
        Image.fromarray(RAMP).save(tmp_path / name)
    (tmp_path / "bad.png").write_bytes(b"x")
    records = (
        ImageRecord(1, "good.png", 4, 5),
        ImageRecord(2, "bad.png", 4, 5),
        ImageRecord(3, "small.png", 8, 5),
        ImageRecord(4, "none.png", 4, 5),
    )
    told: list[tuple[int, int]] = []
    found = broken_images(records, tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert {place: sentence.split(": ")[1].split(" ")[0] for place, sentence in found.items()} == {
        1: "does",
        2: "is",
        3: "no",
    }
    with pytest.raises(UserError, match=r"3 of 4 images cannot be used: .*bad\.png.*small\.png.*none\.png"):
        refuse_broken(found, tmp_path, 4)


def test_only_the_first_three_are_listed(tmp_path: Path) -> None:
    records = tuple(ImageRecord(i, f"{i}.png", 4, 5) for i in range(5))
    with pytest.raises(UserError, match=r"5 of 5 .*0\.png.*2\.png.*and 2 more") as refusal:
        refuse_broken(broken_images(records, tmp_path), tmp_path, 5)
    assert "3.png" not in str(refusal.value)


def test_nothing_broken_is_no_error(tmp_path: Path) -> None:
    refuse_broken({}, tmp_path, 7)
