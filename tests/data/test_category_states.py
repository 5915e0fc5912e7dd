"""The state of each category in each image: by policy, by the fields of LVIS, by what the user declares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from siod.data import coco
from siod.data.annotation_sets import Full, Keep, Matched, Missing, Policy, Sparse, WholeImages, annotate
from siod.data.category_states import Declared, category_states, federated_fields
from siod.data.loading.loader import eval_batches, plain_training_images, train_batches
from siod.data.source import CocoFiles, prepare
from siod.data.transforms import Augmentation
from siod.errors import UserError
from siod.state import State

ABSENT, COMPLETE, SOME, UNKNOWN, UNLABELLED = State
# Image, category, how many boxes, how many crowds.
HELD = ((0, 0, 3, 0), (0, 1, 1, 0), (0, 2, 0, 1), (1, 1, 2, 1), (2, 3, 1, 1))


def document(held: tuple[tuple[int, int, int, int], ...] = HELD, **images: Any) -> dict[str, Any]:
    """Three images of four categories (ids 10, 20, 30, 40)."""
    annotations = [
        {
            "image_id": image,
            "category_id": 10 * (label + 1),
            "bbox": [7 * n, 8 * label, 6, 6],
            "iscrowd": int(n >= boxes),
        }
        for image, label, boxes, crowds in held
        for n in range(boxes + crowds)
    ]
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 64, "height": 64, **images.get(f"image_{i}", {})}
            for i in range(3)
        ],
        "categories": [{"id": 10 * (i + 1), "name": name} for i, name in enumerate(("cat", "dog", "owl", "emu"))],
        "annotations": [{"id": i + 1, **annotation} for i, annotation in enumerate(annotations)],
    }


def read(content: dict[str, Any], path: Path) -> coco.CocoDataset:
    path.write_text(json.dumps(content))
    return coco.read(path)


def derived(full: coco.CocoDataset, policy: Policy, path: Path) -> coco.CocoDataset:
    coco.write(path, annotate(full, policy))
    return coco.read(path)


def states(policy: Policy, folder: Path, declared: Declared | None = None, **images: Any) -> list[list[int]] | None:
    full = read(document(**images), folder / "full.json")
    learnt = full if isinstance(policy, Full) else derived(full, policy, folder / "learnt.json")
    found = category_states(learnt, full, declared)
    return None if found is None else found.tolist()


EVERYTHING = [[UNKNOWN] * 4] * 3
WITHOUT_CROWDS = ((0, 0, 3, 0), (1, 1, 2, 0))


def test_a_full_set_is_complete_but_for_what_is_only_a_crowd(tmp_path: Path) -> None:
    assert states(Full(), tmp_path) == [
        [COMPLETE, COMPLETE, UNKNOWN, ABSENT],
        [ABSENT, COMPLETE, ABSENT, ABSENT],
        [ABSENT, ABSENT, ABSENT, COMPLETE],
    ]
    full = read(document(WITHOUT_CROWDS), tmp_path / "no_crowds.json")
    assert category_states(full, full, None) is None


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        # A category with a box may have more; one without has none, unless it is there as a crowd.
        (Keep(), [[SOME, SOME, UNKNOWN, ABSENT], [ABSENT, SOME, ABSENT, ABSENT], [ABSENT, ABSENT, ABSENT, SOME]]),
        # Fewer than two: that is all of them, but beside a crowd, which the policy leaves out.
        (
            Keep(k=2),
            [[SOME, COMPLETE, UNKNOWN, ABSENT], [ABSENT, SOME, ABSENT, ABSENT], [ABSENT, ABSENT, ABSENT, SOME]],
        ),
        (
            Sparse(level="extreme", per_category=True),
            [[SOME, SOME, UNKNOWN, ABSENT], [ABSENT, SOME, ABSENT, ABSENT], [ABSENT, ABSENT, ABSENT, SOME]],
        ),
        (Sparse(level="easy"), EVERYTHING),
        (Missing(fraction=0.4), EVERYTHING),
        (Matched(), EVERYTHING),
    ],
)
def test_a_policy_says_what_may_be_missing(policy: Policy, expected: list[list[int]], tmp_path: Path) -> None:
    assert states(policy, tmp_path) == expected


def test_whole_images_are_complete_or_unknown(tmp_path: Path) -> None:
    full = read(document(WITHOUT_CROWDS), tmp_path / "full.json")
    learnt = derived(full, WholeImages(), tmp_path / "learnt.json")
    kept = [json.loads(bytes(record))["keep"] for record in learnt.image_records()]
    assert sorted(kept) == [0, 0, 1]
    found = category_states(learnt, full, None)
    assert found is not None
    for image, flag in enumerate(kept):
        complete = [[COMPLETE, ABSENT, ABSENT, ABSENT], [ABSENT, COMPLETE, ABSENT, ABSENT], [ABSENT] * 4][image]
        assert found[image].tolist() == (complete if flag else [UNKNOWN] * 4)


def test_a_file_that_was_derived_before_says_so_itself(tmp_path: Path) -> None:
    """A user trains on a file that siod made, with every box of it."""
    single = derived(read(document(), tmp_path / "full.json"), Keep(), tmp_path / "single.json")
    found = category_states(single, single, None)
    assert found is not None
    assert found.tolist() == [
        [SOME, SOME, ABSENT, ABSENT],
        [ABSENT, SOME, ABSENT, ABSENT],
        [ABSENT, ABSENT, ABSENT, SOME],
    ]


def test_what_is_hidden_is_not_looked_at(tmp_path: Path) -> None:
    """Two sets that differ in hidden instances alone have the same states."""
    one = states(Keep(), tmp_path)
    (tmp_path / "other").mkdir()
    full = read(document(((0, 0, 1, 0), *HELD[1:])), tmp_path / "other" / "full.json")
    other = category_states(derived(full, Keep(), tmp_path / "other" / "learnt.json"), full, None)
    assert other is not None
    assert other.tolist() == one


FIELDS = {
    "image_0": {"neg_category_ids": [40], "not_exhaustive_category_ids": [10]},
    "image_1": {"neg_category_ids": [10, 30], "not_exhaustive_category_ids": [40]},
    "image_2": {"neg_category_ids": [], "not_exhaustive_category_ids": []},
}


def test_the_fields_of_lvis_say_what_was_looked_for(tmp_path: Path) -> None:
    assert states(Full(), tmp_path, **FIELDS) == [
        [SOME, COMPLETE, UNLABELLED, ABSENT],
        [ABSENT, COMPLETE, ABSENT, UNKNOWN],
        [UNLABELLED, UNLABELLED, UNLABELLED, COMPLETE],
    ]
    # Boxes are taken out of them, too; nobody knows more of what was not looked for.
    assert states(Missing(fraction=0.4), tmp_path, **FIELDS) == [
        [UNKNOWN, UNKNOWN, UNLABELLED, UNKNOWN],
        [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN],
        [UNLABELLED, UNLABELLED, UNLABELLED, UNKNOWN],
    ]


def test_states_are_written_as_the_fields_that_say_them(tmp_path: Path) -> None:
    found = category_states(*[read(document(**FIELDS), tmp_path / "full.json")] * 2, None)
    assert found is not None
    written = {f"image_{image}": federated_fields(row, [10, 20, 30, 40]) for image, row in enumerate(found)}
    assert written == FIELDS
    assert states(Full(), tmp_path, **written) == found.tolist()


@pytest.mark.parametrize(
    ("value", "message"), [([11], "11 is no id of a category"), ("10", "must be a list of category ids, got '10'")]
)
def test_fields_that_cannot_be_read_are_told(value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"full.json: images\[1\].neg_category_ids: {message}"):
        states(Full(), tmp_path, image_1={"neg_category_ids": value})


def test_a_user_says_which_categories_are_complete(tmp_path: Path) -> None:
    assert states(Full(), tmp_path, Declared(("cat", "emu"))) == [
        [COMPLETE, SOME, UNLABELLED, ABSENT],
        [ABSENT, SOME, UNLABELLED, ABSENT],
        [ABSENT, UNLABELLED, UNLABELLED, COMPLETE],
    ]
    single = Declared((), others="some")
    assert states(Full(), tmp_path, single) == states(Keep(), tmp_path)
    with pytest.raises(UserError, match=r"complete names 'cow', which is no category; .* cat, dog, owl, emu"):
        states(Full(), tmp_path, Declared(("cow",)))


def of_the_disk(folder: Path) -> CocoFiles:
    """The three images, with every box."""
    (folder / "images").mkdir()
    for i in range(3):
        Image.new("RGB", (64, 64)).save(folder / "images" / f"{i}.png")
    path, images = folder / "full.json", folder / "images"
    path.write_text(json.dumps(document(WITHOUT_CROWDS)))
    return CocoFiles(train_annotations=path, train_images=images, val_annotations=path, val_images=images)


def test_a_crop_that_loses_the_box_does_not_make_a_category_absent(tmp_path: Path) -> None:
    """The state is the image's; boxes are those that are seen."""
    data = prepare(of_the_disk(tmp_path), Keep(), tmp_path / "cache")
    cropping = Augmentation(input_size=(32, 32), scale=(4.0, 4.0), shift_border_px=0)
    expected = [[SOME, ABSENT, ABSENT, ABSENT], [ABSENT, SOME, ABSENT, ABSENT], [ABSENT] * 4]
    seen = []
    for epoch in range(1, 4):
        (batch,) = train_batches(data, cropping, batch_size=3, seed=0, epoch=epoch)
        for target, image in zip(batch.targets, batch.image_ids, strict=True):
            assert target.states is not None
            assert target.states.tolist() == expected[image]
            seen += [len(target.labels)] * (image < 2)
    assert 0 in seen
    (first,) = plain_training_images(data, [1])
    assert first.targets[0].states is not None
    assert first.targets[0].states.tolist() == expected[1]
    (judged,) = eval_batches(data, batch_size=3)
    assert all(target.states is None for target in judged.targets)


def test_a_declaration_passes_through_the_source_into_the_identity_and_the_batches(tmp_path: Path) -> None:
    plain = of_the_disk(tmp_path)
    assert "complete" not in plain.model_dump(mode="json")
    declaring = plain.with_changes({"complete": ["cat"], "others": "some"})
    data = prepare(declaring, Full(), tmp_path / "cache")
    (batch,) = train_batches(data, Augmentation(input_size=(64, 64)), batch_size=3, seed=0, epoch=1)
    found = {
        image: None if target.states is None else target.states.tolist()
        for image, target in zip(batch.image_ids, batch.targets, strict=True)
    }
    assert found == {0: [COMPLETE, ABSENT, ABSENT, ABSENT], 1: [ABSENT, SOME, ABSENT, ABSENT], 2: [ABSENT] * 4}
    with pytest.raises(UserError, match="complete names 'cow', which is no category"):
        prepare(plain.with_changes({"complete": ["cow"]}), Full(), tmp_path / "cache")
    with pytest.raises(UserError, match="others has no effect without complete"):
        plain.with_changes({"others": "some"})
