"""What a folder of the user's data turned out to be; see ``recognise``."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from siod.data.formats.convert import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Split = Literal["train", "val", "test"]
Format = Literal["voc", "yolo", "coco"]

SPLITS: tuple[Split, ...] = ("train", "val", "test")
FORMAT_NAMES: dict[Format, str] = {"voc": "Pascal VOC", "yolo": "YOLO", "coco": "COCO"}
DEEPEST = 2
"""Folders below the one that was named in which is looked."""

_WORDS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Part:
    """Annotations that belong to one folder of images.

    Args:
        annotations: A folder of XML files (VOC) or label files (YOLO), or a COCO file.
        images: What the names of images are relative to.
        split: Of all its images; None where it is unknown.
        members: The split of each image by its name below ``images`` without suffix, where a list tells; images that no
            list names belong to no split.
        names: Of YOLO's classes.
        files: The user's file of each image by its name below ``images``, where those are copies.
    """

    annotations: Path
    images: Path
    split: Split | None = None
    members: Mapping[str, Split] | None = None
    names: Path | None = None
    files: Mapping[str, Path] | None = None


@dataclass(frozen=True)
class Layout:
    """What a source is.

    Args:
        format: Of its annotations.
        source: What the user named.
        parts: In the order they are read.
        remarks: Sentences about what was passed over.
        through: What the format is to another tool that made this one of it; empty where none did.
    """

    format: Format
    source: Path
    parts: tuple[Part, ...]
    remarks: tuple[str, ...] = ()
    through: str = ""

    def sentences(self) -> list[str]:
        """What was seen, for the user to object to."""
        head = f"{self.source}: {self.through or FORMAT_NAMES[self.format]}"
        parts = () if self.through else (f"    {self._said(part)}" for part in self.parts)
        return [head, *parts, *(f"remark: {text}" for text in self.remarks)]

    def folder(self) -> Path:
        """The source, or the folder of the file that it is."""
        return self.source if self.source.is_dir() else self.source.parent

    def _below(self, path: Path) -> str:
        """A path as seen from the source."""
        folder = self.folder()
        return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)

    def _said(self, part: Part) -> str:
        splits = ""
        if part.members is not None:
            counts = Counter(part.members.values())
            splits = ", listed for " + ", ".join(f"{split} {counts[split]}" for split in SPLITS if counts[split])
        elif part.split is not None:
            splits = f", for {part.split}"
        classes = "" if part.names is None else f", classes from {self._below(part.names)}"
        return f"{self._below(part.annotations)} with the images of {self._below(part.images)}{classes}{splits}"


def split_of_folder(name: str) -> Split | None:
    """The split whose name a folder bears.

    Example:
        >>> split_of_folder("valid"), split_of_folder("train2017"), split_of_folder("test_drive")
        ('val', 'train', None)
    """
    return _WORDS.get(name.lower().rstrip("0123456789-_ "))


def split_of_file(name: str) -> Split | None:
    """The one split that a word in a file's name means.

    Example:
        >>> split_of_file("instances_val2017"), split_of_file("result"), split_of_file("train_and_test")
        ('val', None, None)
    """
    found = {_WORDS[word] for word in re.findall("[a-z]+", name.lower()) if word in _WORDS}
    return found.pop() if len(found) == 1 else None


def folders_in(root: Path) -> list[Path]:
    """A folder and those up to two below it, hidden ones left out."""
    found, level = [root], [root]
    for _ in range(DEEPEST):
        level = [folder for parent in level for folder in _subfolders(parent)]
        found += level
    return found


def _subfolders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))


def child(folder: Path, names: Iterable[str]) -> Path | None:
    """The folder inside another that bears one of some names, in any case; the first name counts most."""
    there = {path.name.lower(): path for path in _subfolders(folder)}
    return next((there[name] for name in names if name in there), None)


def files_below(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Files of some suffixes in a folder and the folders in it, in no order; lazily, for folders may be large."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.lower().endswith(suffixes):
                yield Path(parent, name)


def has_file(folder: Path, suffixes: tuple[str, ...], *, deep: bool = False) -> bool:
    """Whether a folder holds a file of some suffixes, in itself or also in the folders in it."""
    if deep:
        return next(files_below(folder, suffixes), None) is not None
    return any(path.name.lower().endswith(suffixes) and path.is_file() for path in folder.iterdir())


def tail_below(folder: Path, name: str) -> str | None:
    """The longest end of a path that leads to a file below a folder.

    Files are named by other machines' paths, from other folders, or with backslashes.
    """
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in {"..", ".", "/"}]
    tails = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((tail for tail in tails if (folder / tail).is_file()), None)


def has_image(folder: Path, *, deep: bool = False) -> bool:
    """Whether a folder holds an image, in itself or also in the folders in it."""
    return has_file(folder, IMAGE_SUFFIXES, deep=deep)
