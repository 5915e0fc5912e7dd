"""A division by hash stays when images are added, keeps groups together, and gives each category to each split."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siod.data import coco
from siod.data.formats.split_files import split_file
from siod.data.formats.splitting import Shares, divide, group_keys, split_of
from siod.errors import UserError

CAT, DOG = frozenset({"cat"}), frozenset({"dog"})


@given(
    st.lists(st.text(), unique=True, min_size=1, max_size=30),
    st.lists(st.text(), unique=True, max_size=30),
    st.integers(0, 99),
)
def test_adding_images_moves_none(old: list[str], new: list[str], seed: int) -> None:
    shares = Shares(val=0.3, test=0.2, seed=seed)
    before = divide(old, [CAT] * len(old), shares)
    keys = [*new, *old]
    after = divide(keys, [DOG] * len(keys), shares)
    assert after.splits[len(new) :] == before.splits


def test_without_a_seed_the_first_takes_large_sets_and_goes_on_doing_so() -> None:
    keys = [f"image {number}" for number in range(2000)]
    categories = [CAT if number % 10 else DOG for number in range(2000)]
    for count in (300, 500, 1000, 2000):
        division = divide(keys[:count], categories[:count], Shares(val=0.2, test=0.1))
        assert (division.seed, division.missing) == (0, ())
    counts = Counter(division.splits)
    # Shares are met on average: 400 of 2000 with a standard deviation of 18, 200 with one of 13.
    assert abs(counts["val"] - 400) < 4 * 18
    assert abs(counts["test"] - 200) < 4 * 13.5
    dogs = Counter(split for split, shown in zip(division.splits, categories, strict=True) if shown == DOG)
    assert abs(dogs["val"] - 40) < 4 * 5.7


def test_a_larger_share_takes_images_from_training_alone() -> None:
    keys = [str(number) for number in range(200)]
    small = [split_of(key, 3, Shares(val=0.1, test=0.2)) for key in keys]
    large = [split_of(key, 3, Shares(val=0.4, test=0.2)) for key in keys]
    moved = {(a, b) for a, b in zip(small, large, strict=True) if a != b}
    assert moved == {("train", "val")}


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_small_sets_have_every_category_in_every_split(count: int) -> None:
    """Half of the images show cats, the other half dogs: a seed is found that puts both everywhere."""
    keys = [f"{number}.jpg" for number in range(2 * count)]
    division = divide(keys, [CAT, DOG] * count, Shares(val=0.3))
    seen = {(split, *shown) for split, shown in zip(division.splits, [CAT, DOG] * count, strict=True)}
    assert seen == {("train", "cat"), ("train", "dog"), ("val", "cat"), ("val", "dog")}


def test_a_category_with_too_few_images_is_no_reason_for_another_seed() -> None:
    keys = [str(number) for number in range(300)]
    division = divide(keys, [DOG, *[CAT] * 299], Shares())
    assert (division.seed, division.missing) == (0, ())


def test_a_seed_of_ones_own_is_taken_and_what_it_lacks_is_told() -> None:
    keys = ["a", "b"]
    missing = {seed: divide(keys, [CAT, CAT], Shares(val=0.5, seed=seed)).missing for seed in range(20)}
    assert set(missing.values()) == {(), (("cat", "train"),), (("cat", "val"),)}


@given(st.integers(0, 99))
def test_groups_stay_together(seed: int) -> None:
    names = [f"video{number % 7}_{number:04d}.jpg" for number in range(70)]
    keys = group_keys(names, r"(video\d+)_")
    division = divide(keys, [CAT] * 70, Shares(val=0.3, group="(.*)_", seed=seed))
    assert all(len({division.splits[place] for place in range(video, 70, 7)}) == 1 for video in range(7))


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({"val": 0.0}, "--val 0 and --test 0: must leave a share above 0"),
        ({"val": 0.5, "test": 0.5}, "must leave a share above 0"),
        ({"group": "("}, "is no regular expression"),
        ({"group": "a+"}, "has no group; put what names a video in parentheses"),
    ],
)
def test_shares_and_groups_that_cannot_be_are_refused(wish: dict[str, float | str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Shares(**wish)  # type: ignore[arg-type]


def test_a_name_without_its_group_is_refused() -> None:
    with pytest.raises(UserError, match=r"finds no group in 'still\.jpg'"):
        group_keys(["video1_a.jpg", "still.jpg"], r"(video\d+)")


def twelve(path: Path, *, hashes: bool) -> coco.CocoDataset:
    images = [
        {"id": 9 * place, "file_name": f"{place}.png", "width": 8, "height": 8}
        | ({"sha256": f"h{place}"} if hashes else {})
        for place in range(12)
    ]
    annotations = [
        {"id": place + 1, "image_id": 9 * place, "category_id": 7, "bbox": [0, 0, 2, 2], "mine": place}
        for place in range(12)
    ]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 7, "name": "cat"}]}
    path.write_text(json.dumps(document))
    return coco.read(path)


def test_a_file_is_divided_into_files_with_every_entry_as_it_was(tmp_path: Path) -> None:
    source = twelve(tmp_path / "all.json", hashes=False)
    made = split_file(source, tmp_path / "out", Shares(val=0.25, test=0.25))
    parts = {split: coco.read(tmp_path / "out" / f"instances_{split}.json").raw for split in ("train", "val", "test")}
    for section in ("images", "annotations"):
        entries = [entry for part in parts.values() for entry in part[section]]
        assert sorted(entries, key=lambda entry: int(entry["id"])) == source.raw[section]
    assert sum(images for images, _ in made.files.values()) == 12
    assert all(part["info"]["split"]["source_sha256"] == source.sha256 for part in parts.values())
    seed = parts["val"]["info"]["split"]["seed"]
    names = {entry["file_name"] for entry in parts["val"]["images"]}
    shares = Shares(val=0.25, test=0.25)
    assert names == {f"{place}.png" for place in range(12) if split_of(f"{place}.png", seed, shares) == "val"}


def test_the_hash_that_import_writes_counts_before_the_name(tmp_path: Path) -> None:
    made = split_file(twelve(tmp_path / "all.json", hashes=True), tmp_path / "out", Shares(val=0.4))
    assert made.remarks[0].startswith("divided by the hash of each image's content")
    document = coco.read(tmp_path / "out" / "instances_val.json").raw
    seed = document["info"]["split"]["seed"]
    expected = [f"{place}.png" for place in range(12) if split_of(f"h{place}", seed, Shares(val=0.4)) == "val"]
    assert [entry["file_name"] for entry in document["images"]] == expected
