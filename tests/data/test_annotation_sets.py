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
from siod.data.annotation_sets import (
    Full,
    Keep,
    Matched,
    Missing,
    Policy,
    Sparse,
    WholeImages,
    annotate,
    hidden,
    kept_rows,
    without_images,
)
from siod.data.selection import random_ranks
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


EVERY_POLICY: list[Policy] = [
    Full(),
    *(Keep(k=k, choice=choice) for k in (1, 2) for choice in ("random", "first", "largest", "center")),
    WholeImages(),
    *(Sparse(level=level, per_category=each) for level in ("easy", "hard", "extreme") for each in (False, True)),
    Missing(fraction=0.3),
    Matched(),
]


@pytest.mark.parametrize("policy", EVERY_POLICY, ids=lambda policy: "-".join(map(str, policy.model_dump().values())))
@given(instances=INSTANCES, crowds=st.frozensets(st.integers(0, 10)))
@settings(max_examples=15, deadline=None)
def test_a_set_and_its_hidden_half_share_the_instances_of_the_source(
    folder: Path, policy: Policy, instances: list[tuple[int, int]], crowds: frozenset[int]
) -> None:
    document = dataset_of(instances, crowds=crowds)
    dataset = read(document, folder)
    for name, derived in (("kept", annotate(dataset, policy)), ("hidden", hidden(dataset, policy))):
        coco.write(folder / f"{name}.json", derived)
    kept, rest = (coco.read(folder / f"{name}.json") for name in ("kept", "hidden"))
    if policy != Full():
        assert not kept.iscrowd.any()
        everything = {annotation["id"] for annotation in document["annotations"] if not annotation["iscrowd"]}
        assert sorted([*kept.annotation_ids, *rest.annotation_ids]) == sorted(everything)
    else:
        assert kept.raw["annotations"] == document["annotations"]
        assert len(rest.annotation_ids) == 0
    assert kept.images == rest.images == dataset.images
    assert kept.info()["annotation_set"]["counts"]["kept"] == len(kept.annotation_ids)


RANDOM: list[Policy] = [
    Keep(k=2, seed=5),
    WholeImages(seed=5),
    Sparse(level="hard", seed=5),
    Sparse(level="easy", per_category=True, seed=5),
    Missing(fraction=0.5, seed=5),
    Matched(seed=5),
]


@pytest.mark.parametrize("policy", [*RANDOM, Keep(choice="largest"), Keep(choice="center")])
@given(instances=INSTANCES, order=st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_no_policy_but_first_depends_on_the_order_of_the_file(
    folder: Path, policy: Policy, instances: list[tuple[int, int]], order: random.Random
) -> None:
    plain = kept_ids(read(dataset_of(instances), folder), policy)
    assert kept_ids(read(dataset_of(instances, order=order), folder), policy) == plain


@pytest.mark.parametrize("policy", RANDOM)
def test_another_seed_makes_another_set(folder: Path, policy: Policy) -> None:
    # One instance in image 0, two in image 1, ...: whole images differ in size.
    instances = [(image, category) for image in range(5) for category in range(4) for _ in range(image + 1)]
    dataset = read(dataset_of(instances), folder)
    sets = {frozenset(kept_ids(dataset, policy.model_copy(update={"seed": seed}))) for seed in range(10)}
    assert len(sets) > 1
    assert kept_ids(dataset, policy) == kept_ids(dataset, policy.model_copy())


def boxes(*rows: tuple[float, float, float, float]) -> dict[str, Any]:
    document = dataset_of([(0, 0)] * len(rows))
    document["images"][0].update(width=100, height=60)
    for annotation, row in zip(document["annotations"], rows, strict=True):
        annotation["bbox"] = list(row)
    return document


def test_first_largest_and_center_choose_what_they_say(folder: Path) -> None:
    # The image's centre is (50, 30). Box 2 is centred at (51, 31), box 1 is largest, box 0 stands first.
    dataset = read(boxes((0, 0, 5, 5), (0, 0, 40, 40), (41, 21, 20, 20)), folder)
    assert kept_ids(dataset, Keep(choice="first")) == {0}
    assert kept_ids(dataset, Keep(choice="largest")) == {1}
    assert kept_ids(dataset, Keep(choice="center")) == {2}
    assert kept_ids(dataset, Keep(choice="center", k=2)) == {1, 2}


def test_a_box_is_as_far_from_the_centre_as_its_own_centre(folder: Path) -> None:
    # The first is centred at the image's centre (50, 30), the second at (52, 32): their corners are nearer in reverse.
    dataset = read(boxes((35, 26, 30, 8), (48, 28, 8, 8)), folder)
    assert kept_ids(dataset, Keep(choice="center")) == {0}


def test_the_largest_box_is_that_of_greatest_area(folder: Path) -> None:
    # 50 x 2 are 100 square pixels, 5 x 8 are 40, 2 x 40 are 80.
    dataset = read(boxes((0, 0, 5, 8), (0, 0, 50, 2), (0, 0, 2, 40)), folder)
    assert kept_ids(dataset, Keep(choice="largest")) == {1}


def test_first_follows_the_file_and_passes_over_crowds(folder: Path) -> None:
    document = dataset_of([(0, 0), (0, 0), (0, 0)], crowds=frozenset({2}))
    document["annotations"].reverse()
    assert kept_ids(read(document, folder), Keep(choice="first")) == {1}


COUNTS = {0: 1, 1: 2, 2: 5, 3: 6}
"""Instances of each image in the examples below; image 4 has none. They alternate between two categories."""


def alternating() -> dict[str, Any]:
    return dataset_of([(image, place % 2) for image, count in COUNTS.items() for place in range(count)])


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        (Sparse(level="easy"), [0, 1, 4, 5]),
        (Sparse(level="hard"), [1, 1, 3, 3]),  # of n boxes n // 2 go: 0, 1, 2, 3
        (Sparse(level="extreme"), [1, 1, 1, 1]),
        (Sparse(level="easy", per_category=True), [1, 2, 4, 5]),  # images 0 and 1 have one box of each category
        (Sparse(level="hard", per_category=True), [1, 2, 3, 3]),
        (Sparse(level="extreme", per_category=True), [1, 2, 2, 2]),
    ],
)
def test_sparse_levels_leave_the_stated_number_in_each_image(folder: Path, policy: Sparse, left: list[int]) -> None:
    dataset = read(alternating(), folder)
    for seed in range(5):
        kept = kept_rows(dataset, policy.with_changes({"seed": seed}))
        assert np.bincount(dataset.image_index[kept], minlength=4).tolist() == left
        if policy.per_category:
            present = set(zip(dataset.image_index.tolist(), dataset.labels.tolist(), strict=True))
            assert set(zip(dataset.image_index[kept].tolist(), dataset.labels[kept].tolist(), strict=True)) == present


