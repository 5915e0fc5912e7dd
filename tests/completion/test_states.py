"""The states that a review leaves behind are those that training reads from the completed file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from siod.completion.states import Additions, completed_images
from siod.data import coco
from siod.data.annotation_sets import Keep, Missing, Policy, Sparse, WholeImages, annotate
from siod.data.category_states import FEDERATED, Declared, annotated_images, category_states
from siod.state import State

ABSENT, COMPLETE, SOME, UNKNOWN, UNLABELLED = State
IMAGES, NAMES = 3, ("cat", "dog", "owl")
IDS = (10, 20, 30)


def document(boxes: list[tuple[int, int, int]], entries: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Three images; each box by image, label and whether it is a crowd."""
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 64, "height": 64, **(entries[i] if entries else {})}
            for i in range(IMAGES)
        ],
        "categories": [{"id": number, "name": name} for number, name in zip(IDS, NAMES, strict=True)],
        "annotations": [
            {"id": n, "image_id": image, "category_id": IDS[label], "bbox": [n, n, 5, 5], "iscrowd": crowd}
            for n, (image, label, crowd) in enumerate(boxes, start=1)
        ],
    }


def read(content: dict[str, Any], path: Path) -> coco.CocoDataset:
    path.write_bytes(msgspec.json.encode(content))
    return coco.read(path)


def additions(new: list[tuple[int, int]], complete: list[bool]) -> Additions:
    places = np.array(new, dtype=np.int64).reshape(-1, 2)
    return Additions(places[:, 0], places[:, 1], np.array(complete))


def completed(
    source: coco.CocoDataset, new: list[tuple[int, int]], complete: list[bool], declared: Declared | None = None
) -> tuple[coco.CocoDataset, bool]:
    """The completed file as it is read for training, and whether its images say their states."""
    images, said = completed_images(source, additions(new, complete), declared)
    boxes = [
        {"id": 1000 + n, "image_id": image, "category_id": IDS[label], "bbox": [n, n, 4, 4], "iscrowd": 0}
        for n, (image, label) in enumerate(new)
    ]
    content = {**source.sections, "info": {}, "images": images, "annotations": [*source.annotation_records(), *boxes]}
    return read(content, source.path.with_name("completed.json")), said


def states(dataset: coco.CocoDataset, declared: Declared | None = None) -> list[list[int]]:
    found = category_states(dataset, dataset, declared)
    if found is not None:
        return found.tolist()
    table = np.full((IMAGES, len(IDS)), ABSENT)
    table[dataset.image_index[~dataset.iscrowd], dataset.labels[~dataset.iscrowd]] = COMPLETE
    return table.tolist()


def expected(
    source: coco.CocoDataset, new: list[tuple[int, int]], complete: list[bool], declared: Declared | None
) -> list[list[int]]:
    """Cell by cell, as the module says it."""
    before = states(source, declared)
    boxed = {*zip(source.image_index[~source.iscrowd].tolist(), source.labels[~source.iscrowd].tolist(), strict=True)}
    crowded = {*zip(source.image_index[source.iscrowd].tolist(), source.labels[source.iscrowd].tolist(), strict=True)}
    for cell in ((image, label) for image in range(IMAGES) for label in range(len(IDS))):
        image, label = cell
        if complete[image]:
            unboxed = UNKNOWN if cell in crowded else ABSENT
            before[image][label] = COMPLETE if cell in boxed | {*new} else unboxed
        elif cell in new or (cell in boxed and before[image][label] == UNKNOWN):
            before[image][label] = SOME
    return before


POLICIES: list[Policy | None] = [None, Keep(), Keep(k=2), Missing(fraction=0.4), Sparse(level="hard"), WholeImages()]
cells = st.tuples(st.integers(0, IMAGES - 1), st.integers(0, len(IDS) - 1))
some_ids = st.lists(st.sampled_from(IDS), unique=True)
fields = st.fixed_dictionaries({}, optional=dict.fromkeys(FEDERATED, some_ids))
declarations = st.none() | st.builds(
    Declared,
    st.lists(st.sampled_from(NAMES), unique=True).map(tuple),
    st.sampled_from(["some", "unlabelled"]),
)


@dataclass(frozen=True)
class Review:
    """What an annotation file says, and what a review adds."""

    boxes: list[tuple[int, int, int]]
    entries: list[dict[str, Any]] | None
    policy: Policy | None
    declared: Declared | None
    new: list[tuple[int, int]]
    complete: list[bool]


