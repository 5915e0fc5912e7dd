"""Small copies of a data set's images on disk, so that studies at low resolution do not decode large files each epoch.

Training and judging look at a copy's images; boxes stay in the frame of the originals (``siod.data.instance_table``). A
copy holds the images shrunk to a longest side and, for other uses, an annotation file with boxes and areas to match. It
is kept under a name made of the content it came from, made once, and the least recently used copies
are deleted when all of them take more than a limit.
"""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from PIL import Image

from siod.data import coco
from siod.data.images import decode_record
from siod.errors import UserError
from siod.json_file import read_json
from siod.value import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from siod.data.coco import CocoDataset, ImageRecord

    Progress = Callable[[int, int], None]

FORMAT_VERSION = 1
FOLDER = "resized"
LIMIT_BYTES = 20 * 2**30
"""What all copies may take together."""

GRACE_SECONDS = 7 * 24 * 3600.0
"""A copy asked for more recently than this is not deleted to make room: a run may be reading it."""

THREADS = 2
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Resized:
    """A small copy: its annotation file and its folder of images."""

    annotations: Path
    images: Path


def resized(
    annotations: Path,
    images: Path,
    longest_px: int,
    cache_dir: Path,
    *,
    limit_bytes: int = LIMIT_BYTES,
    progress: Progress | None = None,
) -> Resized:
    """Find or make the small copy of a data set.

    Images whose longer side is shorter already are copied as they are. Boxes and areas of the copy's annotation file
    are scaled; segmentations are left out, for they would no longer fit.

    Args:
        annotations: A COCO file.
        images: Folder of its images.
        longest_px: Longest side of a copied image, at least 32.
        cache_dir: Copies are kept below it.
        limit_bytes: Copies unused for a week are deleted, the oldest first, until all take no more.
        progress: Called with the number of images done and of all.

    Returns:
        The copy.

    Raises:
        UserError: The annotation file is broken, an image does not decode, or the cache cannot be written.
        ValueError: ``longest_px`` is below 32.
    """
    if longest_px < 32:  # noqa: PLR2004  (the least input of a detector)
        raise ValueError(f"longest_px must be at least 32, not {longest_px}")
    dataset = coco.read(annotations)
    root = cache_dir.expanduser().resolve() / FOLDER
    copy = root / _name_of(dataset, images, longest_px)
    with _locked(root, copy.name):
        if not copy.exists():
            unfinished = _unfinished(copy)
            shutil.rmtree(unfinished, ignore_errors=True)  # left by a process that was killed
            try:
                _make(dataset, images, longest_px, unfinished, progress)
                unfinished.rename(copy)
            except OSError as error:
                raise UserError(f"{copy}: cannot be written ({error.strerror}); free space in the cache") from error
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        (copy / "used").touch()
    _make_room(root, limit_bytes, spare=copy)
    return Resized(copy / "annotations.json", copy / "images")


def name_record(cache_dir: Path, sha256: str, state: str, longest_px: int) -> Path:
    """Where it is written down which small copy is the one of some files.

    Args:
        cache_dir: Copies are kept below it.
        sha256: Of the annotation file.
        state: Of the folder of images, as :func:`siod.data.cached.state_of` tells it.
        longest_px: Longest side of a copied image.
    """
    content = {"version": FORMAT_VERSION, "annotations": sha256, "files": state, "longest_px": longest_px}
    return cache_dir / FOLDER / ".names" / f"{digest(content)}.json"


def kept_copy(record: Path, cache_dir: Path) -> Resized | None:
    """The small copy that a record names; it counts as used now.

    Args:
        record: Of :func:`name_record`.
        cache_dir: Copies are kept below it.

    Returns:
        None where there is no such record, or its copy was deleted.
    """
    if not record.exists():
        return None
    root = cache_dir / FOLDER
    copy = root / read_json(record)["copy"]
    with _locked(root, copy.name):
        if not copy.exists():
            return None
        (copy / "used").touch()
    return Resized(copy / "annotations.json", copy / "images")


def clear(cache_dir: Path) -> tuple[int, int]:
    """Delete all small copies.

    Returns:
        How many copies and bytes are gone.
    """
    root = cache_dir.expanduser().resolve() / FOLDER
    sizes = [_delete(root, copy, unused_since=time.time() + 1) for copy in _copies(root)]
    for unfinished in root.glob(".unfinished.*"):
        with _locked(root, unfinished.name.removeprefix(".unfinished.")):
            shutil.rmtree(unfinished, ignore_errors=True)
    return len(sizes), sum(sizes)


def usage(cache_dir: Path) -> tuple[int, int]:
    """How many small copies there are and how many bytes they take."""
    copies = _copies(cache_dir.expanduser().resolve() / FOLDER)
    return len(copies), sum(map(_bytes_in, copies))


