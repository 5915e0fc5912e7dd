"""Where a data set comes from, and the files a run trains on: made once, cached by identity."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from siod.data.cached import creation_lock
from siod.data.category_states import Declared, Others
from siod.data.derived import DerivedSets, SizeCounts
from siod.data.digits import GENERATOR_VERSION, Digits, write_digits
from siod.data.known_files import KnownFiles
from siod.data.usable_files import UsableFiles
from siod.errors import UserError
from siod.value import Value, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from siod.data.annotation_sets import Policy
    from siod.data.derived import SplitFile
    from siod.data.usable_files import Check

    Progress = Callable[[int, int], None]

TABLES = "tables"
"""Folder in the cache."""

LongestSide = Annotated[int, Field(ge=32)] | None


class _OfUsers(Value):
    """What a user may say of annotations that lack boxes; :class:`CocoFolder` has what it means."""

    complete: tuple[str, ...] | None = None
    others: Others = "unlabelled"

    def declared(self) -> Declared | None:
        """What the user says of the annotations, if anything."""
        return None if self.complete is None else Declared(self.complete, self.others)

    @model_validator(mode="after")
    def _others_are_other_than_something(self) -> Self:
        if self.complete is None and self.others != "unlabelled":
            message = "others has no effect without complete; name the categories that are complete, () for none"
            raise ValueError(message)
        return self


class CocoFolder(_OfUsers):
    """A folder as COCO2017 lays it out, or as ``siod data digits`` does.

    ``annotations/instances_{train,val}2017.json`` with ``{train,val}2017/``, perhaps inside ``images/``; or
    the same without the year. Annotation files with defects are refused, or repaired copies used
    (``siod.data.checking.check``); COCO2017 itself has two boxes without area among its training annotations. With
    ``longest_px`` the detector looks at copies of all images shrunk to that longest side, made once in the cache
    (``siod.data.resized``); annotations and detections stay in the frame of the images themselves. Where the folder
    has ``instances_test`` too, a run is judged by it once, when it has ended, unless ``test`` is ``ignore``.

    ``complete`` names the categories of which every instance is annotated, when that is not so of all; ``others`` says
    what is known of the rest. Single-instance annotation is ``complete=()`` with ``others="some"``: more instances may
    be missing of what an image has a box of, and of nothing else. ``unlabelled`` ones were never looked for: they are
    not taught as background.
    """

    unsaid_by_default: ClassVar[frozenset[str]] = frozenset({"longest_px", "test", "complete", "others"})

    kind: Literal["coco_folder"] = "coco_folder"
    root: Path
    defects: Literal["refuse", "repair"] = "refuse"
    longest_px: LongestSide = None
    test: Literal["if_present", "ignore"] = "if_present"


class CocoFiles(_OfUsers):
    """Any COCO-format data set, by its annotation files and image folders.

    ``defects``, ``longest_px``, ``complete`` and ``others`` as in CocoFolder. By ``test_annotations`` a run is judged
    once, when it has ended.
    """

    unsaid_by_default: ClassVar[frozenset[str]] = frozenset(
        {"longest_px", "test_annotations", "test_images", "complete", "others"}
    )

    kind: Literal["coco_files"] = "coco_files"
    train_annotations: Path
    train_images: Path
    val_annotations: Path
    val_images: Path
    defects: Literal["refuse", "repair"] = "refuse"
    longest_px: LongestSide = None
    test_annotations: Path | None = None
    test_images: Path | None = None

    @model_validator(mode="after")
    def _a_test_split_is_whole(self) -> Self:
        if (self.test_annotations is None) != (self.test_images is None):
            message = "test_annotations and test_images belong together; set both or neither"
            raise ValueError(message)
        return self

    def splits(self) -> tuple[str, ...]:
        """``train``, ``val`` and, where there is one, ``test``."""
        return ("train", "val") if self.test_annotations is None else ("train", "val", "test")


Source = Annotated[Digits | CocoFolder | CocoFiles, Field(discriminator="kind")]


@dataclass(frozen=True)
class SmallCopies:
    """Folders of the small copies a detector looks at in place of the user's images.

    Attributes:
        longest_px: Longest side of a copy.
        train: Of the training images.
        val: Of the validation images.
        test: Of the test images, if there are any.
    """

    longest_px: int
    train: Path
    val: Path
    test: Path | None = None


@dataclass(frozen=True)
class PreparedData:
    """Files ready to train on. Boxes are in the frame of the user's images, also where small copies are looked at.

    Attributes:
        train: Annotations to learn from.
        train_full: All instances of the same images, the hidden ones included.
        train_images: Folder of the training images.
        val: Annotations to judge by, always complete.
        val_images: Folder of the validation images.
        fingerprint: Hash of the content of the annotation files, and of the size of small copies.
        category_names: By label.
        category_ids: The files' id of each label, ascending.
        copies: What is looked at instead of the images, if anything.
        train_sizes: Of the training images.
        val_sizes: Of the validation images.
        test: Annotations of a split that nothing is chosen by, if there is one.
        test_images: Folder of its images.
        test_sizes: Of its images.
        declared: What the user says of the training annotations, if anything.
        tables: Folder in which the instances of large files are kept for all processes, if they are.
    """

    train: Path
    train_full: Path
    train_images: Path
    val: Path
    val_images: Path
    fingerprint: str
    category_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    copies: SmallCopies | None = None
    train_sizes: SizeCounts = ()
    val_sizes: SizeCounts = ()
    test: Path | None = None
    test_images: Path | None = None
    test_sizes: SizeCounts = ()
    declared: Declared | None = None
    tables: Path | None = None

    def on_test(self) -> PreparedData | None:
        """The same data with the test split in place of the validation split, or None if there is none."""
        if self.test is None or self.test_images is None:
            return None
        copies = self.copies
        if copies is not None and copies.test is not None:
            copies = replace(copies, val=copies.test)
        return replace(self, val=self.test, val_images=self.test_images, val_sizes=self.test_sizes, copies=copies)


class Preparation:
    """Puts the files of runs in place; however many runs, each annotation file and image folder is looked at once.

    Safe to use from several processes at once: one makes the files, the others wait for them.

    Args:
        cache_dir: Generated data, small copies and derived annotation files are kept here, and what is known of files.
        check_images: Decode every image once, then ``refuse`` the data set if some are broken, or ``skip``
            those; ``off`` trusts the files. The outcome is remembered until a file changes.
        progress: Called with the number of images done and of all, while generating, checking or shrinking.
    """

    def __init__(self, cache_dir: Path, *, check_images: Check = "refuse", progress: Progress | None = None) -> None:
        self._cache_dir = cache_dir.expanduser().resolve()
        self._check, self._progress = check_images, progress
        self._known = KnownFiles(self._cache_dir)
        self._sources: dict[Source, _Examined] = {}

    def prepare(self, source: Source, annotations: Policy) -> PreparedData:
        """Put the files of a run in place; what exists already is used again.

        Args:
            source: Where the data comes from.
            annotations: Which boxes of the training images may be learnt from.

        Returns:
            The files, their fingerprint and the categories.

        Raises:
            UserError: Files are missing, broken or do not fit together.
        """
        if source not in self._sources:
            self._known.release()  # one source's annotations take a gigabyte
            self._sources[source] = self._examine(source)
        found = self._sources[source]
        files, splits, copies = found.files, found.splits, found.copies
        made = found.sets.folder(annotations)
        summary = json.loads((made / "summary.json").read_text())
        declared = files.declared()
        if declared is not None:
            declared.refuse_unknown(summary["category_names"], source=str(splits["train"].named))
        return PreparedData(
            train=_first_existing(made / "train.json", made / "train_full.json", splits["train"].sound),
            train_full=_first_existing(made / "train_full.json", splits["train"].sound),
            train_images=files.train_images,
            val=_first_existing(made / "val.json", splits["val"].sound),
            val_images=files.val_images,
            fingerprint=_fingerprint(summary["fingerprint"], copies),
            category_names=tuple(summary["category_names"]),
            category_ids=tuple(summary["category_ids"]),
            copies=copies,
            train_sizes=_sizes(summary, "train"),
            val_sizes=_sizes(summary, "val"),
            test=_first_existing(made / "test.json", splits["test"].sound) if "test" in splits else None,
            test_images=files.test_images,
            test_sizes=_sizes(summary, "test"),
            declared=declared,
            tables=self._cache_dir / TABLES,
        )

    def _examine(self, source: Source) -> _Examined:
        """Find the files of a source and look at all of them."""
        files = locate(source, self._cache_dir, self._progress)
        usable = UsableFiles(self._known, self._cache_dir, self._check, self._progress)
        images: dict[str, Path] = {split: getattr(files, f"{split}_images") for split in files.splits()}
        splits = {
            split: usable.split(getattr(files, f"{split}_annotations"), folder, repair=files.defects == "repair")
            for split, folder in images.items()
        }
        copies = None
        if files.longest_px is not None:
            small = {split: usable.small_copies(splits[split], images[split], files.longest_px) for split in splits}
            copies = SmallCopies(files.longest_px, **small)
        return _Examined(files, splits, copies, DerivedSets(splits, self._known, self._cache_dir))


@dataclass(frozen=True)
class _Examined:
    """A source whose files were found and looked at."""

    files: CocoFiles
    splits: Mapping[str, SplitFile]
    copies: SmallCopies | None
    sets: DerivedSets


def prepare(
    source: Source,
    annotations: Policy,
    cache_dir: Path,
    *,
    check_images: Check = "refuse",
    progress: Progress | None = None,
) -> PreparedData:
    """Put the files of one run in place, as :class:`Preparation` does those of many.

    Raises:
        UserError: Files are missing, broken or do not fit together.
    """
    return Preparation(cache_dir, check_images=check_images, progress=progress).prepare(source, annotations)


def _sizes(summary: Mapping[str, Any], split: str) -> SizeCounts:
    return tuple((width, height, count) for width, height, count in summary["image_sizes"].get(split, ()))


def _fingerprint(files: str, copies: SmallCopies | None) -> str:
    return files if copies is None else digest({"files": files, "longest_px": copies.longest_px})


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
        found = _in_folder(source.root.expanduser().resolve(), test=source.test == "if_present")
        said = ("defects", "longest_px", "complete", "others")
        files = found.with_changes({name: getattr(source, name) for name in said})
    else:
        paths = {name: path.expanduser().resolve() for name, path in source if isinstance(path, Path)}
        files = source.with_changes(paths)
    for name, path in files:
        if isinstance(path, Path) and not path.exists():
            raise UserError(f"{path}: does not exist; correct {name} of the data source")
    return files


def _in_folder(root: Path, *, test: bool = False) -> CocoFiles:
    for year in ("2017", ""):
        files = {split: root / "annotations" / f"instances_{split}{year}.json" for split in ("train", "val", "test")}
        if files["train"].is_file() and files["val"].is_file():
            if not (test and files["test"].is_file()):
                del files["test"]
            paths = {f"{split}_annotations": path for split, path in files.items()}
            for split in files:
                usual = root / f"{split}{year}"
                paths[f"{split}_images"] = _first_existing(usual, root / "images" / usual.name, usual)
            return CocoFiles.model_validate(paths)
    expected = "annotations/instances_train2017.json and instances_val2017.json, or the same without the year"
    raise UserError(f"{root}: is no COCO folder; it needs {expected}")


def _first_existing(*paths: Path) -> Path:
    """The first path that exists, the last one otherwise."""
    return next((path for path in paths if path.exists()), paths[-1])


def _drawn(spec: Digits, cache_dir: Path, progress: Progress | None) -> Path:
    name = digest({"version": GENERATOR_VERSION, "spec": spec.model_dump(mode="json")})
    folder = cache_dir / "digits" / name
    with creation_lock(folder) as missing:
        if missing:
            write_digits(spec, folder, progress=progress)
    return folder