reviews = st.builds(
    Review,
    boxes=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from([0, 0, 1])), max_size=10),
    entries=st.none() | st.lists(fields, min_size=IMAGES, max_size=IMAGES),
    policy=st.sampled_from(POLICIES),
    declared=declarations,
    new=st.lists(cells, max_size=4),
    complete=st.lists(st.booleans(), min_size=IMAGES, max_size=IMAGES),
)


@given(review=reviews)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_states_come_back_from_the_completed_file(tmp_path: Path, review: Review) -> None:
    source = read(document(review.boxes, review.entries), tmp_path / "full.json")
    if review.policy is not None:
        source = read(annotate(source, review.policy), tmp_path / "learnt.json")
    made, said = completed(source, review.new, review.complete, review.declared)
    assert states(made) == expected(source, review.new, review.complete, review.declared)
    assert said == (b"category_ids" in bytes(made.sections["images"]))
    # An image that a policy left bare is annotated once it has a box or is complete.
    grown = {image for image, _ in review.new}
    looked_at = [image in grown or review.complete[image] for image in range(IMAGES)]
    assert annotated_images(made, made).tolist() == (annotated_images(source, source) | looked_at).tolist()


SINGLE = document([(0, 0, 0), (1, 1, 0)]) | {"info": {"annotation_set": {"policy": "keep"}}}


def test_the_fields_of_single_instance_annotation_are_these(tmp_path: Path) -> None:
    """Image 0 gets an owl, which the annotators had not seen; image 1 is complete, image 2 is as it was."""
    made, said = completed(read(SINGLE, tmp_path / "single.json"), [(0, 2)], [False, True, False])
    entries = [json.loads(bytes(record)) for record in made.image_records()]
    assert said
    assert [entry["neg_category_ids"] for entry in entries] == [[20], [10, 30], [10, 20, 30]]
    assert [entry["not_exhaustive_category_ids"] for entry in entries] == [[10, 30], [], []]
    assert states(made) == [[SOME, ABSENT, SOME], [ABSENT, COMPLETE, ABSENT], [ABSENT] * 3]


def test_nobody_need_have_looked_for_what_a_complete_image_lacks(tmp_path: Path) -> None:
    source = read(document([(0, 0, 0), (1, 1, 1)]), tmp_path / "source.json")
    made, said = completed(source, [], [True, True, False], Declared((), "unlabelled"))
    assert said
    # The crowd of dogs in image 1 is of dogs without boxes of their own.
    assert states(made) == [[COMPLETE, ABSENT, ABSENT], [ABSENT, UNKNOWN, ABSENT], [UNLABELLED] * 3]


def test_a_completed_file_of_lvis_loses_its_fields_when_all_is_known(tmp_path: Path) -> None:
    entries = [{"neg_category_ids": [10]}, {"not_exhaustive_category_ids": [20]}, {}]
    source = read(document([(1, 1, 0)], entries), tmp_path / "lvis.json")
    made, said = completed(source, [], [True] * 3)
    assert not said
    assert [json.loads(bytes(record)) for record in made.image_records()] == document([])["images"]
    assert category_states(made, made, None) is None


def test_an_image_of_lvis_in_which_nothing_changes_stays_byte_for_byte(tmp_path: Path) -> None:
    entries = [{"neg_category_ids": [10, 10], "gps": 1.5}, {"not_exhaustive_category_ids": [20]}, {}]
    source = read(document([(1, 1, 0)], entries), tmp_path / "lvis.json")
    made, _ = completed(source, [(1, 0)], [False] * 3)
    before, after = ([bytes(record) for record in dataset.image_records()] for dataset in (source, made))
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]


@pytest.mark.parametrize(("new", "complete", "keep"), [([], [], 0), ([(0, 0)], [], 1), ([], [0], 1)])
def test_a_bare_image_is_annotated_once_it_was_looked_at(
    new: list[tuple[int, int]], complete: list[int], keep: int, tmp_path: Path
) -> None:
    content = document([(1, 0, 0)], [{"keep": 0}, {"keep": 1}, {"keep": 0}])
    source = read({**content, "info": {"annotation_set": {"policy": "ssod"}}}, tmp_path / "bare.json")
    made, _ = completed(source, new, [image in complete for image in range(IMAGES)])
    assert [json.loads(bytes(record))["keep"] for record in made.image_records()] == [keep, 1, 0]
