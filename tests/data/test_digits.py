"""Digit scenes: equal to the bit from their seed, honest about their boxes, and as sparse as COCO."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siod.data import coco
from siod.data.annotation_sets import Keep, kept_rows
from siod.data.digit_scenes import INK, MIN_VISIBLE, Style, _bank, compose
from siod.data.digits import Digits, digit_crops, write_digits
from siod.errors import UserError

SMALL = Digits(train_images=24, val_images=8, seed=3)
STYLE = Style(96, 12, 22, 60, 0.45, 0.2)


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_layout_is_that_of_a_coco_data_set(digits_folder: Path) -> None:
    names = set(contents(digits_folder))
    assert {"annotations/instances_train.json", "annotations/instances_val.json"} <= names
    assert len(names) == 2 + 24 + 8
    for split, count in (("train", 24), ("val", 8)):
        dataset = coco.read(digits_folder / "annotations" / f"instances_{split}.json")
        assert len(dataset.images) == count
        for image in dataset.images:
            with Image.open(digits_folder / split / image.file_name) as file:
                assert file.size == (image.width, image.height) == (96, 96)


def test_files_are_equal_to_the_bit_for_any_number_of_processes(digits_folder: Path, tmp_path: Path) -> None:
    write_digits(SMALL, tmp_path / "again")
    write_digits(SMALL, tmp_path / "two", processes=2)
    assert contents(tmp_path / "again") == contents(digits_folder)
    assert contents(tmp_path / "two") == contents(digits_folder)


def test_images_do_not_depend_on_how_many_there_are(digits_folder: Path, tmp_path: Path) -> None:
    write_digits(SMALL.with_changes({"train_images": 3, "val_images": 1}), tmp_path / "few")
    few, many = contents(tmp_path / "few"), contents(digits_folder)
    images = [name for name in few if name.endswith(".jpg")]
    assert len(images) == 4
    assert all(few[name] == many[name] for name in images)


def test_another_seed_draws_other_scenes(digits_folder: Path, tmp_path: Path) -> None:
    write_digits(SMALL.with_changes({"seed": 4}), tmp_path / "other")
    other, one = contents(tmp_path / "other"), contents(digits_folder)
    assert all(other[name] != one[name] for name in one)


def test_the_info_holds_the_generators_settings(digits_folder: Path) -> None:
    info = json.loads((digits_folder / "annotations/instances_val.json").read_text())["info"]
    generator = info["generator"]
    assert generator.pop("split") == "val"
    assert generator.pop("version") >= 1
    assert Digits.model_validate(generator) == SMALL


def test_categories_are_named_after_their_digit(digits_folder: Path) -> None:
    dataset = coco.read(digits_folder / "annotations/instances_train.json")
    assert [(c.id, c.name) for c in dataset.categories] == [(i + 1, f"digit {i}") for i in range(5)]


def test_training_and_validation_use_disjoint_digits() -> None:
    seen: dict[str, set[bytes]] = {"train": set(), "val": set()}
    for (split, _), images in _bank().items():
        seen[split] |= {image.tobytes() for image in images}
    assert not seen["train"] & seen["val"]
    assert len(seen["train"]) + len(seen["val"]) == 1797  # all digits of scikit-learn, no two alike
    assert 0.2 < len(seen["val"]) / 1797 < 0.3


@pytest.fixture(scope="module")
def many_scenes(tmp_path_factory: pytest.TempPathFactory) -> coco.CocoDataset:
    folder = tmp_path_factory.mktemp("many") / "digits"
    write_digits(Digits(train_images=600, val_images=1), folder)
    return coco.read(folder / "annotations" / "instances_train.json")


def test_one_instance_per_category_is_40_to_50_percent_of_all(many_scenes: coco.CocoDataset) -> None:
    share = kept_rows(many_scenes, Keep(k=1)).mean()
    assert 0.40 <= share <= 0.50


def test_scenes_have_one_to_three_categories_and_at_most_seven_of_each(many_scenes: coco.CocoDataset) -> None:
    pairs = Counter(zip(many_scenes.image_index.tolist(), many_scenes.labels.tolist(), strict=True))
    assert max(pairs.values()) == 7
    categories = Counter(image for image, _ in pairs)
    assert set(categories) == set(range(600)), "every scene shows something"
    assert set(categories.values()) == {1, 2, 3}


def test_sizes_stay_in_their_range_around_the_median(many_scenes: coco.CocoDataset) -> None:
    longer = many_scenes.boxes_xywh[:, 2:].max(axis=1)
    assert longer.min() >= 11  # cropping to the ink may cost a pixel
    assert longer.max() <= 60
    assert 20 <= np.median(longer) <= 24
    assert longer.std() > 6


def test_boxes_lie_inside_and_area_is_that_of_the_box(many_scenes: coco.CocoDataset) -> None:
    boxes = many_scenes.boxes_xyxy
    assert boxes.min() >= 0
    assert boxes.max() <= 96
    np.testing.assert_array_equal(many_scenes.area, many_scenes.boxes_xywh[:, 2] * many_scenes.boxes_xywh[:, 3])


def test_two_boxes_overlap_at_most_a_fifth_of_the_smaller(many_scenes: coco.CocoDataset) -> None:
    worst = 0.0
    for index in range(len(many_scenes.images)):
        boxes = many_scenes.boxes_xyxy[many_scenes.rows_of_image(index)]
        for place, one in enumerate(boxes):
            for other in boxes[place + 1 :]:
                sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
                smaller = min((one[2:] - one[:2]).prod(), (other[2:] - other[:2]).prod())
                worst = max(worst, sides.clip(0).prod() / smaller)
    assert 0 < worst <= 0.2


def test_a_box_is_tight_around_the_ink_and_the_ink_is_mostly_visible() -> None:
    for seed in range(30):
        _, instances = compose(np.random.default_rng(seed), STYLE, "train", [0, 0, 1, 1, 2, 2, 3])
        owner = np.full((96, 96), -1)
        for index, instance in enumerate(instances):
            x, y, width, height = instance.box_xywh
            ink = np.asarray(instance.alpha) >= INK
            assert ink.shape == (height, width)
            assert ink[0].any()
            assert ink[-1].any()
            assert ink[:, 0].any()
            assert ink[:, -1].any()
            owner[y : y + height, x : x + width][ink] = index
        for index, instance in enumerate(instances):
            ink = np.asarray(instance.alpha) >= INK
            assert (owner == index).sum() >= MIN_VISIBLE * ink.sum()


def test_what_is_drawn_differs_from_the_background_inside_the_boxes_only() -> None:
    # The same stream with no digits wanted gives another background, so compare with the scene's own border.
    scene, instances = compose(np.random.default_rng(5), STYLE, "train", [0])
    assert len(instances) == 1
    x, y, width, height = instances[0].box_xywh
    ink = np.asarray(instances[0].alpha) > 240
    inside = scene[y : y + height, x : x + width][ink].astype(float)
    outside = np.delete(scene.reshape(-1, 3), np.arange(y * 96, (y + height) * 96), axis=0).astype(float)
    assert np.linalg.norm(inside.mean(axis=0) - outside.mean(axis=0)) > 60


def test_crops_are_balanced_and_repeatable() -> None:
    crops, labels = digit_crops(SMALL, 23, 48, seed=1)
    assert crops.shape == (23, 3, 48, 48)
    assert crops.dtype == np.uint8
    assert np.bincount(labels).tolist() == [5, 5, 5, 4, 4]
    again, _ = digit_crops(SMALL, 23, 48, seed=1)
    np.testing.assert_array_equal(crops, again)
    other, _ = digit_crops(SMALL, 23, 48, seed=2)
    assert (crops != other).any(axis=(1, 2, 3)).all()


def test_a_crop_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="size_px must be at least 32, not 16"):
        digit_crops(SMALL, 1, 16, seed=0)


def test_a_folder_that_is_not_empty_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="is not an empty folder; name a new one or empty it"):
        write_digits(SMALL, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_interrupted_generation_leaves_nothing(tmp_path: Path) -> None:
    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_digits(SMALL, tmp_path / "digits", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_up_to_all_images(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    (tmp_path / "empty").mkdir()
    write_digits(SMALL, tmp_path / "empty", progress=lambda done, total: told.append((done, total)))
    assert told == [(24, 32), (32, 32)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_classes": 11}, "num_classes"),
        ({"train_images": 0}, "train_images"),
        ({"max_size_px": 96}, "sizes must keep"),
        ({"min_size_px": 30}, "sizes must keep"),
        ({"clases": 3}, "did you mean 'num_classes'"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, int], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Digits.parse(changes, source="test")
