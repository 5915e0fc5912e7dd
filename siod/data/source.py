"""Where a data set comes from, and the files a run trains on: made once, cached by identity."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from filelock import FileLock
from pydantic import Field

from siod.data import coco
from siod.data.annotation_sets import Full, Policy, annotate, without_images
from siod.data.check import examine
from siod.data.digits import GENERATOR_VERSION, Digits, write_digits
from siod.data.images import broken_images, refuse_broken
from siod.data.resized import resized
from siod.errors import UserError
from siod.value import Value, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Progress = Callable[[int, int], None]

LAYOUT_VERSION = 1
"""Raised when the files under ``cache_dir`` change their meaning."""

Check = Literal["refuse", "skip", "off"]
LongestSide = Annotated[int, Field(ge=32)] | None


class CocoFolder(Value):
    """A folder as COCO2017 lays it out, or as ``siod data digits`` does.

    ``annotations/instances_{train,val}2017.json`` with ``{train,val}2017/``, perhaps inside ``images/``; or
    the same without the year. Annotation files with defects are refused, or repaired copies used
    (``siod.data.check``); COCO2017 itself has two boxes without area among its training annotations. With
    ``longest_px`` a run trains and is judged on copies of both splits shrunk to that longest side, made once in the
    cache (``siod.data.resized``).
    """

    unsaid_by_default: ClassVar[frozenset[str]] = frozenset({"longest_px"})

    kind: Literal["coco_folder"] = "coco_folder"
    root: Path
    defects: Literal["refuse", "repair"] = "refuse"
    longest_px: LongestSide = None


class CocoFiles(Value):
    """Any COCO-format data set, by its two annotation files and image folders.

    ``defects`` and ``longest_px`` as in CocoFolder.
    """

    unsaid_by_default: ClassVar[frozenset[str]] = frozenset({"longest_px"})

    kind: Literal["coco_files"] = "coco_files"
    train_annotations: Path
    train_images: Path
    val_annotations: Path
    val_images: Path
    defects: Literal["refuse", "repair"] = "refuse"
    longest_px: LongestSide = None


Source = Annotated[Digits | CocoFolder | CocoFiles, Field(discriminator="kind")]


@dataclass(frozen=True)
class PreparedData:
    """Files ready to train on.

    Attributes:
        train: Annotations to learn from.
        train_full: All instances of the same images, the hidden ones included.
        train_images: Folder of the training images.
        val: Annotations to judge by, always complete.
        val_images: Folder of the validation images.
        fingerprint: Hash of the content of the three annotation files.
        category_names: By label.
        category_ids: The files' id of each label, ascending.
    """

    train: Path
    train_full: Path
    train_images: Path
    val: Path
    val_images: Path
    fingerprint: str
    category_names: tuple[str, ...]
    category_ids: tuple[int, ...]


def prepare(
    source: Source,
    annotations: Policy,
    cache_dir: Path,
    *,
    check_images: Check = "refuse",
    progress: Progress | None = None,
) -> PreparedData:
    """Put the files of a run in place; what exists already is used again.

    Safe to call from several processes at once: one makes the files, the others wait for them.

    Args:
        source: Where the data comes from.
        annotations: Which boxes of the training images may be learnt from.
        cache_dir: Generated data and derived annotation files are kept here.
        check_images: Decode every image once, then ``refuse`` the data set if some are broken, or ``skip``
            those; ``off`` trusts the files. The outcome is remembered until a file changes.
        progress: Called with the number of images done and of all, while generating or checking.

    Returns:
        The files, their fingerprint and the categories.

    Raises:
        UserError: Files are missing, broken or do not fit together.
    """
    cache_dir = cache_dir.expanduser().resolve()
    files = _sound(locate(source, cache_dir, progress), cache_dir)
    broken = {
        "train": _broken(files.train_annotations, files.train_images, cache_dir, check_images, progress),
        "val": _broken(files.val_annotations, files.val_images, cache_dir, check_images, progress),
    }
    if files.longest_px is not None:
        files = _shrunk(files, files.longest_px, broken, cache_dir, progress)
        broken = {"train": [], "val": []}
    made = _derived(files, annotations, broken, cache_dir)
    summary = json.loads((made / "summary.json").read_text())
    return PreparedData(
        train=_first_existing(made / "train.json", made / "train_full.json", files.train_annotations),
        train_full=_first_existing(made / "train_full.json", files.train_annotations),
        train_images=files.train_images,
        val=_first_existing(made / "val.json", files.val_annotations),
        val_images=files.val_images,
        fingerprint=summary["fingerprint"],
        category_names=tuple(summary["category_names"]),
        category_ids=tuple(summary["category_ids"]),
    )


def locate(source: Source, cache_dir: Path, progress: Progress | None = None) -> CocoFiles:
    """Find the files of a source, drawing them first if they are ours to draw.

    Args:
        source: Where the data comes from.
        cache_dir: Where generated data is kept.
        progress: Called while images are drawn.

    Returns:
        Absolute paths that exist.

    Raises:
        UserError: A file or folder is missing.
    """
    if isinstance(source, Digits):
        files = _in_folder(_drawn(source, cache_dir, progress))
    elif isinstance(source, CocoFolder):
        files = _in_folder(source.root.expanduser().resolve()).with_changes(
            {"defects": source.defects, "longest_px": source.longest_px}
        )
    else:
        paths = {name: path.expanduser().resolve() for name, path in source if isinstance(path, Path)}
        files = source.with_changes(paths)
    for name, path in files:
        if isinstance(path, Path) and not path.exists():
            raise UserError(f"{path}: does not exist; correct {name} of the data source")
    return files


def _in_folder(root: Path) -> CocoFiles:
    for year in ("2017", ""):
        train, val = (root / "annotations" / f"instances_{split}{year}.json" for split in ("train", "val"))
        if train.is_file() and val.is_file():
            folders = [
                _first_existing(root / f"{split}{year}", root / "images" / f"{split}{year}", root / f"{split}{year}")
                for split in ("train", "val")
            ]
            return CocoFiles(
                train_annotations=train, train_images=folders[0], val_annotations=val, val_images=folders[1]
            )
    expected = "annotations/instances_train2017.json and instances_val2017.json, or the same without the year"
    raise UserError(f"{root}: is no COCO folder; it needs {expected}")


def _first_existing(*paths: Path) -> Path:
    """The first path that exists, the last one otherwise."""
    return next((path for path in paths if path.exists()), paths[-1])


def _drawn(spec: Digits, cache_dir: Path, progress: Progress | None) -> Path:
    name = digest({"version": GENERATOR_VERSION, "spec": spec.model_dump(mode="json")})
    folder = cache_dir / "digits" / name
    with _made_once(folder) as missing:
        if missing:
            write_digits(spec, folder, progress=progress)
    return folder


def _sound(files: CocoFiles, cache_dir: Path) -> CocoFiles:
    """The same files, annotation files with defects replaced by repaired copies if that is wanted."""
    if files.defects == "refuse":
        return files
    paths = {name: _repaired(getattr(files, name), cache_dir) for name in ("train_annotations", "val_annotations")}
    return files.with_changes(paths)


def _repaired(path: Path, cache_dir: Path) -> Path:
    try:
        coco.read(path)
    except UserError:
        source_sha256 = _sha256(path)
    else:
        return path
    copy = cache_dir / "repaired" / f"{source_sha256}.json"
    with _made_once(copy) as missing:
        if missing:
            examination = examine(path)
            refusal = examination.refusal()
            if examination.repaired is None or refusal is not None:
                defect = examination.defects[0]
                raise UserError(f"{path}: {defect.meaning} ({defect.examples[0]}): {refusal}")
            note = {"source_sha256": source_sha256, "changes": examination.changes}
            info = examination.repaired.get("info")
            coco.write(copy, {**examination.repaired, "info": {"source_info": info, "repaired": note}})
    return copy


def _broken(annotations: Path, folder: Path, cache_dir: Path, check: Check, progress: Progress | None) -> list[int]:
    """Ids of images that cannot be used; remembered by the annotation file and the state of the folder."""
    if check == "off":
        return []
    key = digest({"annotations": _sha256(annotations), "folder": str(folder), "files": _state_of(folder)})
    record = cache_dir / "checked" / f"{key}.json"
    with _made_once(record) as missing:
        if missing:
            dataset = coco.read(annotations)
            found = broken_images(dataset.images, folder, progress=progress)
            outcome = {
                "total": len(dataset.images),
                "broken": [[dataset.images[i].id, why] for i, why in found.items()],
            }
            coco.write(record, outcome)
    outcome = json.loads(record.read_text())
    if check == "refuse":
        refuse_broken(dict(outcome["broken"]), folder, outcome["total"])
    return [image_id for image_id, _ in outcome["broken"]]


def _shrunk(
    files: CocoFiles, longest_px: int, broken: dict[str, list[int]], cache_dir: Path, progress: Progress | None
) -> CocoFiles:
    """Small copies of both splits, without the images that cannot be used."""
    paths: dict[str, Path] = {}
    for split in ("train", "val"):
        annotations = _cleaned(getattr(files, f"{split}_annotations"), broken[split], cache_dir)
        copy = resized(annotations, getattr(files, f"{split}_images"), longest_px, cache_dir, progress=progress)
        paths |= {f"{split}_annotations": copy.annotations, f"{split}_images": copy.images}
    return files.with_changes(paths)


def _cleaned(path: Path, broken: list[int], cache_dir: Path) -> Path:
    """The annotation file, or a copy without its broken images when there are any."""
    if not broken:
        return path
    copy = cache_dir / "cleaned" / f"{digest({'source': _sha256(path), 'broken': broken})}.json"
    with _made_once(copy) as missing:
        if missing:
            _usable(path, broken, copy)
    return copy


def _derived(files: CocoFiles, policy: Policy, broken: dict[str, list[int]], cache_dir: Path) -> Path:
    """The folder of derived annotation files and their summary; files that need no change are not copied."""
    sources = {"train": files.train_annotations, "val": files.val_annotations}
    key = digest(
        {
            "version": LAYOUT_VERSION,
            "sources": {split: _sha256(path) for split, path in sources.items()},
            "policy": policy.model_dump(mode="json"),
            "broken": broken,
        }
    )
    folder = cache_dir / "sets" / key
    with _made_once(folder) as missing:
        if missing:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unfinished.") as unfinished:
                whole = Path(unfinished) / "whole"
                _derive(sources, policy, broken, whole)
                whole.rename(folder)
    return folder


def _derive(sources: dict[str, Path], policy: Policy, broken: dict[str, list[int]], folder: Path) -> None:
    train = _usable(sources["train"], broken["train"], folder / "train_full.json")
    val = _usable(sources["val"], broken["val"], folder / "val.json")
    if train.categories != val.categories:
        raise UserError(f"{val.path}: categories differ from those of {train.path}; give both files the same list")
    for dataset in (train, val):
        for section in ("images", "categories"):
            if not getattr(dataset, section):
                raise UserError(f"{dataset.path}: {section} is empty; name an annotation file with {section}")
    for dataset, purpose in ((train, "to learn from"), (val, "to judge by")):
        _refuse_useless(dataset, purpose)
    learnt = train.sha256
    if not isinstance(policy, Full):
        coco.write(folder / "train.json", annotate(train, policy))
        learnt = _sha256(folder / "train.json")
    summary = {
        "fingerprint": digest({"train": learnt, "train_full": train.sha256, "val": val.sha256}),
        "category_names": [category.name for category in train.categories],
        "category_ids": [category.id for category in train.categories],
    }
    coco.write(folder / "summary.json", summary)


def _refuse_useless(dataset: coco.CocoDataset, purpose: str) -> None:
    """Refuse what trains or judges to nothing without a word."""
    boxes = dataset.boxes_xyxy[~dataset.iscrowd]
    if not len(boxes):
        what = "only crowds" if len(dataset.iscrowd) else "no annotations"
        raise UserError(f"{dataset.path}: has {what}, so there is nothing {purpose}; name a file with boxes")
    if float(boxes.max()) <= 1:
        raise UserError(
            f"{dataset.path}: all boxes lie between 0 and 1, relative to their images; write them in pixels "
            "(siod data check tells more)"
        )


def _usable(path: Path, broken: list[int], cleaned: Path) -> coco.CocoDataset:
    """The data set without its broken images, written to ``cleaned`` when there are any."""
    dataset = coco.read(path)
    if not broken:
        return dataset
    coco.write(cleaned, without_images(dataset, broken))
    return coco.read(cleaned)


@contextmanager
def _made_once(path: Path) -> Iterator[bool]:
    """Hold the lock of a cached file or folder; says whether it still has to be made."""
    if path.exists():
        yield False
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path.parent}: cannot be made ({error.strerror}); name another cache folder") from error
    with FileLock(path.parent / f".{path.name}.lock"):
        yield not path.exists()


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a COCO annotation file") from error


def _state_of(folder: Path) -> str:
    """Changes when a file of the folder is added, removed, resized or written again."""
    state = hashlib.sha256()
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            stat = Path(parent, name).stat()
            state.update(f"{parent}/{name}:{stat.st_size}:{stat.st_mtime_ns}\n".encode())
    return state.hexdigest()
