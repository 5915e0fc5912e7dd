"""Boxes are counted as a run uses them: kept, hidden and judged, by category."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from siod.data import coco
from siod.data.annotation_sets import Full, Keep, annotate, hidden
from siod.data.source import CocoFiles, PreparedData, prepare
from siod.data.stated_sets import stated_set
from siod.training.by_category import count_boxes


def image(number: int, categories: list[int], crowds: list[int]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An image with a box of each category named, and a crowd of each of ``crowds``."""
    boxes = [{"category_id": category, "iscrowd": 0} for category in categories]
    boxes += [{"category_id": category, "iscrowd": 1} for category in crowds]
    annotations = [
        {"id": 100 * number + place, "image_id": number, "bbox": [4 * place, 0, 4, 4], **box}
        for place, box in enumerate(boxes)
    ]
    return {"id": number, "file_name": f"{number}.png", "width": 64, "height": 64}, annotations


def document(*contents: tuple[list[int], list[int]]) -> dict[str, Any]:
    drawn = [image(number, *content) for number, content in enumerate(contents, start=1)]
    return {
        "images": [entry for entry, _ in drawn],
        "annotations": [annotation for _, annotations in drawn for annotation in annotations],
        "categories": [{"id": 1, "name": "cell"}, {"id": 2, "name": "cell"}, {"id": 5, "name": "never"}],
    }


@pytest.fixture
def files(tmp_path: Path) -> CocoFiles:
    """Training images with 3 and 1 boxes of category 1 and one of category 2; validation with one of each."""
    coco.write(tmp_path / "train.json", document(([1, 1, 1, 2], [1]), ([1], [])))
    coco.write(tmp_path / "val.json", document(([1, 2], [2])))
    return CocoFiles(
        train_annotations=tmp_path / "train.json",
        train_images=tmp_path,
        val_annotations=tmp_path / "val.json",
        val_images=tmp_path,
    )


def prepared(files: CocoFiles, policy: Keep | Full, folder: Path) -> PreparedData:
    return prepare(files, policy, folder / "cache", check_images="off")


def test_boxes_are_kept_hidden_or_judged_and_crowds_are_none_of_these(files: CocoFiles, tmp_path: Path) -> None:
    told = count_boxes(prepared(files, Keep(), tmp_path))
    assert told["categories"] == {
        "cell (1)": {"kept": 2, "hidden": 2, "judged": 1},
        "cell (2)": {"kept": 1, "hidden": 0, "judged": 1},
        "never": {"kept": 0, "hidden": 0, "judged": 0},
    }
    # The derived set is ours; its source says nothing.
    assert (told["train_set"], told["val_set"]) == ("", "")


@pytest.mark.parametrize("field", ["neg_category_ids", "not_exhaustive_category_ids"])
def test_a_validation_file_that_says_what_was_looked_for_is_told(files: CocoFiles, field: str, tmp_path: Path) -> None:
    assert not count_boxes(prepared(files, Full(), tmp_path))["federated"]
    judged = document(([1, 2], [2]))
    judged["images"][0][field] = [5]
    coco.write(files.val_annotations, judged)
    assert count_boxes(prepared(files, Full(), tmp_path))["federated"]


def test_a_file_that_is_part_of_another_is_named_though_nothing_is_hidden_from_it(
    files: CocoFiles, tmp_path: Path
) -> None:
    alone = tmp_path / "alone.json"
    coco.write(alone, annotate(coco.read(files.train_annotations), Keep()))
    told = count_boxes(prepared(files.with_changes({"train_annotations": alone}), Full(), tmp_path))
    assert told["categories"]["cell (1)"] == {"kept": 2, "hidden": 0, "judged": 1}
    assert (told["train_set"], told["val_set"]) == ("keep-1", "")


@pytest.mark.parametrize(
    ("account", "name"),
    [
        ({"policy": "keep", "k": 3}, "keep-3"),
        ({"policy": "saod", "level": "hard"}, "saod-hard"),
        ({"policy": "missing", "fraction": 0.5}, "missing-0.5"),
        ({"policy": "ssod"}, "ssod"),
        ({"policy": "full"}, ""),
        ({"policy": 7}, ""),
        ("keep", ""),
    ],
)
def test_a_set_is_named_as_on_the_command_line(account: Any, name: str) -> None:
    assert stated_set({"annotation_set": account}) == name


def test_what_a_source_said_is_found_behind_repairs_splits_and_imports(files: CocoFiles) -> None:
    source = coco.read(files.train_annotations)
    inner = json.loads(json.dumps(hidden(source, Keep())["info"]))
    assert stated_set({"source_info": inner, "repaired": {}}) == "hidden instances"
    assert stated_set({"import": {"sources": [{"infos": []}, {"infos": [inner]}]}}) == "hidden instances"
