"""The entries of a COCO file taken as they come: any key may be missing, any value of any type.

For ``siod.data.checking.check``, which must not stumble over what it is to report.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from siod.data.checking.salvage import UnreadableError, decoded
from siod.data.coco import LARGEST_ID, LARGEST_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable

    from siod.data.checking.salvage import Report

STEP = 4096  # entries between two signs of progress
LARGEST_NUMBER = 1e300  # sums and products of a few stay finite or are cut at the image's edge
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
MOST_DIGITS = 40


class Fields(msgspec.Struct):
    """What is looked at in an entry, of whatever type it is; UNSET where the key is missing."""

    id: Any = UNSET
    file_name: Any = UNSET
    width: Any = UNSET
    height: Any = UNSET
    name: Any = UNSET
    image_id: Any = UNSET
    category_id: Any = UNSET
    bbox: Any = UNSET
    area: Any = UNSET
    iscrowd: Any = UNSET


FIELD_NAMES = Fields.__struct_fields__


@dataclass
class Section:
    """One list of the file, and what a repair changes in it.

    Attributes:
        name: Its key in the file.
        originals: The entries, undecoded where a strict reader of JSON accepts them.
        fields: What is looked at, by the place of the entry; entries that are no objects have none.
        updates: Fields to set, by place.
        dropped: Places of entries to leave out.
    """

    name: str
    originals: list[Any]
    fields: dict[int, Fields]
    updates: dict[int, dict[str, Any]] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)

    @classmethod
    def read(
        cls, name: str, found: object, report: Report, progress: Callable[[int, int], None] | None = None
    ) -> Section | None:
        """Take apart one section of a file, undecoded or plain; None if it is no list."""
        originals: list[Any]
        try:
            if isinstance(found, msgspec.Raw):
                originals = msgspec.json.decode(found, type=list[msgspec.Raw])
            else:
                originals = msgspec.convert(found, list[Any])
        except (msgspec.MsgspecError, RecursionError):
            return None
        section = cls(name, originals, {})
        for place in range(len(originals)):
            section._look_at(place, report)
            if progress is not None and (place % STEP == 0 or place + 1 == len(originals)):
                progress(place + 1, len(originals))
        return section

    def _look_at(self, place: int, report: Report) -> None:
        try:
            entry, sound = decoded(self.originals[place], f"{self.name}[{place}]", report)
        except UnreadableError:
            return
        if not sound:
            self.originals[place] = entry
        if isinstance(entry, dict):
            self.fields[place] = Fields(**{name: entry[name] for name in FIELD_NAMES if name in entry})

    def update(self, place: int, **changes: Any) -> None:
        """Set fields of one entry; UNSET removes one."""
        self.updates.setdefault(place, {}).update(changes)

    def kept(self) -> int:
        """How many entries a repair leaves."""
        return len(self.originals) - len(self.dropped)

    def output(self) -> list[Any]:
        """The entries as a repair leaves them."""
        return [self._mended(place) for place in range(len(self.originals)) if place not in self.dropped]

    def entry(self, place: int) -> Any:
        """The whole entry as plain data, as the file has it."""
        original = self.originals[place]
        return msgspec.json.decode(original) if isinstance(original, msgspec.Raw) else original

    def _mended(self, place: int) -> Any:
        if place not in self.updates:
            return self.originals[place]
        changed = {**self.entry(place), **self.updates[place]}
        return {name: value for name, value in changed.items() if value is not UNSET}


def is_id(value: Any) -> bool:
    """Whether a value can identify an entry."""
    return type(value) is int and abs(value) <= LARGEST_ID


def is_length(value: Any) -> bool:
    """Whether a value can be the width or height of an image in pixels."""
    return type(value) is int and 0 < value <= LARGEST_LENGTH


def is_name(value: Any) -> bool:
    """Whether a value is a name."""
    return isinstance(value, str) and value != ""


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return type(value) in (int, float) and abs(value) <= LARGEST_NUMBER


def is_box(value: Any) -> bool:
    """Whether a value is a list of four finite numbers."""
    return isinstance(value, list) and len(value) == 4 and all(map(is_number, value))  # noqa: PLR2004


def as_number(value: Any) -> float | None:
    """The number that a value stands for without a guess, None if it stands for none.

    Example:
        >>> as_number("12.50"), as_number(3), as_number("3 px"), as_number(True)
        (12.5, 3, None, None)
    """
    if isinstance(value, str):
        text = value.strip()
        if len(text) > MOST_DIGITS or not NUMBER.fullmatch(text):
            return None
        value = float(text) if set(text) & set(".eE") else int(text)
    return value if is_number(value) else None


def as_whole(value: Any) -> int | None:
    """The whole number that a value stands for without a guess, None if it stands for none.

    Example:
        >>> as_whole("7"), as_whole(7.0), as_whole(7.5), as_whole(None)
        (7, 7, None, None)
    """
    number = as_number(value)
    if number is None or number != int(number) or abs(number) > LARGEST_ID:
        return None
    return int(number)


def as_box(value: Any) -> list[float] | None:
    """Four numbers that a value stands for without a guess, None if it stands for none."""
    if not isinstance(value, list) or len(value) != 4:  # noqa: PLR2004
        return None
    numbers = [number for number in map(as_number, value) if number is not None]
    return numbers if len(numbers) == len(value) else None
