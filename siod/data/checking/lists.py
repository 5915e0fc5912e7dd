"""The images and categories of an annotation file, looked at one by one; for ``siod.data.checking.check``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from msgspec import UNSET

from siod.data.checking.defects import shown, where
from siod.data.checking.entries import is_id, is_length, is_name
from siod.data.coco import leaves_folder
from siod.data.images import BrokenImageError, decode_rgb
from siod.picture import SIDEWAYS, UPRIGHT, box_in_stored, read_frame, shown_size

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from siod.data.checking.defects import Ledger
    from siod.data.checking.entries import Fields, Section

Size = tuple[int, int]


@dataclass(frozen=True)
class Frame:
    """How coordinates of an image's annotations become those of its stored pixels.

    Args:
        scale: Multiplies them, in x and y.
        orientation: Of the file where they are in the frame it is shown in; 1 otherwise.
        size: Stored width and height.
    """

    size: Size
    scale: tuple[float, float] = (1.0, 1.0)
    orientation: int = UPRIGHT

    def box(self, box_xywh: list[float]) -> list[float]:
        """A box x, y, width, height of the file in the stored frame."""
        x, y, width, height = box_xywh
        across, down = self.scale
        corners = (x * across, y * down, (x + width) * across, (y + height) * down)
        x1, y1, x2, y2 = box_in_stored(corners, self.size, self.orientation)
        return [x1, y1, x2 - x1, y2 - y1]

    def polygon(self, points: list[float]) -> list[float]:
        """A polygon x, y, x, y, ... likewise."""
        pairs = zip(points[::2], points[1::2], strict=False)
        moved = [self.box([x, y, 0, 0])[:2] for x, y in pairs]
        return [number for pair in moved for number in pair]


@dataclass
class ImageCheck:
    """Looks at every image.

    Args:
        ledger: Told of what is found.
        section: The images.
        folder: Where their files lie; None leaves them alone.
        progress: Called with the number of images decoded and of all.

    Attributes:
        sizes: Stored width and height of each usable image by id.
        lost: Ids of images that are listed and cannot be used.
        frames: By id, where boxes are known to be in another frame than the stored one.
        resized: By id, stated size of images whose file has another one of the same proportions.
    """

    ledger: Ledger
    section: Section
    folder: Path | None
    progress: Callable[[int, int], None] | None
    sizes: dict[int, Size] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    frames: dict[int, Frame] = field(default_factory=dict)
    resized: dict[int, Size] = field(default_factory=dict)

    def run(self) -> None:
        """Look at all of them, in the order of the file."""
        for place in self.section.fields:
            self.ledger.read_numbers(self.section, place, ("id", "width", "height"))
        groups = _Ids.of(self.section, "file_name", "image")
        file_names: set[str] = set()
        for count, (place, fields) in enumerate(self.section.fields.items(), start=1):
            if self.progress is not None and self.folder is not None:
                self.progress(count, len(self.section.fields))
            if self._named(place, fields) and groups.means(self.ledger, place, str(fields.file_name)):
                self._file(place, fields, file_names)
            if is_id(fields.id) and fields.id not in self.sizes:
                self.lost.add(fields.id)

    def _named(self, place: int, fields: Fields) -> bool:
        return self.ledger.complete(self.section, place, id=is_id, file_name=is_name) and fields.file_name != ""

    def _file(self, place: int, fields: Fields, file_names: set[str]) -> None:
        if leaves_folder(fields.file_name):
            self.ledger.drop(self.section, place, "path-escape", repr(fields.file_name))
            return
        if fields.file_name in file_names:
            self.ledger.note("file-name-twice", where(self.section, place, repr(fields.file_name)))
        file_names.add(fields.file_name)
        size = self._as_stated(place, fields) if self.folder is None else self._of_file(place, fields, self.folder)
        if size is not None:
            self.sizes[fields.id] = size

    def _as_stated(self, place: int, fields: Fields) -> Size | None:
        for name in ("width", "height"):
            value = getattr(fields, name)
            if not is_length(value):
                lacks = value is UNSET or value is None
                detail = f"{name} {'' if lacks else shown(value)}".rstrip()
                hint = f"{detail} (the folder of images would tell)"
                self.ledger.drop(self.section, place, "key-missing" if lacks else "wrong-type", hint)
                return None
        return fields.width, fields.height

    def _of_file(self, place: int, fields: Fields, folder: Path) -> Size | None:
        """Stored size of the file; the boxes of what is stated otherwise are seen to later."""
        path = folder / fields.file_name
        try:
            height, width = decode_rgb(path).shape[:2]
        except BrokenImageError as error:
            missing = isinstance(error.__cause__, FileNotFoundError)
            kind = "image-missing" if missing else "image-unreadable"
            self.ledger.drop(self.section, place, kind, fields.file_name)
            return None
        _, orientation = read_frame(path)
        size = (width, height)
        if not (is_length(fields.width) and is_length(fields.height)):
            lacks = UNSET in (fields.width, fields.height) or None in (fields.width, fields.height)
            kind = "key-missing" if lacks else "wrong-type"
            self.ledger.mend(self.section, place, kind, "width or height", width=width, height=height)
        elif (fields.width, fields.height) != size and self._other_frame(place, fields, size, orientation):
            return size
        if orientation != UPRIGHT:
            self.ledger.note("image-rotated", fields.file_name)
        return size

    def _other_frame(self, place: int, fields: Fields, size: Size, orientation: int) -> bool:
        """Correct a stated size that is not the file's; true if the file is annotated as it is shown."""
        stated = (fields.width, fields.height)
        sizes = f"{fields.file_name} {size[0]} x {size[1]}, stated {stated[0]} x {stated[1]}"
        turned = orientation in SIDEWAYS and stated == shown_size(size, orientation)
        kind = "image-shown-frame" if turned else "image-size"
        self.ledger.mend(self.section, place, kind, sizes, width=size[0], height=size[1])
        if turned:
            self.frames[fields.id] = Frame(size, orientation=orientation)
        elif abs(stated[0] * size[1] - stated[1] * size[0]) <= max(stated):
            self.resized[fields.id] = stated
        return turned


