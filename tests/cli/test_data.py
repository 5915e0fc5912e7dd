from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Siod

ANNOTATIONS = "annotations/instances_train.json"


def some_digits(siod: Siod, out: Path) -> Path:
    done = siod("data", "digits", out, "--images", 8, "--val-images", 3, "--seed", 5)
    assert (done.code, done.out) == (0, f"{out}: 8 training and 3 validation images\n")
    return out


def test_digits_are_written_in_the_layout_of_coco(siod: Siod, tmp_path: Path) -> None:
    out = some_digits(siod, tmp_path / "digits")
    train = json.loads((out / ANNOTATIONS).read_text())
    val = json.loads((out / "annotations" / "instances_val.json").read_text())
    assert (len(train["images"]), len(val["images"])) == (8, 3)
    assert all((out / "train" / image["file_name"]).is_file() for image in train["images"])


def test_keep_1_keeps_one_instance_of_each_category_in_each_image(siod: Siod, tmp_path: Path) -> None:
    source = some_digits(siod, tmp_path / "digits") / ANNOTATIONS
    done = siod("data", "annotate", source, "keep1.json", "--policy", "keep-1", "--seed", 3)
    full, kept = json.loads(source.read_text()), json.loads((tmp_path / "keep1.json").read_text())
    counts = Counter((entry["image_id"], entry["category_id"]) for entry in kept["annotations"])
    assert set(counts.values()) == {1}
    assert set(counts) == {(entry["image_id"], entry["category_id"]) for entry in full["annotations"]}
    assert kept["info"]["annotation_set"]["seed"] == 3
    assert f"kept {len(counts)}" in done.out


def test_the_seed_decides_which_instance_stays(siod: Siod, tmp_path: Path) -> None:
    source = some_digits(siod, tmp_path / "digits") / ANNOTATIONS
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        siod("data", "annotate", source, f"{name}.json", "--seed", seed)
    a, b, c = ((tmp_path / f"{name}.json").read_bytes() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ("kep-1", "unknown policy 'kep-1'; did you mean 'keep-1'?"),
        ("keep-0", "policy keep-0: k: Input should be greater than or equal to 1 (received 0)"),
    ],
)
def test_an_unknown_policy_is_refused(siod: Siod, tmp_path: Path, policy: str, sentence: str) -> None:
    source = some_digits(siod, tmp_path / "digits") / ANNOTATIONS
    assert siod("data", "annotate", source, "out.json", "--policy", policy).refusal == sentence
    assert not (tmp_path / "out.json").exists()


def test_a_folder_that_is_not_empty_is_left_alone(siod: Siod, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    done = siod("data", "digits", "mine", "--images", 2)
    assert done.refusal == "mine: the folder is not empty; name a new one or empty it"
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_file_that_exists_is_not_overwritten(siod: Siod, tmp_path: Path) -> None:
    source = some_digits(siod, tmp_path / "digits") / ANNOTATIONS
    (tmp_path / "out.json").write_text("mine")
    sentence = siod("data", "annotate", source, "out.json").refusal
    assert sentence == "out.json: exists already; name another file or delete it"
    assert (tmp_path / "out.json").read_text() == "mine"


@pytest.mark.parametrize("value", [("--classes", 99), ("--images", 0), ("--size", 8), ("--seed", -1)])
def test_a_number_out_of_range_is_refused_before_anything_is_written(
    siod: Siod, tmp_path: Path, value: tuple[str, int]
) -> None:
    assert str(value[1]) in siod("data", "digits", "out", *value).refusal
    assert not (tmp_path / "out").exists()


IMAGE = {"id": 1, "file_name": "a.png", "width": 9, "height": 9}
CATEGORY = {"id": 1, "name": "a"}
BOX = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}


def coco(**changes: object) -> str:
    return json.dumps({"images": [IMAGE], "categories": [CATEGORY], "annotations": [BOX]} | changes)


BROKEN = {
    "not JSON": ("{", "is not JSON"),
    "lacks a key": ('{"images": [], "annotations": []}', "lacks the key 'categories'"),
    "missing image": (coco(images=[]), "image_id 1"),
    "missing category": (coco(categories=[]), "category_id 1"),
    "duplicate ids": (coco(annotations=[BOX, BOX]), "id 1 occurs more than once"),
    "zero size": (coco(annotations=[BOX | {"bbox": [0, 0, 0, 1]}]), "(id 1): bbox [0.0, 0.0, 0.0, 1.0] has no area"),
    "outside": (
        coco(annotations=[BOX | {"bbox": [20, 20, 1, 1]}]),
        "(id 1): bbox [20.0, 20.0, 1.0, 1.0] reaches outside",
    ),
    "NaN": (coco(annotations=[BOX | {"bbox": [0, 0, 1, float("nan")]}]), "is not a finite number"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_by_name_and_nothing_is_written(siod: Siod, tmp_path: Path, case: str) -> None:
    text, sentence = BROKEN[case]
    (tmp_path / "in.json").write_text(text)
    refused = siod("data", "annotate", "in.json", "out.json").refusal
    assert refused.startswith("in.json: ")
    assert sentence in refused
    assert not (tmp_path / "out.json").exists()
