"""The built-in kinds of data sources keep what training relies on; every check finds a source that does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, model_serializer

from siod.data.digits import Digits, write_digits
from siod.data.source import CocoFiles, CocoFolder, Source
from siod.testing.data_source import (
    DATA_SOURCE_CHECKS,
    check_data_source,
    check_every_judged_category_can_be_learnt,
    check_files_are_made_once,
    check_images_and_boxes_fit,
    check_settings_come_back,
    check_splits_share_no_image,
)

SMALL = Digits(train_images=8, val_images=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_digits(SMALL, tmp_path / "digits")
    return tmp_path / "digits"


def files(folder: Path) -> CocoFiles:
    return CocoFiles(
        train_annotations=folder / "annotations/instances_train.json",
        train_images=folder / "train",
        val_annotations=folder / "annotations/instances_val.json",
        val_images=folder / "val",
    )


SOURCES: dict[str, Callable[[Path], Source]] = {
    "digits": lambda folder: SMALL,
    "coco_folder": lambda folder: CocoFolder(root=folder),
    "coco_files": files,
    "small_copies": lambda folder: CocoFolder(root=folder, longest_px=48),
}


@pytest.mark.parametrize("check", DATA_SOURCE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", SOURCES)
def test_a_built_in_source_keeps_what_training_relies_on(
    check: Callable[[Source], None], kind: str, folder: Path
) -> None:
    check(SOURCES[kind](folder))


def test_settings_that_are_not_written_are_told(folder: Path) -> None:
    class Forgetful(CocoFolder):
        longest_px: int | None = Field(default=None, exclude=True)

    with pytest.raises(AssertionError, match="the settings change when they are written and read"):
        check_settings_come_back(Forgetful(root=folder, longest_px=48))


def test_settings_of_a_kind_that_experiments_do_not_know_are_told(folder: Path) -> None:
    class Stray(CocoFolder):
        shuffled: bool = False

    with pytest.raises(AssertionError, match=r"experiments cannot read the settings .*unknown setting 'shuffled'"):
        check_settings_come_back(Stray(root=folder))


def test_files_that_are_another_at_each_call_are_told() -> None:
    calls = count()

    class Restless(Digits):
        @model_serializer(mode="plain")
        def _counted(self) -> dict[str, Any]:
            return {"kind": self.kind, "train_images": 8, "val_images": 3, "call": next(calls)}

    with pytest.raises(AssertionError, match="prepared again the data is another; identity must follow"):
        check_files_are_made_once(Restless(train_images=8, val_images=3))


def test_an_image_of_both_splits_is_told(folder: Path) -> None:
    shutil.copy(folder / "train" / "000001.jpg", folder / "val" / "000002.jpg")
    with pytest.raises(AssertionError, match=r"val/000002\.jpg is the same image as .*train/000001\.jpg"):
        check_splits_share_no_image(CocoFolder(root=folder))


def test_an_image_of_another_size_than_its_record_is_told(folder: Path) -> None:
    path = folder / "annotations/instances_val.json"
    document = json.loads(path.read_text())
    document["images"][0]["width"] = 100
    path.write_text(json.dumps(document))
    with pytest.raises(AssertionError, match=r"cannot be prepared: .*is 96 x 96 px but its record says 100 x 96"):
        check_images_and_boxes_fit(CocoFolder(root=folder))


def test_a_category_that_cannot_be_learnt_is_told(folder: Path) -> None:
    path = folder / "annotations/instances_train.json"
    document = json.loads(path.read_text())
    document["annotations"] = [one for one in document["annotations"] if one["category_id"] != 2]
    path.write_text(json.dumps(document))
    with pytest.raises(AssertionError, match="digit 1 has boxes in the validation split but none in the training"):
        check_every_judged_category_can_be_learnt(CocoFolder(root=folder))


def test_all_checks_are_made_at_once(folder: Path) -> None:
    shutil.copy(folder / "train" / "000001.jpg", folder / "val" / "000002.jpg")
    with pytest.raises(AssertionError, match="is the same image as"):
        check_data_source(files(folder))
