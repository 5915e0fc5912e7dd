"""A run on small copies answers in the frame of the user's own images, and with the ids of the user's file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from siod.cli.main import app
from siod.data import coco
from siod.data.digits import Digits, write_digits
from siod.data.loading.loader import eval_batches
from siod.data.source import CocoFolder, PreparedData, prepare
from siod.evaluation.score_aware import evaluate_files
from siod.json_file import read_json
from siod.training.context import InProcess
from siod.training.evaluate import in_image_frame, score_aware_metrics
from siod.training.experiment import Experiment
from siod.training.predict import detections_of, load_trained, predict
from siod.training.results import DETECTIONS
from siod.training.run import train
from siod.training.visualize import mined_images
from siod.types import Detections

LONGEST_PX = 64


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits at 2.5 times the size of the copies, in JPEG, the sizes of images not multiples of it; ids from 101."""
    root = tmp_path_factory.mktemp("photos") / "digits"
    write_digits(Digits(train_images=4, val_images=5, image_size_px=160, median_size_px=90, max_size_px=120), root)
    path = root / "annotations" / "instances_val.json"
    document = json.loads(path.read_text())
    for entry in document["images"]:
        entry["id"] += 100
        with Image.open(root / "val" / entry["file_name"]) as image:
            cut = image.crop((0, 0, 160, 160 - entry["id"] % 3))
        cut.save(root / "val" / entry["file_name"])
        entry["height"] = cut.height
    for entry in document["annotations"]:
        entry["image_id"] += 100
        entry["bbox"][3] = min(entry["bbox"][3], 157 - entry["bbox"][1])
    path.write_text(json.dumps(document))
    return root


@pytest.fixture(scope="module")
def shrunk(small: Experiment, photos: Path) -> Experiment:
    return small.with_changes(
        {
            "data": CocoFolder(root=photos, longest_px=LONGEST_PX),
            "augmentation.input_size": (64, 64),
            "recipe.epochs": 1,
            "recipe.schedule": {"kind": "step"},
            "evaluation.batch_size": 3,
        }
    )


@pytest.fixture(scope="module")
def data(shrunk: Experiment, cache_dir: Path) -> PreparedData:
    return prepare(shrunk.data, shrunk.annotations, cache_dir)


@pytest.fixture(scope="module")
def run_dir(shrunk: Experiment, data: PreparedData, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames") / "run"
    train(shrunk, data, folder, cache_dir=cache_dir)
    return folder


def test_judging_the_users_file_gives_the_runs_own_figures_to_the_last_digit(run_dir: Path, photos: Path) -> None:
    own = json.loads((run_dir / "result.json").read_text())
    found = evaluate_files(photos / "annotations" / "instances_val.json", run_dir / DETECTIONS).metrics()
    assert {name: own[name] for name in found} == found
    assert {"ap_s", "ap_s0", "ap_small_s0", "ap_large_s9"} <= set(found)


def test_what_is_found_in_a_copy_counts_by_the_users_boxes_and_areas(data: PreparedData, photos: Path) -> None:
    """A detector that finds every instance of the copies but the last, a tenth of a pixel off."""
    (batch,) = eval_batches(data, batch_size=8, input_size=(64, 64))
    found = [
        Detections(one.boxes_xyxy + 0.1, torch.linspace(0.5, 0.9, len(one.labels)), one.labels) for one in batch.targets
    ]
    found[-1] = Detections(*(column[:-1] for column in vars(found[-1]).values()))
    arrays = in_image_frame(batch, found, np.asarray(data.category_ids))
    own = score_aware_metrics(data, arrays, InProcess(photos))
    theirs = evaluate_files(photos / "annotations" / "instances_val.json", arrays.coco_results()).metrics()
    assert own == theirs
    assert 0.5 < own["ap_s0"] < 1
    # Digits of 100 px are medium and large in the file; in copies of 64 px they were small.
    assert own["ap_large_s0"] > 0.5
    first = coco.read(data.val)
    offset = 0.1 * 160 / LONGEST_PX
    assert arrays.boxes_xyxy[0] == pytest.approx(first.boxes_xyxy[first.rows_of_image(0)[0]] + offset, abs=0.03)


def test_boxes_lie_in_the_whole_of_the_users_images(run_dir: Path, data: PreparedData) -> None:
    detections = read_json(run_dir / DETECTIONS)
    assert {one["image_id"] for one in detections} <= {101, 102, 103, 104, 105}
    # An untrained detector finds something everywhere, also where no copy of 64 px reaches.
    assert max(one["bbox"][0] + one["bbox"][2] for one in detections) > 2 * LONGEST_PX
    assert data.val.name == "instances_val.json"


def test_predicting_on_full_images_is_predicting_on_the_copies_to_the_bit(
    run_dir: Path, data: PreparedData, cache_dir: Path
) -> None:
    trained = load_trained(run_dir, cache_dir=cache_dir)
    files = [data.val_images / image.file_name for image in coco.read(data.val).images]
    made = detections_of(trained, files)
    expected = read_json(run_dir / DETECTIONS)
    assert [{**one, "image_id": one["image_id"] + 100} for one in made.detections] == expected
    assert [(image["width"], image["height"]) for image in made.document["images"]] == [
        (image.width, image.height) for image in coco.read(data.val).images
    ]


def test_predict_takes_ids_from_the_users_file_and_agrees_with_the_run(
    run_dir: Path, photos: Path, cache_dir: Path, tmp_path: Path
) -> None:
    annotations = photos / "annotations" / "instances_val.json"
    words = ["predict", str(run_dir), str(photos / "val"), "--annotations", str(annotations), "--device", "cpu"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "found"), "--cache", str(cache_dir)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "found" / "detections.json").read_bytes() == gzip.decompress((run_dir / DETECTIONS).read_bytes())
    images = json.loads((tmp_path / "found" / "images.json").read_text())["images"]
    assert [(one["id"], one["file_name"]) for one in images][:2] == [(101, "000001.jpg"), (102, "000002.jpg")]
    assert len(list((tmp_path / "found").glob("*.png"))) == 5