@dataclass
class CategoryCheck:
    """Looks at every category.

    Attributes:
        names: Name of each usable category by id.
        lost: Ids of categories that are listed and cannot be used.
    """

    ledger: Ledger
    section: Section
    names: dict[int, str] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)

    def run(self) -> None:
        """Look at all of them, in the order of the file."""
        for place in self.section.fields:
            self.ledger.read_numbers(self.section, place, ("id",))
        groups = _Ids.of(self.section, "name", "category")
        for place, fields in self.section.fields.items():
            if self.ledger.complete(self.section, place, id=is_id) and groups.means(
                self.ledger, place, shown(fields.name)
            ):
                self.names[fields.id] = self._name(place, fields)
            if is_id(fields.id) and fields.id not in self.names:
                self.lost.add(fields.id)

    def _name(self, place: int, fields: Fields) -> str:
        name: str = fields.name
        if not is_name(name):
            name = f"category {fields.id}"
            self.ledger.mend(self.section, place, "category-unnamed", f"id {fields.id}", name=name)
        elif name in self.names.values():
            self.ledger.note("category-name-twice", where(self.section, place, repr(name)))
        return name


@dataclass(frozen=True)
class _Ids:
    """Which entries have which id, and what tells entries of one id apart: the field ``distinguished_by``."""

    section: Section
    distinguished_by: str
    kind: str
    places: dict[int, list[int]]

    @classmethod
    def of(cls, section: Section, distinguished_by: str, kind: str) -> Self:
        places: dict[int, list[int]] = {}
        for place, fields in section.fields.items():
            if is_id(fields.id):
                places.setdefault(fields.id, []).append(place)
        return cls(section, distinguished_by, kind, places)

    def means(self, ledger: Ledger, place: int, detail: str) -> bool:
        """True when the id of an entry is unambiguous: no different entry has the same id."""
        identifier = self.section.fields[place].id
        group = self.places[identifier]
        if len({str(getattr(self.section.fields[other], self.distinguished_by)) for other in group}) > 1:
            ledger.drop(self.section, place, f"{self.kind}-id-twice", f"id {identifier}, {detail}")
            return False
        if place != group[0]:
            ledger.drop(self.section, place, f"{self.kind}-twice", f"id {identifier}, {detail}")
            return False
        return True
