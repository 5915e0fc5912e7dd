"""The same batches for any number of workers and processes, every image once, targets where their pixels are."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from siod.data import coco
from siod.data.annotation_sets import Full, Keep, WholeImages
from siod.data.digits import Digits
from siod.data.loading.loader import eval_batches, train_batches
from siod.data.loading.loader_processes import own_loader_processes
from siod.data.source import CocoFiles, CocoFolder, PreparedData, prepare
from siod.data.transforms import Augmentation, ShortEdge
from siod.errors import RunError, UserError
from siod.types import Batch

PLAIN = Augmentation(input_size=(96, 96))
WILD = Augmentation(
    input_size=(96, 96), scale=(0.6, 1.3), shift_border_px=16, flip=0.5, brightness=0.4, contrast=0.4, lighting=0.1
)


@pytest.fixture(scope="module")
def digits(digits_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepare(CocoFolder(root=digits_folder), Keep(), tmp_path_factory.mktemp("cache"))


def train(data: PreparedData, augmentation: Augmentation = WILD, **changes: Any) -> list[Batch]:
    return list(train_batches(data, augmentation, **({"batch_size": 8, "seed": 0, "epoch": 1} | changes)))


def assert_equal(one: list[Batch], other: list[Batch]) -> None:
    assert [batch.image_ids for batch in one] == [batch.image_ids for batch in other]
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.to_original, b.to_original)
        for s, t in zip(a.targets, b.targets, strict=True):
            for one_part, other_part in zip(vars(s).values(), vars(t).values(), strict=True):
                if isinstance(one_part, torch.Tensor):
                    assert torch.equal(one_part, other_part)
                else:
                    assert one_part is other_part


def test_an_epoch_shows_every_image_once_in_another_order_each_time(digits: PreparedData) -> None:
    epochs = [train_batches(digits, PLAIN, batch_size=8, seed=0, epoch=epoch) for epoch in (1, 2)]
    assert [len(epoch) for epoch in epochs] == [3, 3]
    orders = [[i for batch in epoch for i in batch.image_ids] for epoch in epochs]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(1, 25))
    assert orders[0] != orders[1]


def test_what_does_not_fill_a_batch_is_left_out(digits: PreparedData) -> None:
    assert [len(batch.image_ids) for batch in train(digits, batch_size=10)] == [10, 10]
    assert train(digits, batch_size=25) == []


def test_the_same_seed_and_epoch_give_the_same_batches(digits: PreparedData) -> None:
    assert_equal(train(digits), train(digits))
    assert not torch.equal(train(digits)[0].images, train(digits, seed=1)[0].images)


def test_an_image_is_augmented_anew_each_epoch(digits: PreparedData) -> None:
    def of_image_1(epoch: int) -> torch.Tensor:
        return next(
            batch.images[batch.image_ids.index(1)] for batch in train(digits, epoch=epoch) if 1 in batch.image_ids
        )

    assert not torch.equal(of_image_1(1), of_image_1(2))


def test_loader_processes_change_nothing_and_outlive_the_epoch(digits: PreparedData) -> None:
    for epoch in (1, 2):
        assert_equal(train(digits, epoch=epoch, workers=2), train(digits, epoch=epoch))
    assert_equal(list(eval_batches(digits, batch_size=3, workers=1)), list(eval_batches(digits, batch_size=3)))


def test_leaving_an_epoch_early_does_not_disturb_the_next(digits: PreparedData) -> None:
    next(iter(train_batches(digits, WILD, batch_size=8, seed=0, epoch=1, workers=1)))
    assert_equal(train(digits, workers=1), train(digits))


def processes() -> set[int | None]:
    """Those of loaders; other tests' pools have processes of other kinds, which wait a while for more work."""
    return {child.pid for child in multiprocessing.active_children() if isinstance(child, ForkServerProcess)}


def test_processes_wait_for_the_next_epoch_and_end_with_their_run(digits: PreparedData) -> None:
    with own_loader_processes():  # ends those of other tests
        pass
    with own_loader_processes():
        train(digits, workers=1)
        training = processes()
        list(eval_batches(digits, batch_size=3, workers=1))
        both = processes()
        train(digits, epoch=2, workers=1)
        list(eval_batches(digits, batch_size=3, workers=1))
        assert training < both == processes()
    assert processes() == set()


