"""What training relies on, asked of a data source: one of the built-in kinds, or files that somebody exported.

Every check takes the settings alone and prepares the data in a cache of its own; :func:`check_data_source` makes them
all. Each image is read a few times, so a large data set takes a while.
"""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from siod.data.annotation_sets import Full
from siod.data.instance_table import train_table, val_table
from siod.data.loading.loader import eval_batches, train_batches
from siod.data.source import Source, prepare
from siod.data.transforms import Augmentation
from siod.errors import UserError
from siod.testing.requirement import require
from siod.value import first_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from siod.data.instance_table import InstanceTable
    from siod.data.source import PreparedData
    from siod.types import Batch

# Boxes are kept in single precision in a batch.
PIXELS = 1e-2
SIDE_PX = 96


def check_data_source(source: Source) -> None:
    """Make every check of ``DATA_SOURCE_CHECKS``.

    Args:
        source: Settings of the source.

    Raises:
        AssertionError: Something that training relies on does not hold; says what and who relies on it.
    """
    for check in DATA_SOURCE_CHECKS:
        check(source)


def check_settings_come_back(source: Source) -> None:
    """The settings are written as JSON and read again, told by their ``kind``.

    Args:
        source: The settings.

    Raises:
        AssertionError: They cannot be read, or are not the same afterwards.
    """
    try:
        again: Source = TypeAdapter(Source).validate_json(source.model_dump_json())
    except ValidationError as error:
        raise AssertionError(f"experiments cannot read the settings that they wrote: {first_problem(error)}") from error
    require(
        dict(again) == dict(source),
        "the settings change when they are written and read, so a run that is resumed would train on other data",
    )


def check_files_are_made_once(source: Source) -> None:
    """Prepared twice the files are the same and untouched, and in another cache of the same content.

    Args:
        source: The settings.

    Raises:
        AssertionError: They are not, so a trial would not be found again, or its data would change while it runs.
    """
    with tempfile.TemporaryDirectory() as name:
        one, other = Path(name, "one"), Path(name, "other")
        first = _prepared(source, one)
        before = _times(one)
        again = _prepared(source, one)
        require(again == first, "prepared again the data is another; identity must follow from the settings alone")
        require(_times(one) == before, "prepared again files in the cache are written anew, while a run may read them")
        require(
            _prepared(source, other).fingerprint == first.fingerprint,
            "in another cache the content has another fingerprint; what is generated must depend on the settings "
            "alone, or another machine trains on other data",
        )


def check_splits_share_no_image(source: Source) -> None:
    """No file among the validation or test images is one of the training images, whatever it is called.

    Args:
        source: The settings.

    Raises:
        AssertionError: One is, so the detector would be judged by what it learnt from.
    """
    with _data(source) as data:
        learnt = _contents(train_table(data))
        judged = [data] if (test := data.on_test()) is None else [data, test]
        for split in judged:
            for content, path in _contents(val_table(split)).items():
                require(
                    content not in learnt,
                    f"{path} is the same image as {learnt.get(content)} of the training split; the detector would be "
                    "judged by what it learnt from",
                )


def check_images_and_boxes_fit(source: Source) -> None:
    """Every image of training and validation comes in a batch of its size, with boxes inside it and known labels.

    Args:
        source: The settings.

    Raises:
        AssertionError: An image or a box is not as a detector takes it.
    """
    with _data(source) as data:
        classes = len(data.category_names)
        augmentation = Augmentation(input_size=(SIDE_PX, SIDE_PX))
        seen: dict[str, list[Batch]] = {
            "training": list(train_batches(data, augmentation, batch_size=1, seed=0, epoch=1)),
            "validation": list(eval_batches(data, batch_size=1, input_size=(SIDE_PX, SIDE_PX))),
        }
        for split, table in (("training", train_table(data)), ("validation", val_table(data))):
            ids = sorted(image_id for batch in seen[split] for image_id in batch.image_ids)
            wanted = sorted(image.id for image in table.images)
            require(
                ids == wanted, f"{len(ids)} of {len(wanted)} {split} images are seen in an epoch; each must be once"
            )
    for split, batches in seen.items():
        for batch in batches:
            _require_boxes_fit(batch, classes, split)


def check_every_judged_category_can_be_learnt(source: Source) -> None:
    """Every category with a box among the validation images has one among the training images.

    Args:
        source: The settings.

    Raises:
        AssertionError: One has not, so its average precision is 0 whatever is trained.
    """
    with _data(source) as data:
        learnt, judged = set(train_table(data).labels.tolist()), set(val_table(data).labels.tolist())
        missing = ", ".join(data.category_names[label] for label in sorted(judged - learnt))
    require(
        not missing,
        f"{missing} has boxes in the validation split but none in the training split, so its AP is 0 in every arm; "
        "split the images anew, or leave the category out",
    )


DATA_SOURCE_CHECKS: tuple[Callable[[Source], None], ...] = (
    check_settings_come_back,
    check_files_are_made_once,
    check_splits_share_no_image,
    check_images_and_boxes_fit,
    check_every_judged_category_can_be_learnt,
)


@contextmanager
def _data(source: Source) -> Iterator[PreparedData]:
    """The files of a source with all annotations, in a cache that is gone afterwards."""
    with tempfile.TemporaryDirectory() as cache:
        yield _prepared(source, Path(cache))


def _prepared(source: Source, cache: Path) -> PreparedData:
    try:
        return prepare(source, Full(), cache)
    except UserError as error:
        raise AssertionError(f"the data cannot be prepared: {error}") from error


def _times(folder: Path) -> dict[str, int]:
    """When each file was written; empty ones are marks of when something was used."""
    files = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return {str(path): state.st_mtime_ns for path, state in files if state.st_size}


def _contents(table: InstanceTable) -> dict[str, Path]:
    """The images' files by their content."""
    paths = [table.folder / image.file_name for image in table.images]
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in paths}


def _require_boxes_fit(batch: Batch, classes: int, split: str) -> None:
    """Require it of a batch of one image."""
    (target,), (image_id,) = batch.targets, batch.image_ids
    boxes, labels = target.boxes_xyxy, target.labels
    which = f"{split} image {image_id}"
    inside = (boxes >= -PIXELS).all() and (boxes <= SIDE_PX + PIXELS).all()
    require(bool(inside), f"{which} has a box outside the image; give boxes as x, y, width, height in its pixels")
    require(bool((boxes[:, 2:] > boxes[:, :2]).all()), f"{which} has a box without area")
    require(bool(((labels >= 0) & (labels < classes)).all()), f"{which} has a label that no category has")
