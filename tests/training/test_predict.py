"""A checkpoint finds in image files what its run found in the same images."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from siod.data import coco
from siod.data.source import PreparedData
from siod.errors import UserError
from siod.json_file import read_json
from siod.training.experiment import Experiment
from siod.training.predict import image_files, predict
from siod.training.results import DETECTIONS
from siod.training.run import train


@pytest.fixture(scope="module")
def run_dir(
    small: Experiment, small_data: PreparedData, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("predict") / "run"
    train(small.with_changes({"recipe.epochs": 1}), small_data, folder, cache_dir=cache_dir)
    return folder


def test_predictions_are_what_the_run_found_in_these_images(
    run_dir: Path, small_data: PreparedData, cache_dir: Path
) -> None:
    records = coco.read(small_data.val).images[:3]
    files = image_files([small_data.val_images / record.file_name for record in records])
    made = predict(run_dir / "checkpoints" / "epoch_0001.pt", files, cache_dir=cache_dir)
    expected = read_json(run_dir / DETECTIONS)
    for number, record in enumerate(records, start=1):
        mine = sorted(one["score"] for one in made.detections if one["image_id"] == number)
        theirs = sorted(one["score"] for one in expected if one["image_id"] == record.id)
        assert mine == pytest.approx(theirs, abs=1e-4)
        assert mine
    assert [image["width"] for image in made.document["images"]] == [record.width for record in records]
    assert {one["category_id"] for one in made.detections} <= set(small_data.category_ids)


def test_folders_stand_for_their_images_in_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / name).touch()
    assert [file.name for file in image_files([tmp_path, tmp_path / "b.png"])] == ["a.JPG", "b.png"]


def test_what_is_no_image_is_named(run_dir: Path, tmp_path: Path, cache_dir: Path) -> None:
    with pytest.raises(UserError, match="no such image"):
        image_files([tmp_path / "gone.png"])
    with pytest.raises(UserError, match="no image in this folder"):
        image_files([tmp_path])
    (tmp_path / "text.png").write_text("no pixels")
    with pytest.raises(UserError, match=r"text\.png: does not decode"):
        predict(run_dir / "checkpoints" / "epoch_0001.pt", [tmp_path / "text.png"], cache_dir=cache_dir)
    with pytest.raises(UserError, match="no such checkpoint"):
        predict(tmp_path / "gone.pt", [], cache_dir=cache_dir)


def test_boxes_are_drawn_over_the_image(tmp_path: Path) -> None:
    from siod.tuning.trials.pictures import FOUND_COLOUR, draw_detections  # noqa: PLC0415

    Image.new("RGB", (60, 40), "black").save(tmp_path / "black.png")
    draw_detections(tmp_path / "black.png", [([10, 20, 30, 15], "")], tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as drawn:
        assert drawn.size == (360, 240)  # six times as large
        assert "#{:02x}{:02x}{:02x}".format(*drawn.getpixel((60, 120))) == FOUND_COLOUR  # type: ignore[misc]
        assert drawn.getpixel((150, 168)) == (0, 0, 0)