def test_a_run_that_fails_in_the_middle_of_an_epoch_leaves_no_process(digits: PreparedData) -> None:
    def fail_after(batches: Iterator[Batch]) -> None:
        with own_loader_processes():
            next(batches)
            assert len(processes()) >= 2
            raise RunError("a NaN, say")

    batches = iter(train_batches(digits, WILD, batch_size=8, seed=0, epoch=1, workers=2))
    with pytest.raises(RunError, match="a NaN, say"):
        fail_after(batches)
    assert processes() == set()
    assert_equal(train(digits, workers=1), train(digits))


KILLED = """
import os, signal, sys
from pathlib import Path
from multiprocessing import active_children
from siod.data.annotation_sets import Full
from siod.data.loading.loader import train_batches
from siod.data.source import CocoFolder, prepare
from siod.data.transforms import Augmentation

if __name__ == "__main__":
    data = prepare(CocoFolder(root=Path(sys.argv[1])), Full(), Path(sys.argv[2]))
    batches = iter(train_batches(data, Augmentation(input_size=(96, 96)), batch_size=8, seed=0, epoch=1, workers=2))
    first = next(batches)
    if sys.argv[3] == "waiting":
        list(batches)
    print(*(child.pid for child in active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("moment", ["busy", "waiting"])
def test_processes_end_with_a_run_that_is_killed(digits_folder: Path, tmp_path: Path, moment: str) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    words = [sys.executable, str(script), str(digits_folder), str(tmp_path / "cache"), moment]
    with (tmp_path / "said").open("w") as said:  # a pipe would be waited for as long as a process holds it
        done = subprocess.run(words, stdout=said, check=False)
    assert done.returncode == -signal.SIGKILL
    loaders = [int(pid) for pid in (tmp_path / "said").read_text().split()]
    assert len(loaders) == 2
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in loaders if psutil.pid_exists(pid)], timeout=30)
    for process in alive:
        process.kill()
    assert alive == []


REMEDY = r"shared memory \(/dev/shm has \d+ MB\): give the container more .*--shm-size.*loader_workers lower than 1, 0 "


@pytest.mark.timeout(120)
def test_a_batch_that_shared_memory_does_not_hold_ends_the_run_with_the_remedy(digits: PreparedData) -> None:
    """A file of shared memory may grow to a page; the batch would be lost on its way and waited for."""
    with own_loader_processes():
        train(digits, workers=1)
        for pid in processes():
            assert pid is not None
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, 4096))
        with pytest.raises(RunError, match=REMEDY) as refusal:
            train(digits, epoch=2, workers=1)
    assert "\n" not in str(refusal.value)
    assert processes() == set()


@pytest.mark.timeout(120)
def test_a_process_that_dies_of_a_bus_error_ends_the_run_with_the_remedy(digits: PreparedData) -> None:
    with own_loader_processes():
        train(digits, workers=1)
        for pid in processes():
            assert pid is not None
            os.kill(pid, signal.SIGBUS)
        with pytest.raises(RunError, match=REMEDY) as refusal:
            train(digits, epoch=2, workers=1)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("world_size", [2, 3, 4, 5])
def test_the_shares_of_all_workers_make_up_the_batch_of_one(digits: PreparedData, world_size: int) -> None:
    whole = train(digits)
    shares = [train(digits, rank=rank, world_size=world_size) for rank in range(world_size)]
    for step, batch in enumerate(whole):
        parts = [share[step] for share in shares]
        assert batch.image_ids == tuple(i for part in parts for i in part.image_ids)
        assert torch.equal(batch.images, torch.cat([part.images for part in parts]))


@pytest.mark.parametrize("world_size", [2, 3, 4, 5])
@pytest.mark.parametrize("company", [{}, {"group_shapes": True}], ids=["any", "grouped"])
def test_all_shares_of_a_batch_are_padded_to_the_largest_of_the_batch(
    mixed: PreparedData, world_size: int, company: dict[str, bool]
) -> None:
    """Its inputs are 64 x 96, 64 x 128 and 160 x 64, or half as large again."""
    augmentation = Augmentation(short_edge=ShortEdge(lengths=(64, 96), longest=400), **company)
    (whole,) = train(mixed, augmentation, batch_size=5)
    shares = [
        train(mixed, augmentation, batch_size=5, rank=rank, world_size=world_size)[0] for rank in range(world_size)
    ]
    assert [len(share.image_ids) for share in shares] == {2: [3, 2], 3: [2, 2, 1], 4: [2, 1, 1, 1], 5: [1] * 5}[
        world_size
    ]
    assert torch.equal(whole.images, torch.cat([share.images for share in shares]))


def test_more_workers_than_images_in_a_batch_are_refused(digits: PreparedData) -> None:
    with pytest.raises(ValueError, match="batch_size must be at least world_size 9, not 8"):
        list(train_batches(digits, PLAIN, batch_size=8, seed=0, epoch=1, world_size=9))


def test_without_augmentation_pixels_and_boxes_are_those_of_the_file(digits: PreparedData) -> None:
    learnt, full = coco.read(digits.train), coco.read(digits.train_full)
    for batch in train(digits, PLAIN):
        assert batch.images.dtype == torch.uint8
        for image, target, image_id, back in zip(
            batch.images, batch.targets, batch.image_ids, batch.to_original, strict=True
        ):
            with Image.open(digits.train_images / f"{image_id:06d}.jpg") as file:
                assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(file))
            assert back.tolist() == [[1, 0, 0], [0, 1, 0]]
            rows = learnt.rows_of_image(image_id - 1)
            assert target.boxes_xyxy.tolist() == learnt.boxes_xyxy[rows].tolist()
            assert target.labels.tolist() == learnt.labels[rows].tolist()
            hidden = [
                row for row in full.rows_of_image(image_id - 1) if full.annotation_ids[row] not in learnt.annotation_ids
            ]
            assert target.hidden_boxes_xyxy.tolist() == full.boxes_xyxy[hidden].tolist()
            assert target.hidden_labels.tolist() == full.labels[hidden].tolist()


def test_full_annotations_hide_nothing(digits_folder: Path, tmp_path: Path) -> None:
    data = prepare(CocoFolder(root=digits_folder), Full(), tmp_path)
    assert all(len(target.hidden_labels) == 0 for batch in train(data) for target in batch.targets)


def test_augmented_boxes_map_back_into_the_boxes_of_the_file(digits: PreparedData) -> None:
    full = coco.read(digits.train_full)
    for batch in train(digits):
        for target, image_id, back in zip(batch.targets, batch.image_ids, batch.to_original, strict=True):
            boxes = torch.cat([target.boxes_xyxy, target.hidden_boxes_xyxy])
            assert ((boxes >= 0) & (boxes <= 96)).all()
            corners = boxes.reshape(-1, 2, 2) @ back[:, :2].T + back[:, 2]
            low, high = corners.min(dim=1).values, corners.max(dim=1).values
            labels = torch.cat([target.labels, target.hidden_labels])
            rows = full.rows_of_image(image_id - 1)
            for corner, other, label in zip(low.numpy(), high.numpy(), labels.tolist(), strict=True):
                same = full.boxes_xyxy[rows][full.labels[rows] == label]
                inside = (same[:, :2] <= corner + 1e-3).all(1) & (same[:, 2:] >= other - 1e-3).all(1)
                assert inside.any()


@pytest.fixture
def mixed(tmp_path: Path) -> PreparedData:
    """Five images of three sizes, one without annotations, one with a crowd."""
    sizes = [(40, 30), (64, 33), (40, 30), (20, 50), (40, 30)]
    for number, (width, height) in enumerate(sizes):
        Image.new("RGB", (width, height), (number + 1, 100, 200)).save(tmp_path / f"{number}.png")
    document = {
        "images": [{"id": 7 + i, "file_name": f"{i}.png", "width": w, "height": h} for i, (w, h) in enumerate(sizes)],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {"id": i, "image_id": 7 + i, "category_id": 1, "bbox": [1, 2, 10, 20], "iscrowd": int(i == 2)}
            for i in range(4)
        ],
    }
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document))
    files = CocoFiles(train_annotations=path, train_images=tmp_path, val_annotations=path, val_images=tmp_path)
    return prepare(files, Full(), tmp_path / "cache")


def test_evaluation_keeps_the_resolution_and_pads_to_32(mixed: PreparedData) -> None:
    batches = list(eval_batches(mixed, batch_size=2))
    assert [(batch.image_ids, tuple(batch.images.shape[2:])) for batch in batches] == [
        ((7, 9), (32, 64)),
        ((11,), (32, 64)),
        ((10,), (64, 32)),
        ((8,), (64, 64)),
    ]
    first = batches[0].images[0]
    assert first[:, :30, :40].flatten(1).unique(dim=1).tolist() == [[1], [100], [200]]
    assert first[:, 30:].eq(0).all()
    assert first[:, :, 40:].eq(0).all()
    assert batches[0].to_original[0].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert batches[0].targets[0].boxes_xyxy.tolist() == [[1, 2, 11, 22]]


def test_crowds_are_no_targets_and_an_image_may_have_none(mixed: PreparedData) -> None:
    counts = {
        image_id: len(target.labels)
        for batch in eval_batches(mixed, batch_size=5)
        for image_id, target in zip(batch.image_ids, batch.targets, strict=True)
    }
    assert counts == {7: 1, 8: 1, 9: 0, 10: 1, 11: 0}
    (batch,) = train(mixed, PLAIN, batch_size=5)
    assert sorted(len(target.labels) for target in batch.targets) == [0, 0, 1, 1, 1]


def test_evaluation_at_a_fixed_size_fits_and_centres(mixed: PreparedData) -> None:
    (batch,) = eval_batches(mixed, batch_size=8, input_size=(64, 64))
    assert batch.images.shape == (5, 3, 64, 64)
    # 40 x 30 by 1.6 becomes 64 x 48, eight black rows above: y = (y' - 8) / 1.6.
    torch.testing.assert_close(batch.to_original[0], torch.tensor([[0.625, 0, 0], [0, 0.625, -5]]))
    torch.testing.assert_close(batch.targets[0].boxes_xyxy, torch.tensor([[1.6, 11.2, 17.6, 43.2]]))


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_every_validation_image_is_in_exactly_one_share(mixed: PreparedData, world_size: int) -> None:
    shares = [eval_batches(mixed, batch_size=2, rank=rank, world_size=world_size) for rank in range(world_size)]
    ids = [image_id for share in shares for batch in share for image_id in batch.image_ids]
    assert sorted(ids) == [7, 8, 9, 10, 11]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_broke_since_the_check_is_named(digits_folder: Path, tmp_path: Path, workers: int) -> None:
    root = tmp_path / "copy"
    shutil.copytree(digits_folder, root)
    data = prepare(CocoFolder(root=root), Full(), tmp_path / "cache")
    (root / "train" / "000005.jpg").unlink()
    with pytest.raises(UserError, match=r"000005\.jpg: no such image") as refusal:
        train(data, workers=workers)
    assert "\n" not in str(refusal.value)


def test_a_training_file_from_elsewhere_is_refused(digits: PreparedData, mixed: PreparedData) -> None:
    foreign = PreparedData(**(vars(digits) | {"train": mixed.train, "fingerprint": "x"}))
    with pytest.raises(UserError, match="lists other images than"):
        train(foreign)


def test_images_of_one_short_edge_are_padded_to_the_largest_of_their_batch(mixed: PreparedData) -> None:
    """40 x 30, 64 x 33 and 20 x 50 px become 85 x 64, 124 x 64 and 64 x 160: inputs of 64 x 96, 64 x 128, 160 x 64."""
    edge = ShortEdge(lengths=(64,), longest=400)
    (batch,) = train(mixed, Augmentation(short_edge=edge), batch_size=5)
    assert batch.images.shape == (5, 3, 160, 128)
    place = batch.image_ids.index(7)
    torch.testing.assert_close(
        batch.targets[place].boxes_xyxy, torch.tensor([[1, 2, 11, 22]]) * 64 / 30, rtol=0.01, atol=0
    )
    assert batch.images[place, :, 64:].eq(0).all()
    assert batch.images[place, 0, :64, :85].eq(1).all()
    shapes = {tuple(batch.images.shape[2:]) for batch in eval_batches(mixed, batch_size=8, short_edge=edge)}
    assert shapes == {(64, 96), (64, 128), (160, 64)}


def test_a_set_of_annotated_and_bare_images_tells_them_apart(tmp_path: Path) -> None:
    data = prepare(Digits(train_images=24, val_images=1), WholeImages(), tmp_path)
    keep = {image["id"]: image["keep"] for image in json.loads(data.train.read_text())["images"]}
    assert set(keep.values()) == {0, 1}
    for workers in (0, 1):
        (batch,) = train(data, PLAIN, batch_size=24, workers=workers)
        assert batch.annotated is not None
        assert batch.annotated == tuple(keep[image_id] == 1 for image_id in batch.image_ids)
        for annotated, target in zip(batch.annotated, batch.targets, strict=True):
            assert (len(target.labels) > 0) == annotated
            assert (len(target.hidden_labels) > 0) != annotated


def test_other_sets_do_not_tell(digits: PreparedData) -> None:
    assert train(digits)[0].annotated is None
