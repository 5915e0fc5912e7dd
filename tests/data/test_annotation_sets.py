"""Derived sets: the counts are exact, the choice is fair, repeatable and independent of the file's order."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siod.data import coco
from siod.data.annotation_sets import Full, Keep, annotate, kept_rows, random_ranks
from siod.errors import UserError


def dataset_of(
    instances: list[tuple[int, int]], *, crowds: frozenset[int] = frozenset(), order: Any = None
) -> dict[str, Any]:
    """A data set with one box per (image, category), numbered in this order; ``order`` shuffles the file."""
    annotations = [
        {"id": i, "image_id": image, "category_id": category, "bbox": [i % 9, 0, 1, 1], "iscrowd": int(i in crowds)}
        for i, (image, category) in enumerate(instances)
    ]
    if order is not None:
        order.shuffle(annotations)
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 10, "height": 10} for i in range(5)],
        "categories": [{"id": i, "name": str(i)} for i in range(4)],
        "annotations": annotations,
    }


def read(document: dict[str, Any], folder: Path) -> coco.CocoDataset:
    (folder / "x.json").write_text(json.dumps(document))
    return coco.read(folder / "x.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sets")


def kept_ids(dataset: coco.CocoDataset, policy: Any) -> set[int]:
    return set(dataset.annotation_ids[kept_rows(dataset, policy)].tolist())


INSTANCES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=40)


def test_full_keeps_every_box_and_crowd(folder: Path) -> None:
    dataset = read(dataset_of([(0, 0), (0, 0), (1, 2)], crowds=frozenset({1})), folder)
    assert kept_ids(dataset, Full()) == {0, 1, 2}


@given(INSTANCES, st.integers(1, 4), st.integers(0, 2**63 - 1))
@settings(max_examples=80, deadline=None)
def test_keep_k_leaves_the_smaller_of_k_and_what_there_is(
    folder: Path, instances: list[tuple[int, int]], k: int, seed: int
) -> None:
    dataset = read(dataset_of(instances), folder)
    kept = kept_rows(dataset, Keep(k=k, seed=seed))
    groups = Counter(instances)
    left = Counter(zip(dataset.image_index[kept].tolist(), dataset.labels[kept].tolist(), strict=True))
    assert left == {group: min(count, k) for group, count in groups.items()}


def test_counts_of_5_1_5_5_with_k_3_keep_3_1_3_3(folder: Path) -> None:
    instances = [(0, category) for category, count in enumerate((5, 1, 5, 5)) for _ in range(count)]
    dataset = read(dataset_of(instances), folder)
    kept = kept_rows(dataset, Keep(k=3))
    assert np.bincount(dataset.labels[kept]).tolist() == [3, 1, 3, 3]


@given(INSTANCES, st.integers(0, 100), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_choice_does_not_depend_on_the_order_of_the_file(
    folder: Path, instances: list[tuple[int, int]], seed: int, order: random.Random
) -> None:
    plain = kept_ids(read(dataset_of(instances), folder), Keep(seed=seed))
    shuffled = kept_ids(read(dataset_of(instances, order=order), folder), Keep(seed=seed))
    assert shuffled == plain


@given(INSTANCES, st.integers(0, 100))
@settings(max_examples=50, deadline=None)
def test_keep_1_is_part_of_keep_2_of_the_same_seed(folder: Path, instances: list[tuple[int, int]], seed: int) -> None:
    dataset = read(dataset_of(instances), folder)
    assert kept_ids(dataset, Keep(k=1, seed=seed)) <= kept_ids(dataset, Keep(k=2, seed=seed))


def test_every_instance_of_a_group_is_chosen_about_equally_often(folder: Path) -> None:
    dataset = read(dataset_of([(0, 0)] * 4), folder)
    chosen = Counter(next(iter(kept_ids(dataset, Keep(seed=seed)))) for seed in range(400))
    # Binomial(400, 1/4): mean 100, standard deviation 8.7; 65 to 135 is four deviations.
    assert all(65 <= chosen[instance] <= 135 for instance in range(4))


def test_a_crowd_box_is_never_kept_even_when_it_stands_alone(folder: Path) -> None:
    dataset = read(dataset_of([(0, 0), (0, 0), (1, 1)], crowds=frozenset({0, 2})), folder)
    for seed in range(20):
        assert kept_ids(dataset, Keep(seed=seed)) == {1}


def test_the_hash_is_the_published_one() -> None:
    # SplitMix64 from state 0 yields 0xE220A8397B1DCDAF first: the salt of seed 0. An id equal to the salt
    # therefore cancels to state 0 again.
    salt = 0xE220A8397B1DCDAF
    as_signed = np.array([salt], dtype=np.uint64).astype(np.int64)
    assert random_ranks(as_signed, 0).tolist() == [salt]


def test_the_document_says_what_was_done_and_keeps_the_rest(coco_file: Path, document: dict[str, Any]) -> None:
    dataset = coco.read(coco_file)
    derived = annotate(dataset, Keep(k=1, seed=4))
    assert derived["info"] == {
        "year": 2026,
        "annotation_set": {
            "policy": "keep",
            "k": 1,
            "choice": "random",
            "seed": 4,
            "source_sha256": dataset.sha256,
            "counts": {"source": 4, "source_crowd": 1, "kept": 2},
        },
    }
    coco.write(coco_file.with_name("derived.json"), derived)
    again = json.loads(coco_file.with_name("derived.json").read_text())
    for section in ("images", "categories", "licenses"):
        assert again[section] == document[section]
    originals = {annotation["id"]: annotation for annotation in document["annotations"]}
    assert len(again["annotations"]) == 2
    assert all(annotation == originals[annotation["id"]] for annotation in again["annotations"])


@pytest.mark.parametrize("settings", [{"k": 0}, {"choice": "smallest"}, {"seed": -1}, {"kk": 1}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(settings))):
        Keep.parse({"policy": "keep", **settings}, source="test")
