"""Every defect of a COCO file and its images in one pass, and a repaired copy.

Reading (``siod.data.coco``) stops at the first thing that is wrong. Here nothing stops: entries are looked at
one by one as whatever the file holds, and each defect is counted under its kind.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET
from PIL import Image

from siod.data.coco import EDGE_TOLERANCE_PX, leaves_folder
from siod.data.entries import Fields, Section, is_box, is_id, is_length, is_name, is_number
from siod.data.images import BrokenImageError, decode_rgb
from siod.data.salvage import UnreadableError, as_utf8, decoded, loads
from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from pathlib import Path

EXAMPLES = 3
LONGEST_EXAMPLE, LONGEST_VALUE = 160, 40  # characters
SECTIONS = ("images", "categories", "annotations")
AREA_TOLERANCE = 1.01  # masks are counted in pixels, boxes measured between edges
EXIF_ORIENTATION = 0x0112

KINDS = {
    "not-json": "the file is not JSON",
    "not-coco": "the file is not one JSON object",
    "section-missing": "images, annotations or categories is missing or no list",
    "not-unicode": "the text is not UTF-8, starts with a byte order mark or has half a surrogate pair",
    "not-finite": "a number is NaN, infinite or beyond what JSON readers can hold",
    "entry-type": "an entry is no JSON object, or cannot be read",
    "key-missing": "an entry lacks a key",
    "wrong-type": "a field has the wrong type or an impossible value",
    "image-id-twice": "several images have the same id",
    "category-id-twice": "several categories have the same id",
    "annotation-id-twice": "several annotations have the same id",
    "file-name-twice": "several images name the same file",
    "category-name-twice": "several categories have the same name",
    "category-unnamed": "a category has no name",
    "category-unused": "a category has no annotations",
    "path-escape": "a file name leaves the image folder",
    "image-unknown": "an annotation refers to an image that is not listed",
    "category-unknown": "an annotation refers to a category that is not listed",
    "box-empty": "a box has no area or a negative side",
    "box-outside": "a box reaches outside its image",
    "area-disagrees": "an area is negative or larger than its box",
    "image-missing": "an image file is missing",
    "image-unreadable": "an image file does not decode",
    "image-size": "an image file has another size than stated",
    "image-rotated": "an image file asks to be rotated for display (EXIF); boxes are taken in its stored frame",
}

REPLACEMENTS = {
    "not-finite": "numbers that are not finite set to null",
    "not-unicode": "characters that are no Unicode replaced",
}


@dataclass(frozen=True)
class Defect:
    """All defects of one kind: how many, and where the first few are."""

    kind: str
    meaning: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Examination:
    """What is wrong with a file, and what is left when it is mended.

    Attributes:
        defects: In the order of ``KINDS``; empty for a sound file.
        repaired: A COCO document without the defects that can be mended, or None when nothing can be saved.
        changes: What the repair did, with counts.
    """

    defects: tuple[Defect, ...]
    repaired: dict[str, Any] | None
    changes: dict[str, int]


def examine(
    path: Path, image_folder: Path | None = None, *, progress: Callable[[int, int], None] | None = None
) -> Examination:
    """Look for every kind of defect.

    Args:
        path: A file that should be a COCO annotation file.
        image_folder: Where its images lie; None leaves the images alone.
        progress: Called with the number of images decoded and of all; of annotations without ``image_folder``.

    Returns:
        The defects, and the document as a repair would leave it. Entries that cannot be used are dropped,
        boxes cut at their image's edges, ids that occur again replaced, wrong areas set to those of the
        boxes, image sizes to those of the files.

    Raises:
        UserError: The file cannot be opened.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; name a COCO annotation file") from error
    examiner = _Examiner(image_folder, progress)
    document = examiner.document(content)
    return Examination(examiner.defects(), document, dict(examiner.changes))