def _name_of(dataset: CocoDataset, images: Path, longest_px: int) -> str:
    """Of the annotation file's content and of every listed image file's state."""
    files = []
    for image in dataset.images:
        try:
            stat = (images / image.file_name).stat()
        except OSError as error:
            raise UserError(f"{images / image.file_name}: no such image; add the file or remove its record") from error
        files.append([image.file_name, stat.st_size, stat.st_mtime_ns])
    content = {"version": FORMAT_VERSION, "annotations": dataset.sha256, "files": files, "longest_px": longest_px}
    return digest(content)


@contextmanager
def _locked(root: Path, name: str) -> Iterator[None]:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{root}: cannot be made ({error.strerror}); name another cache folder") from error
    with FileLock(root / f".{name}.lock"):
        yield


def _make(dataset: CocoDataset, images: Path, longest_px: int, folder: Path, progress: Progress | None) -> None:
    shrink_images(dataset.images, images, folder / "images", longest_px, progress=progress)
    coco.write(folder / "annotations.json", _scaled(dataset, longest_px))


def shrink_images(
    records: Sequence[ImageRecord], images: Path, out: Path, longest_px: int, *, progress: Progress | None = None
) -> None:
    """Write the small copies of some images, each under its own name.

    Args:
        records: With the size of each image file.
        images: The folder they are in.
        out: The folder to write into.
        longest_px: Longest side of a copy, at least 32.
        progress: Called with the number of images done and of all.

    Raises:
        UserError: An image does not decode or is not of the size its record states.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        written = pool.map(lambda record: _shrink(record, images, out, longest_px), records)
        for done, _ in enumerate(written, start=1):
            if progress is not None:
                progress(done, len(records))


def copy_size(width: int, height: int, longest_px: int) -> tuple[int, int]:
    """Width and height of the small copy of an image, in pixels; its own where it is no longer than that already.

    Example:
        >>> copy_size(640, 480, 96)
        (96, 72)
    """
    share = longest_px / max(width, height)
    return (width, height) if share >= 1 else (max(1, round(width * share)), max(1, round(height * share)))


def _shrink(record: ImageRecord, images: Path, out: Path, longest_px: int) -> None:
    """Write one small image."""
    pixels = decode_record(images, record)
    target = out / record.file_name
    target.parent.mkdir(parents=True, exist_ok=True)
    size = copy_size(record.width, record.height, longest_px)
    if size == (record.width, record.height):
        shutil.copyfile(images / record.file_name, target)
        return
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    jpeg = target.suffix.lower() in {".jpg", ".jpeg"}
    image.save(target, **({"format": "JPEG", "quality": JPEG_QUALITY, "subsampling": 0} if jpeg else {"format": "PNG"}))


def _scaled(dataset: CocoDataset, longest_px: int) -> dict[str, Any]:
    """The document with sizes, boxes and areas of the small images."""
    sizes = {image.id: copy_size(image.width, image.height, longest_px) for image in dataset.images}
    images = [
        {
            **coco.decode_entry(record, dataset.path, f"images[{place}]"),
            "width": sizes[image.id][0],
            "height": sizes[image.id][1],
        }
        for place, (record, image) in enumerate(zip(dataset.image_records(), dataset.images, strict=True))
    ]
    annotations = []
    for row, record in enumerate(dataset.annotation_records()):
        image = dataset.images[dataset.image_index[row]]
        width, height = sizes[image.id]
        x_share, y_share = width / image.width, height / image.height
        x, y, w, h = dataset.boxes_xywh[row].tolist()
        entry = coco.decode_entry(record, dataset.path, f"annotations[{row}]")
        entry.pop("segmentation", None)
        entry["bbox"] = [x * x_share, y * y_share, w * x_share, h * y_share]
        entry["area"] = float(dataset.area[row]) * x_share * y_share
        annotations.append(entry)
    info = {**dataset.info(), "resized_from_sha256": dataset.sha256}
    return {**dataset.sections, "info": info, "images": images, "annotations": annotations}


def _make_room(root: Path, limit_bytes: int, *, spare: Path) -> None:
    copies = sorted((path for path in _copies(root) if path != spare), key=_last_used)
    taken = sum(map(_bytes_in, [*copies, spare]))
    for copy in copies:
        if taken <= limit_bytes:
            return
        taken -= _delete(root, copy, unused_since=time.time() - GRACE_SECONDS)


def _copies(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _last_used(copy: Path) -> float:
    marker = copy / "used"
    return marker.stat().st_mtime if marker.exists() else 0.0


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _delete(root: Path, copy: Path, *, unused_since: float) -> int:
    """Delete one copy, renamed first so that no process finds half of it; returns its bytes."""
    with _locked(root, copy.name):
        if not copy.exists() or _last_used(copy) > unused_since:
            return 0
        size = _bytes_in(copy)
        copy.rename(_unfinished(copy))
        shutil.rmtree(_unfinished(copy))
    return size


def _unfinished(copy: Path) -> Path:
    """Where a copy is while it is made or deleted, under its lock."""
    return copy.with_name(f".unfinished.{copy.name}")