@given(INSTANCES, st.floats(0.01, 0.99))
@settings(max_examples=40, deadline=None)
def test_missing_removes_the_rounded_fraction(folder: Path, instances: list[tuple[int, int]], fraction: float) -> None:
    kept = kept_rows(read(dataset_of(instances), folder), Missing(fraction=fraction))
    assert len(instances) - kept.sum() == round(fraction * len(instances))


@given(INSTANCES)
@settings(max_examples=40, deadline=None)
def test_matched_leaves_as_many_as_keep_1(folder: Path, instances: list[tuple[int, int]]) -> None:
    dataset = read(dataset_of(instances), folder)
    assert kept_rows(dataset, Matched()).sum() == kept_rows(dataset, Keep()).sum() == len(set(instances))


@given(INSTANCES, st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_whole_images_are_whole_flagged_and_hold_at_most_keep_1s_number(
    folder: Path, instances: list[tuple[int, int]], seed: int
) -> None:
    dataset = read(dataset_of(instances), folder)
    document = annotate(dataset, WholeImages(seed=seed))
    flags = {image["id"]: image["keep"] for image in document["images"]}
    kept = set(kept_ids(dataset, WholeImages(seed=seed)))
    assert set(flags.values()) <= {0, 1}
    assert kept == {i for i, (image, _) in enumerate(instances) if flags[image]}
    assert len(kept) <= len(set(instances))


def test_the_flags_of_whole_images_are_written_as_whole_numbers(folder: Path) -> None:
    coco.write(folder / "whole.json", annotate(read(dataset_of([(0, 0)]), folder), WholeImages()))
    flags = [image["keep"] for image in json.loads((folder / "whole.json").read_text())["images"]]
    assert {str(flag) for flag in flags} == {"0", "1"}


def test_an_image_that_cannot_be_flagged_is_named(folder: Path) -> None:
    text = json.dumps(dataset_of([(0, 0)])).replace('"file_name": "1.png"', '"file_name": "1.png", "exposure": 1e999')
    (folder / "beyond.json").write_text(text)
    with pytest.raises(UserError, match=r"beyond\.json: images\[1\] cannot be read"):
        annotate(coco.read(folder / "beyond.json"), WholeImages())


def test_whole_images_meet_the_number_exactly_when_they_can(folder: Path) -> None:
    # Images of 1, 1, 2 and 8 boxes; keep-1 has 1 + 1 + 1 + 3 = 6. The fourth never fits, the others hold 4.
    few = dataset_of([(0, 0), (1, 0), (2, 0), (2, 0), *[(3, i % 3) for i in range(8)]])
    assert len(kept_ids(read(few, folder), WholeImages())) == 4
    # Images of 2, 2, 1 and 1 boxes of one category: keep-1 has 4, which every order reaches.
    many = dataset_of([(0, 0), (0, 0), (1, 0), (1, 0), (2, 0), (3, 0)])
    for seed in range(10):
        assert len(kept_ids(read(many, folder), WholeImages(seed=seed))) == 4


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


def test_the_hidden_half_says_what_it_holds(coco_file: Path) -> None:
    dataset = coco.read(coco_file)
    rest = hidden(dataset, Keep(k=1, seed=4))
    account = annotate(dataset, Keep(k=1, seed=4))["info"]["annotation_set"]
    assert rest["info"] == {"year": 2026, "annotation_set": {**account, "holds": "hidden instances"}}


def test_without_images_their_annotations_go_too_and_the_document_names_them(folder: Path) -> None:
    document = {**dataset_of([(0, 0), (3, 1), (1, 2), (3, 3), (4, 0)]), "info": {"year": 2026}}
    coco.write(folder / "fewer.json", without_images(read(document, folder), [3, 0]))
    fewer = json.loads((folder / "fewer.json").read_text())
    assert fewer == {
        "info": {"year": 2026, "skipped_images": [3, 0]},
        "images": [document["images"][place] for place in (1, 2, 4)],
        "categories": document["categories"],
        "annotations": [document["annotations"][place] for place in (2, 4)],
    }


@pytest.mark.parametrize(
    "settings", [{"k": 0}, {"choice": "smallest"}, {"seed": -1}, {"kk": 1}, {"seed": 3, "choice": "first"}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(settings))):
        Keep.parse({"policy": "keep", **settings}, source="test")
