"""The kinds of defects of an annotation file, and the account that is kept of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from siod.data.checking.entries import Fields, as_box, as_number, as_whole, is_box, is_id, is_length, is_number

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from siod.data.checking.entries import Section

EXAMPLES = 3
LONGEST_EXAMPLE, LONGEST_VALUE = 160, 40  # characters

KINDS = {
    "not-json": "the file is not JSON",
    "not-coco": "the file is not one JSON object",
    "section-missing": "images, annotations or categories is missing or no list",
    "not-unicode": "the text is not UTF-8, starts with a byte order mark or has half a surrogate pair",
    "not-finite": "a number is NaN, infinite or beyond what JSON readers can hold",
    "entry-type": "an entry is no JSON object, or cannot be read",
    "key-missing": "an entry lacks a key",
    "wrong-type": "a field has the wrong type or an impossible value",
    "number-form": "a number is written as text, or a whole number with a decimal point",
    "image-twice": "the same image is listed again",
    "image-id-twice": "images of different files have the same id",
    "category-twice": "the same category is listed again",
    "category-id-twice": "categories of different names have the same id",
    "annotation-twice": "the same annotation is listed again",
    "annotation-id-twice": "several annotations have the same id",
    "file-name-twice": "several images name the same file",
    "category-name-twice": "several categories have the same name",
    "category-unnamed": "a category has no name",
    "path-escape": "a file name leaves the image folder",
    "image-unknown": "an annotation refers to an image that is not listed",
    "category-unknown": "an annotation refers to a category that is not listed",
    "boxes-as-corners": "the boxes look like corners (x1, y1, x2, y2) where COCO has x, y, width, height",
    "boxes-relative": "the boxes look relative to the image's size (0 to 1) where COCO has pixels",
    "box-empty": "a box has no area or a negative side",
    "box-outside": "a box reaches outside its image",
    "area-disagrees": "an area is negative or larger than its box",
    "image-missing": "an image file is missing",
    "image-unreadable": "an image file does not decode",
    "image-size": "an image file has another size than stated",
    "image-shown-frame": "an image is annotated as it is shown (EXIF), not as it is stored",
    "category-unused": "a category has no annotations",
    "annotation-id-zero": "an annotation has id 0, which pycocotools' evaluation never finds",
    "image-rotated": "an image file asks to be rotated for display (EXIF); boxes are taken in its stored frame",
}
REMARKS = frozenset({"category-unused", "annotation-id-zero", "image-rotated"})
"""Lawful, and worth knowing."""

# What each field is when it is right, and what it can be read from without a guess.
NUMBERS: dict[str, tuple[Callable[[Any], bool], Callable[[Any], Any]]] = {
    "id": (is_id, as_whole),
    "image_id": (is_id, as_whole),
    "category_id": (is_id, as_whole),
    "width": (is_length, as_whole),
    "height": (is_length, as_whole),
    "bbox": (is_box, as_box),
    "area": (is_number, as_number),
    "iscrowd": (lambda value: type(value) is int or isinstance(value, bool), as_whole),
}


@dataclass(frozen=True)
class Defect:
    """All defects of one kind: how many, and where the first few are."""

    kind: str
    meaning: str
    count: int
    examples: tuple[str, ...]


@dataclass
class Ledger:
    """What was found and what was changed.

    Attributes:
        counts: By kind.
        examples: The first few places of each kind.
        changes: What the repair did, with counts.
    """

    counts: Counter[str]
    examples: dict[str, list[str]]
    changes: Counter[str]

    def note(self, kind: str, example: str) -> None:
        """Count a defect."""
        self.counts[kind] += 1
        if self.counts[kind] <= EXAMPLES:
            self.examples.setdefault(kind, []).append(_cut(example, LONGEST_EXAMPLE))

    def drop(self, section: Section, place: int, kind: str, detail: str = "") -> None:
        """Note a defect that costs the entry."""
        self.note(kind, where(section, place, detail))
        section.dropped.add(place)
        self.changes[f"{section.name} dropped ({KINDS[kind]})"] += 1

    def drop_along(self, section: Section, place: int, what: str) -> None:
        """Leave out an entry because of another one that was dropped."""
        section.dropped.add(place)
        self.changes[f"{section.name} dropped with their {what}"] += 1

    def mend(self, section: Section, place: int, kind: str, detail: str, **changes: Any) -> None:
        """Note a defect that other values mend."""
        self.note(kind, where(section, place, detail))
        section.update(place, **changes)
        self.changes[f"{' and '.join(changes)} of {section.name} corrected ({KINDS[kind]})"] += 1

    def read_numbers(self, section: Section, place: int, names: tuple[str, ...]) -> None:
        """Take numbers that are written as text, or whole ones with a decimal point, for what they are."""
        fields = section.fields[place]
        read: dict[str, Any] = {}
        for name in names:
            value = getattr(fields, name)
            right, as_read = NUMBERS[name]
            if value is UNSET or value is None or right(value):
                continue
            number = as_read(value)
            if number is not None and right(number):
                read[name] = number
                setattr(fields, name, number)
        if read:
            first = next(iter(read))
            original = getattr(Fields(**{first: section.entry(place)[first]}), first)
            self.mend(section, place, "number-form", f"{first} {shown(original)}", **read)

    def complete(self, section: Section, place: int, **rules: Callable[[Any], bool]) -> bool:
        """Drop an entry that lacks a key or has one of an impossible type; true if it stays."""
        for name, allowed in rules.items():
            value = getattr(section.fields[place], name)
            if value is UNSET:
                self.drop(section, place, "key-missing", name)
                return False
            if not allowed(value):
                self.drop(section, place, "wrong-type", f"{name} {shown(value)}")
                return False
        return True

    def defects(self) -> tuple[Defect, ...]:
        """What has to be mended, in the order of ``KINDS``."""
        return tuple(self._found(kind) for kind in KINDS if self.counts[kind] and kind not in REMARKS)

    def remarks(self) -> tuple[Defect, ...]:
        """What is lawful and worth knowing."""
        return tuple(self._found(kind) for kind in KINDS if self.counts[kind] and kind in REMARKS)

    def _found(self, kind: str) -> Defect:
        return Defect(kind, KINDS[kind], self.counts[kind], tuple(self.examples[kind]))


def where(section: Section, place: int, detail: str) -> str:
    """Name an entry and what is the matter with it."""
    return f"{section.name}[{place}] {detail}".rstrip()


def shown(value: Any) -> str:
    """A value as an example shows it."""
    return _cut(repr(value), LONGEST_VALUE)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."
