"""A test split is judged once, by the weights that are reported, and chooses nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from siod.data.annotation_sets import Full, Keep
from siod.data.digits import Digits, write_digits
from siod.data.source import CocoFiles, CocoFolder, prepare
from siod.errors import UserError
from siod.evaluation.score_aware import evaluate_files
from siod.training import results
from siod.training.experiment import Experiment
from siod.training.run import train


@pytest.fixture(scope="module")
def three_splits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The validation split of other digits as the test split."""
    root = tmp_path_factory.mktemp("three")
    write_digits(Digits(train_images=8, val_images=4), root / "digits")
    write_digits(Digits(train_images=1, val_images=3, seed=7), root / "others")
    (root / "others" / "val").rename(root / "digits" / "test")
    annotations = root / "others" / "annotations" / "instances_val.json"
    annotations.rename(root / "digits" / "annotations" / "instances_test.json")
    return root / "digits"


def test_a_folder_s_test_split_is_found_and_counts_in_the_fingerprint(three_splits: Path, tmp_path: Path) -> None:
    found = prepare(CocoFolder(root=three_splits, longest_px=48), Keep(), tmp_path)
    assert found.test == three_splits / "annotations" / "instances_test.json"
    assert found.test_images == three_splits / "test"
    assert found.test_sizes == ((96, 96, 3),)
    ignored = prepare(CocoFolder(root=three_splits, test="ignore"), Keep(), tmp_path)
    assert (ignored.test, ignored.on_test()) == (None, None)
    # As before there were test splits.
    without = shutil.copytree(three_splits, tmp_path / "without")
    (without / "annotations" / "instances_test.json").unlink()
    assert prepare(CocoFolder(root=without), Keep(), tmp_path).fingerprint == ignored.fingerprint
    assert prepare(CocoFolder(root=three_splits), Keep(), tmp_path).fingerprint != ignored.fingerprint


def test_on_test_puts_the_test_split_in_the_place_of_the_validation_split(three_splits: Path, tmp_path: Path) -> None:
    data = prepare(CocoFolder(root=three_splits, longest_px=48), Full(), tmp_path)
    test = data.on_test()
    assert test is not None
    assert test.copies is not None
    assert data.copies is not None
    assert (test.val, test.val_images, test.val_sizes) == (data.test, data.test_images, data.test_sizes)
    assert test.copies.val == data.copies.test
    assert (test.train, test.copies.train) == (data.train, data.copies.train)


def test_half_a_test_split_is_refused(three_splits: Path, tmp_path: Path) -> None:
    whole = {
        f"{split}_{part}": three_splits / (split if part == "images" else f"annotations/instances_{split}.json")
        for split in ("train", "val", "test")
        for part in ("annotations", "images")
    }
    by_name = prepare(CocoFiles(**whole), Full(), tmp_path)
    assert by_name == prepare(CocoFolder(root=three_splits), Full(), tmp_path)
    del whole["test_images"]
    with pytest.raises(ValueError, match="test_annotations and test_images belong together; set both or neither"):
        CocoFiles(**whole)


def test_a_test_split_without_boxes_is_refused(three_splits: Path, tmp_path: Path) -> None:
    root = shutil.copytree(three_splits, tmp_path / "bare")
    path = root / "annotations" / "instances_test.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": []}))
    with pytest.raises(UserError, match=r"instances_test\.json: has no annotations, so there is nothing to judge by"):
        prepare(CocoFolder(root=root), Full(), tmp_path / "cache")


def test_it_is_judged_once_after_the_last_epoch(
    small: Experiment, three_splits: Path, cache_dir: Path, tmp_path: Path
) -> None:
    changes = {"data": CocoFolder(root=three_splits), "dminer": None, "recipe.epochs": 2}
    experiment = small.with_changes(changes)
    data = prepare(experiment.data, experiment.annotations, cache_dir)
    told = train(experiment, data, tmp_path / "with", cache_dir=cache_dir)
    first, last = json.loads((tmp_path / "with" / results.HISTORY).read_text())
    assert [name for name in first if name.startswith("test/")] == []
    found = evaluate_files(
        three_splits / "annotations" / "instances_test.json", tmp_path / "with" / results.TEST_DETECTIONS
    )
    assert {name: told[f"test/{name}"] for name in found.known()} == found.known()
    assert {name: last[f"test/{name}"] for name in found.known()} == found.known()
    plain = experiment.with_changes({"data.test": "ignore"})
    without = prepare(plain.data, plain.annotations, cache_dir)
    same = train(plain, without, tmp_path / "without", cache_dir=cache_dir)
    # Nothing else of the run depends on it.
    assert same["train/loss"] == told["train/loss"]
    assert {name: same[name] for name in found.known()} == {name: told[name] for name in found.known()}
    detections = [(tmp_path / run / results.DETECTIONS).read_bytes() for run in ("with", "without")]
    assert detections[0] == detections[1]
    assert not (tmp_path / "without" / results.TEST_DETECTIONS).exists()