@dataclass
class _Examiner:
    """Walks through the file once and keeps account."""

    image_folder: Path | None
    progress: Callable[[int, int], None] | None
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    changes: Counter[str] = field(default_factory=Counter)
    lost_images: set[int] = field(default_factory=set)

    def note(self, kind: str, example: str) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= EXAMPLES:
            self.examples.setdefault(kind, []).append(_cut(example, LONGEST_EXAMPLE))

    def drop(self, section: Section, place: int, kind: str, detail: str = "") -> None:
        """Note a defect that costs the entry."""
        self.note(kind, _where(section, place, detail))
        section.dropped.add(place)
        self.changes[f"{section.name} dropped ({KINDS[kind]})"] += 1

    def mend(self, section: Section, place: int, kind: str, detail: str, **changes: Any) -> None:
        """Note a defect that other values mend."""
        self.note(kind, _where(section, place, detail))
        section.update(place, **changes)
        self.changes[f"{' and '.join(changes)} of {section.name} corrected ({KINDS[kind]})"] += 1

    def defects(self) -> tuple[Defect, ...]:
        return tuple(
            Defect(kind, meaning, self.counts[kind], tuple(self.examples[kind]))
            for kind, meaning in KINDS.items()
            if self.counts[kind]
        )

    def document(self, content: bytes) -> dict[str, Any] | None:
        """Look at everything; returns the repaired document."""
        sections = self._sections(content)
        if sections is None:
            return None
        lists = {name: self._section(sections, name) for name in SECTIONS}
        sizes = self._images(lists["images"])
        names = self._categories(lists["categories"])
        self._annotations(lists["annotations"], sizes, names)
        return {**sections, **{name: section.output() for name, section in lists.items()}}

    def _sections(self, content: bytes) -> dict[str, Any] | None:
        text, complaint = as_utf8(content)
        try:
            found: Any = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        except msgspec.ValidationError:
            found = None
        except (msgspec.DecodeError, RecursionError):
            try:
                found = loads(text, "", self.replaced)
            except UnreadableError as error:
                self.note("not-json", str(error))
                return None
        if not isinstance(found, dict):
            self.note("not-coco", "the file")
            return None
        if complaint:
            self.note("not-unicode", complaint)
            self.changes["text written as UTF-8"] += 1
        return {name: item if name in SECTIONS else self._aside(name, item) for name, item in found.items()}

    def _aside(self, name: str, item: Any) -> Any:
        """A section nobody looks at, as it is if a strict reader accepts it."""
        try:
            data, sound = decoded(item, name, self.replaced)
        except UnreadableError as error:
            self.note("wrong-type", f"{name} ({error})")
            self.changes["sections that cannot be read set to null"] += 1
            return None
        return item if sound else data

    def replaced(self, kind: str, where: str) -> None:
        """Note what reading replaced."""
        self.note(kind, where)
        self.changes[REPLACEMENTS[kind]] += 1

    def _section(self, sections: dict[str, Any], name: str) -> Section:
        longest = name == "annotations" and self.image_folder is None
        section = Section.read(name, sections.get(name), self.replaced, self.progress if longest else None)
        if section is None:
            self.note("section-missing", name)
            return Section(name, [], {})
        for place in range(len(section.originals)):
            if place not in section.fields:
                self.drop(section, place, "entry-type")
        return section

    def _complete(self, section: Section, place: int, **rules: Callable[[Any], bool]) -> bool:
        """Drop an entry that lacks a key or has one of an impossible type."""
        for name, allowed in rules.items():
            value = getattr(section.fields[place], name)
            if value is UNSET:
                self.drop(section, place, "key-missing", name)
                return False
            if not allowed(value):
                self.drop(section, place, "wrong-type", f"{name} {_shown(value)}")
                return False
        return True

    def _first_of_its_id(self, section: Section, place: int, seen: Container[int], kind: str) -> bool:
        identifier = section.fields[place].id
        if identifier in seen:
            self.drop(section, place, kind, f"id {identifier}")
            return False
        return True

    def _categories(self, section: Section) -> dict[int, str]:
        """Name of each usable category by id."""
        names: dict[int, str] = {}
        taken: set[str] = set()
        for place, fields in section.fields.items():
            if not self._complete(section, place, id=is_id):
                continue
            if not self._first_of_its_id(section, place, names, "category-id-twice"):
                continue
            name = fields.name
            if not is_name(name):
                name = f"category {fields.id}"
                self.mend(section, place, "category-unnamed", f"id {fields.id}", name=name)
            elif name in taken:
                self.note("category-name-twice", _where(section, place, repr(name)))
            names[fields.id] = name
            taken.add(name)
        return names

    def _images(self, section: Section) -> dict[int, tuple[int, int]]:
        """Width and height of each usable image by id."""
        sizes: dict[int, tuple[int, int]] = {}
        file_names: set[str] = set()
        for place, fields in section.fields.items():
            if self.progress is not None and self.image_folder is not None:
                self.progress(place + 1, len(section.fields))
            rules = {"id": is_id, "file_name": is_name, "width": is_length, "height": is_length}
            if not self._complete(section, place, **rules):
                continue
            if not self._first_of_its_id(section, place, sizes, "image-id-twice"):
                continue
            if leaves_folder(fields.file_name):
                self.drop(section, place, "path-escape", repr(fields.file_name))
                self.lost_images.add(fields.id)
                continue
            if fields.file_name in file_names:
                self.note("file-name-twice", _where(section, place, repr(fields.file_name)))
            file_names.add(fields.file_name)
            size = self._size_of_file(section, place, fields)
            if size is None:
                self.lost_images.add(fields.id)
            else:
                sizes[fields.id] = size
        return sizes

    def _size_of_file(self, section: Section, place: int, fields: Fields) -> tuple[int, int] | None:
        """Width and height of an image: as stated, or those of its file when there is a folder to look in."""
        stated = (fields.width, fields.height)
        if self.image_folder is None:
            return stated
        path = self.image_folder / fields.file_name
        try:
            height, width = decode_rgb(path).shape[1:]
        except BrokenImageError as error:
            missing = isinstance(error.__cause__, FileNotFoundError)
            self.drop(section, place, "image-missing" if missing else "image-unreadable", fields.file_name)
            return None
        if (width, height) != stated:
            detail = f"{fields.file_name} {width} x {height}, stated {stated[0]} x {stated[1]}"
            self.mend(section, place, "image-size", detail, width=width, height=height)
        with Image.open(path) as file:
            if file.getexif().get(EXIF_ORIENTATION, 1) != 1:
                self.note("image-rotated", fields.file_name)
        return width, height

    def _annotations(self, section: Section, sizes: dict[int, tuple[int, int]], names: dict[int, str]) -> None:
        used: set[int] = set()
        ids: set[int] = set()
        again: list[int] = []
        rules = {"id": is_id, "image_id": is_id, "category_id": is_id, "bbox": is_box}
        for place, fields in section.fields.items():
            if not self._complete(section, place, **rules):
                continue
            if fields.image_id in self.lost_images:
                section.dropped.add(place)
                self.changes["annotations dropped with their image"] += 1
            elif fields.image_id not in sizes:
                self.drop(section, place, "image-unknown", f"image_id {fields.image_id}")
            elif fields.category_id not in names:
                self.drop(section, place, "category-unknown", f"category_id {fields.category_id}")
            elif self._box(section, place, fields, sizes[fields.image_id]):
                used.add(fields.category_id)
                if fields.id in ids:
                    again.append(place)
                ids.add(fields.id)
        unused = (number for number in itertools.count(1) if number not in ids)
        for number, place in zip(unused, again, strict=False):
            self.mend(section, place, "annotation-id-twice", f"id {section.fields[place].id}", id=number)
        for identifier in sorted(names.keys() - used):
            self.note("category-unused", f"id {identifier} {names[identifier]!r}")

    def _box(self, section: Section, place: int, fields: Fields, size: tuple[int, int]) -> bool:
        """Look at box, area and crowd flag; returns whether the annotation can be kept."""
        x, y, width, height = fields.bbox
        right, bottom = x + width, y + height
        if not (width > 0 and height > 0):
            self.drop(section, place, "box-empty", f"bbox {fields.bbox}")
            return False
        slack = EDGE_TOLERANCE_PX
        if x < -slack or y < -slack or right > size[0] + slack or bottom > size[1] + slack:
            x, y, right, bottom = max(x, 0), max(y, 0), min(right, size[0]), min(bottom, size[1])
            width, height = right - x, bottom - y
            detail = f"bbox {fields.bbox} in {size[0]} x {size[1]}"
            if not (width > 0 and height > 0):
                self.drop(section, place, "box-outside", detail)
                return False
            self.mend(section, place, "box-outside", detail, bbox=[x, y, width, height])
        self._area(section, place, fields, width * height)
        if fields.iscrowd is not UNSET and fields.iscrowd not in (0, 1):
            self.mend(section, place, "wrong-type", f"iscrowd {_shown(fields.iscrowd)}", iscrowd=0)
        return True

    def _area(self, section: Section, place: int, fields: Fields, box_area: float) -> None:
        area = fields.area
        if area is UNSET:
            return
        if not is_number(area):
            self.mend(section, place, "wrong-type", f"area {_shown(area)}", area=box_area)
        elif not 0 <= area <= AREA_TOLERANCE * box_area + 1:
            detail = f"area {area}, of the box {box_area}"
            self.mend(section, place, "area-disagrees", detail, area=box_area)


def _where(section: Section, place: int, detail: str) -> str:
    return f"{section.name}[{place}] {detail}".rstrip()


def _shown(value: Any) -> str:
    return _cut(repr(value), LONGEST_VALUE)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."