def test_predicting_does_not_ask_for_the_data_set_of_the_run(run_dir: Path, data: PreparedData, tmp_path: Path) -> None:
    files = [data.val_images / "000001.jpg"]
    made = predict(run_dir, files, cache_dir=tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    categories = made.document["categories"]
    assert [one["id"] for one in categories] == list(data.category_ids)
    assert [one["name"] for one in categories] == list(data.category_names)


def test_a_checkpoint_of_before_it_named_its_categories_asks_the_data_set(
    run_dir: Path, data: PreparedData, cache_dir: Path, tmp_path: Path
) -> None:
    state = torch.load(run_dir / "checkpoints" / "best.pt", weights_only=True)
    earlier = {name: value for name, value in state.items() if not name.startswith("category_")}
    assert len(earlier) == len(state) - 2
    torch.save(earlier, tmp_path / "earlier.pt")
    trained = load_trained(tmp_path / "earlier.pt", cache_dir=cache_dir)
    assert (trained.category_ids, trained.category_names) == (data.category_ids, data.category_names)


def test_predict_tells_how_far_it_is(run_dir: Path, data: PreparedData, cache_dir: Path) -> None:
    told: list[tuple[int, int]] = []
    files = [data.val_images / "000001.jpg", data.val_images / "000002.jpg"]
    predict(run_dir, files, cache_dir=cache_dir, progress=lambda done, total: told.append((done, total)))
    # Shrunk one after the other, then looked at in one batch.
    assert told == [(1, 2), (2, 2), (2, 2)]


def test_miners_are_shown_on_the_users_images(run_dir: Path, data: PreparedData, cache_dir: Path) -> None:
    (shown,) = mined_images(load_trained(run_dir, cache_dir=cache_dir), data, count=1, similarities=[0.6])
    assert shown.file == data.train_images / coco.read(data.train).images[0].file_name
    learnt, full = coco.read(data.train), coco.read(data.train_full)
    for boxes, dataset in ((shown.annotated, learnt), (shown.annotated + shown.hidden, full)):
        expected = dataset.boxes_xywh[dataset.rows_of_image(0)]
        assert np.array(sorted(box for box, _ in boxes)) == pytest.approx(np.array(sorted(expected.tolist())), abs=1e-3)
    # A position of the map looks at 4 of the 64 px of a copy, 10 of the 160 px of the image.
    cells = [box for found in shown.found for marks in found.positions.values() for box, _ in marks]
    assert cells
    assert {(round(width, 3), round(height, 3)) for _, _, width, height in cells} == {(10, 10)}
