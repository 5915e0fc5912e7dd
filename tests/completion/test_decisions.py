"""Decisions complete an annotation file: what was there stays byte for byte, and every mistake is one sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from siod.completion.decisions import Completed, apply
from siod.completion.proposals import CategoryRate, Origin, Proposal, Proposals, write_proposals
from siod.completion.rejected import rejected_boxes
from siod.data import coco
from siod.data.annotation_sets import Full
from siod.data.category_states import Declared
from siod.data.loading.loader import train_batches
from siod.data.source import CocoFiles, prepare
from siod.data.transforms import Augmentation
from siod.errors import UserError
from siod.state import State

ABSENT, COMPLETE, SOME, UNKNOWN, UNLABELLED = State
# Written by hand, with blanks and numbers that an encoder would write in another way.
SOURCE = """{"info": {"year": 2026, "annotation_set": {"policy": "keep", "k": 1, "seed": 0}}, "licenses": [],
"images": [{"id": 4,  "file_name": "a.png", "width": 64, "height": 64, "gps": 1.50},
           {"id": 9,  "file_name": "b.png", "width": 64, "height": 64, "gps": 2e0}],
"annotations": [{"id": 8, "image_id": 4, "category_id": 3, "bbox": [1, 2, 10.0, 10], "mine":  [1.0]}],
"categories": [{"id": 5, "name": "dog"}, {"id": 3, "name": "cat", "colour":  "red"}]}"""
BOXES = (
    Proposal(17, 4, 3, (20.0, 5.0, 8.0, 8.0), 0.75, 0.125, 0.0, 0.25, "some"),
    Proposal(18, 4, 3, (40.0, 5.0, 8.0, 8.0), 0.5, None, None, None, "some"),
    Proposal(19, 9, 5, (1.0, 1.0, 30.0, 30.0), 0.25, None, None, None, "unknown"),
)


def proposals(folder: Path, source: str = SOURCE) -> Proposals:
    (folder / "mine.json").write_text(source)
    dataset = coco.read(folder / "mine.json")
    rates = tuple(CategoryRate(one.id, 1, 0.5, None, None, None, pooled=False, reason="") for one in dataset.categories)
    origin = Origin(
        str(dataset.path), dataset.sha256, str(folder / "images"), "a detector", 0.1, None, None, 0.9, rates
    )
    return write_proposals(folder / "review" / "proposals.json", origin, dataset, BOXES)


def decided(made: Proposals, folder: Path, **changes: Any) -> Path:
    document = {
        "version": 1,
        "proposals": str(folder / "review" / "proposals.json"),
        "proposals_sha256": made.sha256,
        "reviewer": "Ada",
        "minutes": 12.5,
        "saved": "2026-11-28T07:00:00Z",
        "decisions": [],
        "added": [],
        "complete": [],
        **changes,
    }
    path = folder / "decisions.json"
    path.write_text(json.dumps(document))
    return path


SOME_OF_ALL: dict[str, Any] = {
    "decisions": [
        {"id": 17, "decision": "accept", "at": "1", "bbox": [21, 5.5, 8, 7]},
        {"id": 18, "decision": "reject", "at": "2"},
        {"id": 19, "decision": "accept", "at": "3", "category_id": 3},
    ],
    "added": [{"image_id": 9, "category_id": 5, "bbox": [50, 50, 10, 4], "at": "4"}],
    "complete": [9],
}


def test_accepted_and_added_boxes_become_annotations(tmp_path: Path) -> None:
    made = proposals(tmp_path)
    completed = apply(decided(made, tmp_path, **SOME_OF_ALL), out=tmp_path / "out.json")
    common = {"iscrowd": 0, "segmentation": []}
    assert json.loads((tmp_path / "out.json").read_text())["annotations"][1:] == [
        {"id": 17, "image_id": 4, "category_id": 3, "bbox": [21, 5.5, 8, 7], "area": 56, **common}
        | {"proposed": {"score": 0.75, "fdr": 0.125, "bbox": [20, 5, 8, 8]}},
        {"id": 19, "image_id": 9, "category_id": 3, "bbox": [1, 1, 30, 30], "area": 900, **common}
        | {"proposed": {"score": 0.25, "fdr": None, "category_id": 5}},
        {"id": 20, "image_id": 9, "category_id": 5, "bbox": [50, 50, 10, 4], "area": 40, **common},
    ]
    assert completed == Completed(tmp_path / "out.json", 3, 2, 1, 1, 1, 1, 2, 1, states_in_images=True)
    assert completed.undecided == 0
    assert coco.read(tmp_path / "out.json").boxes_xywh.shape == (4, 4)


def test_what_was_there_stays_byte_for_byte(tmp_path: Path) -> None:
    made = proposals(tmp_path)
    apply(decided(made, tmp_path, **SOME_OF_ALL), out=tmp_path / "out.json")
    assert (tmp_path / "mine.json").read_text() == SOURCE
    source, completed = coco.read(tmp_path / "mine.json"), coco.read(tmp_path / "out.json")
    for section in ("categories", "licenses"):
        assert bytes(completed.sections[section]) == bytes(source.sections[section])
    assert bytes(completed.annotation_records()[0]) == bytes(source.annotation_records()[0])
    # Where every image is complete, no image has to say anything.
    apply(decided(made, tmp_path, complete=[4, 9]), out=tmp_path / "all.json")
    entries = [bytes(record) for record in coco.read(tmp_path / "all.json").image_records()]
    assert entries == [bytes(record) for record in source.image_records()]


def test_the_file_says_who_decided_what_and_when(tmp_path: Path) -> None:
    made = proposals(tmp_path)
    apply(decided(made, tmp_path, **SOME_OF_ALL), out=tmp_path / "out.json", declared=Declared(("dog",), "some"))
    info = json.loads((tmp_path / "out.json").read_text())["info"]
    assert set(info) == {"year", "completion"}
    record = info["completion"]
    assert record["source_sha256"] == made.annotated.sha256
    assert record["source_info"] == {"year": 2026, "annotation_set": {"policy": "keep", "k": 1, "seed": 0}}
    assert record["declared"] == {"complete": ["dog"], "others": "some"}
    assert (record["proposals_sha256"], record["detector"], record["max_fdr"]) == (made.sha256, "a detector", 0.1)
    assert (record["reviewer"], record["minutes"], record["saved"]) == ("Ada", 12.5, "2026-11-28T07:00:00Z")
    assert record["decisions"] == SOME_OF_ALL["decisions"]
    assert record["added"] == SOME_OF_ALL["added"]
    assert record["complete"] == [9]
    assert record["counts"] == {
        "proposed": 3,
        "accepted": 2,
        "rejected": 1,
        "undecided": 0,
        "moved": 1,
        "recategorised": 1,
        "added": 1,
        "images": 2,
        "complete": 1,
    }


def test_what_was_done_is_said_in_sentences() -> None:
    completed = Completed(Path("out.json"), 9, 4, 2, 1, 0, 3, 20, 5, states_in_images=True)
    assert completed.sentences() == (
        "out.json: 4 of 9 proposals were accepted (1 moved, 0 with another category), 2 rejected, 3 left undecided",
        "3 boxes were added that nobody had proposed",
        "5 of 20 images are complete: every object in them has its box",
        "the images say which categories may still lack boxes; train on the file without complete and others",
    )
    assert len(replace(completed, states_in_images=False).sentences()) == 3


def complete_twice(folder: Path, decision: dict[str, Any]) -> Path:
    """Complete a file, propose for it ten ids higher, and complete it by one decision more."""
    made = proposals(folder)
    apply(decided(made, folder, **SOME_OF_ALL), out=folder / "once.json")
    (folder / "second").mkdir()
    again = proposals(folder / "second", (folder / "once.json").read_text())
    boxes = tuple(msgspec.structs.replace(box, id=box.id + 10) for box in BOXES)
    again = write_proposals(folder / "second" / "review" / "proposals.json", again.origin, again.annotated, boxes)
    apply(decided(again, folder / "second", decisions=[decision]), out=folder / "twice.json")
    return folder / "twice.json"


def test_a_file_can_be_completed_twice(tmp_path: Path) -> None:
    twice = complete_twice(tmp_path, {"id": 28, "decision": "accept"})
    document = json.loads(twice.read_text())
    assert [entry["id"] for entry in document["annotations"]] == [8, 17, 19, 20, 28]
    assert document["info"]["completion"]["source_info"]["completion"]["counts"]["accepted"] == 2
    assert document["info"]["completion"]["counts"]["accepted"] == 1


def test_what_was_rejected_is_remembered_over_two_completions(tmp_path: Path) -> None:
    twice = complete_twice(tmp_path, {"id": 29, "decision": "reject"})
    found = rejected_boxes(coco.read(twice))
    # categories in the order of their ids: cat is 3, dog is 5
    assert (found.image.tolist(), found.label.tolist()) == ([1, 0], [1, 0])
    assert found.boxes_xyxy.tolist() == [[1, 1, 31, 31], [40, 5, 48, 13]]
    assert len(rejected_boxes(coco.read(tmp_path / "mine.json"))) == 0


def test_damaged_rejections_are_refused(tmp_path: Path) -> None:
    document = json.loads(SOURCE) | {"info": {"completion": {"rejected": [{"image_id": 4}]}}}
    coco.write(tmp_path / "mine.json", document)
    with pytest.raises(UserError, match=r"mine\.json: info\.completion\.rejected is damaged \(Object missing required"):
        rejected_boxes(coco.read(tmp_path / "mine.json"))


def test_training_reads_the_file_and_its_states(tmp_path: Path) -> None:
    """Image 4 had a cat of perhaps more, and image 9 nothing; image 9 is complete now."""
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 64)).save(tmp_path / "images" / name)
    made = proposals(tmp_path)
    apply(decided(made, tmp_path, **SOME_OF_ALL | {"added": []}), out=tmp_path / "out.json")
    path, images = tmp_path / "out.json", tmp_path / "images"
    files = CocoFiles(train_annotations=path, train_images=images, val_annotations=path, val_images=images)
    data = prepare(files, Full(), tmp_path / "cache")
    (batch,) = train_batches(data, Augmentation(input_size=(64, 64)), batch_size=2, seed=0, epoch=1)
    found = {
        image: None if target.states is None else target.states.tolist()
        for image, target in zip(batch.image_ids, batch.targets, strict=True)
    }
    # Labels are in the order of ids: cat, dog.
    assert found == {4: [SOME, ABSENT], 9: [COMPLETE, ABSENT]}


def test_files_that_were_moved_are_named(tmp_path: Path) -> None:
    made = proposals(tmp_path)
    decisions = decided(made, tmp_path, decisions=[{"id": 18, "decision": "accept"}])
    (tmp_path / "mine.json").rename(tmp_path / "moved.json")
    (tmp_path / "review").rename(tmp_path / "seen")
    completed = apply(
        decisions, out=tmp_path / "out.json", proposals=tmp_path / "seen", annotations=tmp_path / "moved.json"
    )
    assert completed.accepted == 1


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"version": 2}, "version is 2, this siod reads 1; use the siod that wrote it"),
    ({"proposals_sha256": "0"}, r"proposals_sha256 is not that of .*proposals.json; name the proposals that were"),
    ({"decisions": [{"id": 8, "decision": "accept"}]}, r"decisions\[0\].id 8 is no proposal; name the decisions"),
    (
        {"decisions": [{"id": 17, "decision": "accept"}, {"id": 17, "decision": "reject"}]},
        r"decisions\[1\].id 17 was decided before; leave one decision",
    ),
    (
        {"decisions": [{"id": 17, "decision": "accept", "category_id": 4}]},
        r"decisions\[0\].category_id 4 is no category of the annotation file; correct it",
    ),
    (
        {"decisions": [{"id": 17, "decision": "accept", "bbox": [60, 5, 8, 7]}]},
        r"decisions\[0\].bbox \[60.0, 5.0, 8.0, 7.0\] reaches outside its image \(image 4, 64 x 64 px\); correct or",
    ),
    (
        {"decisions": [{"id": 17, "decision": "accept", "bbox": [-2, 5, 8, 7]}]},
        r"decisions\[0\].bbox .* reaches outside its image",
    ),
    ({"decisions": [{"id": 17, "decision": "accept", "bbox": [6, 5, 0, 7]}]}, r"decisions\[0\].bbox .* has no area"),
    ({"decisions": [{"id": 17, "decision": "maybe"}]}, r"decisions\[0\].decision: invalid enum value 'maybe'; save"),
    ({"decisions": None}, r"decisions: expected `array`, got `null`; save the decisions again on the review page"),
    ({"added": [{"image_id": 5, "category_id": 3, "bbox": [1, 1, 2, 2]}]}, r"added\[0\].image_id 5 is no image of"),
    ({"added": [{"image_id": 4, "category_id": 4, "bbox": [1, 1, 2, 2]}]}, r"added\[0\].category_id 4 is no category"),
    ({"added": [{"image_id": 4, "category_id": 3, "bbox": [1, 63, 2, 3]}]}, r"added\[0\].bbox .* outside its image"),
    ({"complete": [9, 7]}, r"complete\[1\] 7 is no image of the annotation file; correct it"),
]


@pytest.mark.parametrize(("changes", "message"), FAULTS)
def test_decisions_that_cannot_be_applied_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    made = proposals(tmp_path)
    with pytest.raises(UserError, match=rf"decisions.json: {message}"):
        apply(decided(made, tmp_path, **changes), out=tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_a_damaged_or_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "decisions.json"
    with pytest.raises(UserError, match=r"decisions.json: No such file .*; name the file that the review page saved"):
        apply(path, out=tmp_path / "out.json")
    path.write_text('{"version": 1, "dec')
    with pytest.raises(UserError, match=r"decisions.json: is not JSON \(.*\); save the decisions again"):
        apply(path, out=tmp_path / "out.json")
    path.write_text("[]")
    with pytest.raises(UserError, match=r"decisions.json: the file: expected `object`, got `array`; save"):
        apply(path, out=tmp_path / "out.json")


@pytest.mark.parametrize("name", ["mine.json", "decisions.json", "review/proposals.json"])
def test_what_is_read_is_not_written_over(name: str, tmp_path: Path) -> None:
    made = proposals(tmp_path)
    with pytest.raises(UserError, match="is read to complete the annotations and would be lost; name another file"):
        apply(decided(made, tmp_path), out=tmp_path / name, proposals=tmp_path / "review")
    assert (tmp_path / "mine.json").read_text() == SOURCE
