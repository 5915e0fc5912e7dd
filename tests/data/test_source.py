"""Files are found, made once, told apart by content, and checked before a run starts."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from siod.data import coco
from siod.data.annotation_sets import Full, Keep, Policy
from siod.data.digits import Digits
from siod.data.instance_table import val_table
from siod.data.loading.decoded import Pixels
from siod.data.resized import clear
from siod.data.source import CocoFiles, CocoFolder, PreparedData, Source, prepare
from siod.errors import UserError

SMALL = Digits(train_images=24, val_images=8, seed=3)


def files_under(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_full_annotations_train_on_the_files_as_they_are(digits_folder: Path, tmp_path: Path) -> None:
    prepared = prepare(CocoFolder(root=digits_folder), Full(), tmp_path)
    assert prepared.train == prepared.train_full == digits_folder / "annotations/instances_train.json"
    assert prepared.val == digits_folder / "annotations/instances_val.json"
    assert prepared.train_images == digits_folder / "train"
    assert prepared.val_images == digits_folder / "val"
    assert prepared.category_names == ("digit 0", "digit 1", "digit 2", "digit 3", "digit 4")
    assert prepared.category_ids == (1, 2, 3, 4, 5)


def test_keep_1_trains_on_a_derived_file_and_the_rest_stays_known(digits_folder: Path, tmp_path: Path) -> None:
    prepared = prepare(CocoFolder(root=digits_folder), Keep(k=1, seed=2), tmp_path)
    learnt, full = coco.read(prepared.train), coco.read(prepared.train_full)
    assert set(learnt.annotation_ids) < set(full.annotation_ids)
    assert len(learnt.annotation_ids) == len(set(zip(full.image_index, full.labels, strict=True)))
    assert learnt.info()["annotation_set"]["seed"] == 2
    assert prepared.val == digits_folder / "annotations/instances_val.json"


def test_digits_are_drawn_into_the_cache_once(digits_folder: Path, tmp_path: Path) -> None:
    prepared = prepare(SMALL, Keep(), tmp_path)
    before = files_under(tmp_path)
    assert prepare(SMALL, Keep(), tmp_path) == prepared
    assert files_under(tmp_path) == before
    # Nothing downstream can tell them from the same files given by path.
    assert prepared.fingerprint == prepare(CocoFolder(root=digits_folder), Keep(), tmp_path / "b").fingerprint


def test_the_fingerprint_tells_sets_and_sources_apart(digits_folder: Path, tmp_path: Path) -> None:
    folder = CocoFolder(root=digits_folder)
    policies: list[Policy] = [Full(), Keep(), Keep(seed=1), Keep(k=2)]
    prints = {prepare(folder, policy, tmp_path).fingerprint for policy in policies}
    prints.add(prepare(SMALL.with_changes({"seed": 9}), Full(), tmp_path).fingerprint)
    assert len(prints) == 5


def test_a_changed_annotation_file_is_a_new_data_set(digits_folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(digits_folder, root)
    first = prepare(CocoFolder(root=root), Keep(), tmp_path / "cache")
    path = root / "annotations" / "instances_train.json"
    document = json.loads(path.read_text())
    del document["annotations"][0]
    path.write_text(json.dumps(document))
    second = prepare(CocoFolder(root=root), Keep(), tmp_path / "cache")
    assert second.fingerprint != first.fingerprint
    assert second.train != first.train


def _prepare_and_report(cache: Path, answers: Any) -> None:
    answers.put(prepare(SMALL, Keep(), cache))


def test_processes_that_ask_at_once_get_one_answer(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    processes = [context.Process(target=_prepare_and_report, args=(tmp_path, answers)) for _ in range(2)]
    for process in processes:
        process.start()
    prepared = {answers.get(timeout=120) for _ in processes}
    for process in processes:
        process.join()
    assert len(prepared) == 1
    assert isinstance(next(iter(prepared)), PreparedData)
    assert len([path for path in (tmp_path / "digits").iterdir() if path.is_dir()]) == 1
    assert not list(tmp_path.rglob(".unfinished*"))


@pytest.mark.parametrize("images", ["{}2017", "images/{}2017"])
def test_the_layout_of_coco2017_is_found(digits_folder: Path, tmp_path: Path, images: str) -> None:
    (tmp_path / "annotations").mkdir()
    for split in ("train", "val"):
        (tmp_path / images.format(split)).parent.mkdir(exist_ok=True)
        (tmp_path / images.format(split)).symlink_to(digits_folder / split)
        source = digits_folder / "annotations" / f"instances_{split}.json"
        shutil.copy(source, tmp_path / "annotations" / f"instances_{split}2017.json")
    prepared = prepare(CocoFolder(root=tmp_path), Full(), tmp_path / "cache")
    assert prepared.train == tmp_path / "annotations" / "instances_train2017.json"
    assert prepared.val_images == tmp_path / images.format("val")


def test_a_folder_without_annotations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no COCO folder; it needs annotations/instances_train2017\.json"):
        prepare(CocoFolder(root=tmp_path), Full(), tmp_path / "cache")


def explicit(folder: Path, **changes: Path) -> CocoFiles:
    files = {
        "train_annotations": folder / "annotations/instances_train.json",
        "train_images": folder / "train",
        "val_annotations": folder / "annotations/instances_val.json",
        "val_images": folder / "val",
    }
    return CocoFiles(**(files | changes))


def test_files_can_be_named_one_by_one(digits_folder: Path, tmp_path: Path) -> None:
    by_name = prepare(explicit(digits_folder), Full(), tmp_path)
    assert by_name == prepare(CocoFolder(root=digits_folder), Full(), tmp_path)


@pytest.mark.parametrize("field", ["train_annotations", "train_images", "val_annotations", "val_images"])
def test_a_missing_file_is_named_with_its_field(digits_folder: Path, tmp_path: Path, field: str) -> None:
    with pytest.raises(UserError, match=f"nowhere: does not exist; correct {field} of the data source"):
        prepare(explicit(digits_folder, **{field: tmp_path / "nowhere"}), Full(), tmp_path / "cache")


def rewritten(digits_folder: Path, tmp_path: Path, split: str, change: Any) -> CocoFiles:
    document = json.loads((digits_folder / f"annotations/instances_{split}.json").read_text())
    change(document)
    path = tmp_path / f"{split}.json"
    path.write_text(json.dumps(document))
    return explicit(digits_folder, **{f"{split}_annotations": path})


def test_splits_with_different_categories_are_refused(digits_folder: Path, tmp_path: Path) -> None:
    files = rewritten(digits_folder, tmp_path, "val", lambda document: document["categories"][0].update(name="zero"))
    with pytest.raises(UserError, match=r"val\.json: categories differ from those of .*instances_train\.json"):
        prepare(files, Full(), tmp_path / "cache")


def test_a_split_without_images_is_refused(digits_folder: Path, tmp_path: Path) -> None:
    files = rewritten(digits_folder, tmp_path, "val", lambda document: document.update(images=[], annotations=[]))
    with pytest.raises(UserError, match=r"val\.json: images is empty"):
        prepare(files, Full(), tmp_path / "cache")


def empty_a_box(document: dict[str, Any]) -> None:
    document["annotations"][0]["bbox"][3] = 0.0


def without_boxes(document: dict[str, Any]) -> None:
    document["annotations"] = []


def crowds_alone(document: dict[str, Any]) -> None:
    for entry in document["annotations"]:
        entry["iscrowd"] = 1


def as_shares(document: dict[str, Any]) -> None:
    for entry in document["annotations"]:
        entry |= {"bbox": [0.1, 0.1, 0.5, 0.5], "area": 0.25}


@pytest.mark.parametrize(
    ("split", "change", "sentence"),
    [
        ("train", without_boxes, r"has no annotations, so there is nothing to learn from"),
        ("val", without_boxes, r"has no annotations, so there is nothing to judge by"),
        ("val", crowds_alone, r"has only crowds, so there is nothing to judge by"),
        ("train", as_shares, r"all boxes lie between 0 and 1, relative to their images; write them in pixels"),
    ],
)
def test_what_would_train_to_nothing_without_a_word_is_refused(
    digits_folder: Path, tmp_path: Path, split: str, change: Any, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        prepare(rewritten(digits_folder, tmp_path, split, change), Full(), tmp_path / "cache")


def test_an_annotation_file_with_defects_is_refused_or_repaired(digits_folder: Path, tmp_path: Path) -> None:
    files = rewritten(digits_folder, tmp_path, "train", empty_a_box)
    with pytest.raises(UserError, match=r"train\.json: annotations\[0\] \(id 1\): bbox .* has no area"):
        prepare(files, Keep(), tmp_path / "cache")
    prepared = prepare(files.with_changes({"defects": "repair"}), Keep(), tmp_path / "cache")
    full = coco.read(prepared.train_full)
    assert 1 not in full.annotation_ids
    assert full.info()["repaired"]["changes"] == {"annotations dropped (a box has no area or a negative side)": 1}


def test_a_sound_file_is_used_as_it_is_even_if_repairs_are_allowed(digits_folder: Path, tmp_path: Path) -> None:
    lenient = CocoFolder(root=digits_folder, defects="repair")
    strict = CocoFolder(root=digits_folder)
    assert prepare(lenient, Keep(), tmp_path) == prepare(strict, Keep(), tmp_path)


def test_a_file_beyond_repair_is_refused(digits_folder: Path, tmp_path: Path) -> None:
    files = rewritten(digits_folder, tmp_path, "val", lambda document: document.clear())
    files.val_annotations.write_text("{")
    with pytest.raises(UserError, match=r"val\.json: the file is not JSON .*; write or download the file again"):
        prepare(files.with_changes({"defects": "repair"}), Full(), tmp_path / "cache")


@pytest.fixture
def with_a_broken_image(digits_folder: Path, tmp_path: Path) -> Path:
    root = tmp_path / "copy"
    shutil.copytree(digits_folder, root)
    (root / "train" / "000002.jpg").write_bytes(b"\xff\xd8 torn")
    return root


def test_broken_images_stop_a_run_before_it_starts(with_a_broken_image: Path, tmp_path: Path) -> None:
    for _ in range(2):  # found the first time, remembered the second
        with pytest.raises(UserError, match=r"1 of 24 images cannot be used: .*000002\.jpg: does not decode"):
            prepare(CocoFolder(root=with_a_broken_image), Keep(), tmp_path / "cache")


def test_broken_images_can_be_skipped(with_a_broken_image: Path, tmp_path: Path) -> None:
    source = CocoFolder(root=with_a_broken_image)
    prepared = prepare(source, Keep(), tmp_path / "cache", check_images="skip")
    for path in (prepared.train, prepared.train_full):
        dataset = coco.read(path)
        assert [image.id for image in dataset.images] == [1, *range(3, 25)]
        assert dataset.info()["skipped_images"] == [2]
    assert prepared.fingerprint != prepare(source, Keep(), tmp_path / "cache", check_images="off").fingerprint


def test_a_mended_image_is_looked_at_again(with_a_broken_image: Path, digits_folder: Path, tmp_path: Path) -> None:
    source = CocoFolder(root=with_a_broken_image)
    with pytest.raises(UserError):
        prepare(source, Full(), tmp_path / "cache")
    shutil.copy(digits_folder / "train" / "000002.jpg", with_a_broken_image / "train" / "000002.jpg")
    assert len(coco.read(prepare(source, Full(), tmp_path / "cache").train).images) == 24


def test_images_are_decoded_once_and_the_outcome_is_remembered(digits_folder: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    for _ in range(2):
        prepare(
            CocoFolder(root=digits_folder), Full(), tmp_path, progress=lambda done, total: told.append((done, total))
        )
    assert told == [*((i + 1, 24) for i in range(24)), *((i + 1, 8) for i in range(8))]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"kind": "digits", "train_images": 5}, Digits(train_images=5)),
        ({"kind": "coco_folder", "root": "/data/coco"}, CocoFolder(root=Path("/data/coco"))),
    ],
)
def test_a_source_is_told_by_its_kind(data: dict[str, Any], expected: Any) -> None:
    assert TypeAdapter(Source).validate_python(data) == expected


def test_an_unusable_cache_folder_is_named(digits_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file.*cannot be made .*; name another cache folder"):
        prepare(CocoFolder(root=digits_folder), Full(), tmp_path / "file")


def test_a_run_that_looks_at_small_copies_keeps_the_frame_of_the_files(digits_folder: Path, tmp_path: Path) -> None:
    small = prepare(CocoFolder(root=digits_folder, longest_px=48), Keep(), tmp_path)
    large = prepare(CocoFolder(root=digits_folder), Keep(), tmp_path)
    assert small.copies is not None
    assert small == replace(large, fingerprint=small.fingerprint, copies=small.copies)
    assert small.fingerprint != large.fingerprint
    shrunk, whole = val_table(small), val_table(large)
    # 96 px to 48.
    assert {(image.width, image.height) for image in shrunk.images} == {(48, 48)}
    assert (shrunk.boxes_xyxy * 2 == whole.boxes_xyxy).all()
    assert (shrunk.to_file == 2).all()
    assert Pixels(shrunk, keep=False)[0].shape == (3, 48, 48)
    assert prepare(CocoFolder(root=digits_folder, longest_px=48), Keep(), tmp_path) == small


def test_a_lost_small_copy_is_told_by_the_image_it_is_of(digits_folder: Path, tmp_path: Path) -> None:
    small = prepare(CocoFolder(root=digits_folder, longest_px=48), Keep(), tmp_path)
    clear(tmp_path)
    sentence = rf"{digits_folder}/val/\S+: its small copy is lost .*; delete all copies with siod data cache --clear"
    with pytest.raises(UserError, match=sentence):
        Pixels(val_table(small), keep=False)[0]


def test_broken_images_are_left_out_of_small_copies(digits_folder: Path, tmp_path: Path) -> None:
    root = shutil.copytree(digits_folder, tmp_path / "digits")
    broken = coco.read(root / "annotations/instances_train.json").images[0]
    (root / "train" / broken.file_name).write_bytes(b"none")
    source = CocoFolder(root=root, longest_px=48)
    with pytest.raises(UserError, match="1 of 24 images cannot be used"):
        prepare(source, Keep(), tmp_path / "cache")
    skipped = prepare(source, Keep(), tmp_path / "cache", check_images="skip")
    left = coco.read(skipped.train_full)
    assert len(left.images) == 23
    assert broken.id not in {image.id for image in left.images}
    assert skipped.copies is not None
    assert sorted(path.name for path in skipped.copies.train.iterdir()) == [image.file_name for image in left.images]


def test_a_defect_between_repaired_files_is_told_by_the_users_names(digits_folder: Path, tmp_path: Path) -> None:
    def spoil(document: dict[str, Any]) -> None:
        empty_a_box(document)
        document["categories"][0].update(name="zero")

    files = rewritten(digits_folder, tmp_path, "val", spoil).with_changes({"defects": "repair"})
    with pytest.raises(UserError, match=rf"^{files.val_annotations}: categories differ from those of {digits_folder}"):
        prepare(files, Full(), tmp_path / "cache")


def test_a_source_at_full_size_is_written_as_before_there_were_small_copies() -> None:
    plain = CocoFolder(root=Path("/x")).model_dump(mode="json")
    assert plain == {"kind": "coco_folder", "root": "/x", "defects": "refuse"}
    assert CocoFolder(root=Path("/x"), longest_px=64).model_dump(mode="json")["longest_px"] == 64
