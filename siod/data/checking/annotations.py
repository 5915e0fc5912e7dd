"""The annotations of a file, looked at one by one; for ``siod.data.checking.check``."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from siod.data.checking.defects import shown
from siod.data.checking.entries import is_box, is_id, is_number
from siod.data.checking.lists import Frame
from siod.data.coco import EDGE_TOLERANCE_PX

if TYPE_CHECKING:
    from siod.data.checking.defects import Ledger
    from siod.data.checking.entries import Fields, Section
    from siod.data.checking.lists import CategoryCheck, ImageCheck, Size

AREA_TOLERANCE = 1.01
NUMBERS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
FEWEST_BOXES = 3
"""Less is not enough to tell a habit of the whole file from a slip."""
OUTSIDE_SHARE = 0.2


@dataclass
class _Habits:
    """How the boxes of the whole file are written."""

    boxes: int = 0
    outside: int = 0
    corners: int = 0
    relative: int = 0

    def see(self, box: list[float], size: Size) -> None:
        x, y, third, fourth = box
        self.boxes += 1
        self.outside += _beyond((x, y, x + third, y + fourth), size)
        self.corners += third > x and fourth > y and not _beyond((x, y, third, fourth), size)
        self.relative += min(box) >= 0 and max(box) <= 1 and max(third, fourth) > 0 and min(size) > 1

    def name(self) -> str | None:
        """The kind of defect they are."""
        if self.boxes < FEWEST_BOXES:
            return None
        if self.relative == self.boxes:
            return "boxes-relative"
        many = self.outside >= FEWEST_BOXES and self.outside >= OUTSIDE_SHARE * self.boxes
        return "boxes-as-corners" if many and self.corners == self.boxes else None


@dataclass
class AnnotationCheck:
    """Looks at every annotation.

    Args:
        ledger: Told of what is found.
        section: The annotations.
        images: Looked at before.
        categories: Likewise.

    Attributes:
        mentioned: Ids of categories that an annotation names.
        habits: How the boxes are written.
        renumbered: The id in the file by the one that the repair gives.
    """

    ledger: Ledger
    section: Section
    images: ImageCheck
    categories: CategoryCheck
    mentioned: set[int] = field(default_factory=set)
    habits: _Habits = field(default_factory=_Habits)
    renumbered: dict[int, Any] = field(default_factory=dict)

    def run(self) -> None:
        """Look at all of them, in the order of the file."""
        for place in self.section.fields:
            self.ledger.read_numbers(self.section, place, NUMBERS)
        self._find_frames()
        kept = [place for place, fields in self.section.fields.items() if self._keep(place, fields)]
        self._ids(kept)
        if (habit := self.habits.name()) is not None:
            self.ledger.note(habit, f"{self.habits.boxes} boxes, such as {self._first_box()}")
        for identifier in sorted(self.categories.names.keys() - self.mentioned):
            self.ledger.note("category-unused", f"id {identifier} {self.categories.names[identifier]!r}")

    def _first_box(self) -> str:
        return next(shown(fields.bbox) for fields in self.section.fields.values() if is_box(fields.bbox))

    def _find_frames(self) -> None:
        """Where a box does not fit a file that is smaller than stated, the boxes are those of the stated size."""
        for fields in self.section.fields.values():
            stated = self.images.resized.get(fields.image_id) if is_id(fields.image_id) else None
            if stated is None or not is_box(fields.bbox):
                continue
            size = self.images.sizes[fields.image_id]
            x, y, width, height = fields.bbox
            corners = (x, y, x + width, y + height)
            if _beyond(corners, size) and not _beyond(corners, stated):
                self.images.frames[fields.image_id] = Frame(size, (size[0] / stated[0], size[1] / stated[1]))

    def _keep(self, place: int, fields: Fields) -> bool:
        if is_id(fields.category_id):
            self.mentioned.add(fields.category_id)
        if not self.ledger.complete(self.section, place, image_id=is_id, category_id=is_id, bbox=is_box):
            return False
        if fields.image_id in self.images.lost:
            self.ledger.drop_along(self.section, place, "image")
        elif fields.image_id not in self.images.sizes:
            self.ledger.drop(self.section, place, "image-unknown", f"image_id {fields.image_id}")
        elif fields.category_id in self.categories.lost:
            self.ledger.drop_along(self.section, place, "category")
        elif fields.category_id not in self.categories.names:
            self.ledger.drop(self.section, place, "category-unknown", f"category_id {fields.category_id}")
        else:
            return self._box(place, fields, self.images.sizes[fields.image_id])
        return False

    def _box(self, place: int, fields: Fields, size: Size) -> bool:
        """Look at box, area and crowd flag; returns whether the annotation can be kept."""
        if not (fields.bbox[2] > 0 and fields.bbox[3] > 0):
            self.ledger.drop(self.section, place, "box-empty", f"bbox {fields.bbox}")
            return False
        frame = self.images.frames.get(fields.image_id)
        if frame is not None:
            self._move(place, fields, frame)
        self.habits.see(fields.bbox, size)
        x, y, width, height = fields.bbox
        right, bottom = x + width, y + height
        if _beyond((x, y, right, bottom), size):
            detail = f"bbox {fields.bbox} in {size[0]} x {size[1]}"
            x, y, right, bottom = max(x, 0), max(y, 0), min(right, size[0]), min(bottom, size[1])
            if not (right > x and bottom > y):
                self.ledger.drop(self.section, place, "box-outside", detail)
                return False
            self.ledger.mend(self.section, place, "box-outside", detail, bbox=[x, y, right - x, bottom - y])
        self._area(place, fields, (x, y, right, bottom))
        if fields.iscrowd not in (UNSET, None, 0, 1):
            crowd = int(is_number(fields.iscrowd))
            self.ledger.mend(self.section, place, "wrong-type", f"iscrowd {shown(fields.iscrowd)}", iscrowd=crowd)
        return True

    def _move(self, place: int, fields: Fields, frame: Frame) -> None:
        """Bring an annotation into the stored frame; masks that are no polygons, and keypoints, cannot follow."""
        entry = self.section.entry(place)
        fields.bbox = frame.box(fields.bbox)
        changes: dict[str, Any] = {"bbox": fields.bbox}
        if is_number(fields.area):
            fields.area *= frame.scale[0] * frame.scale[1]
            changes["area"] = fields.area
        if entry.get("segmentation"):
            changes["segmentation"] = _moved_polygons(entry["segmentation"], frame)
        if entry.get("keypoints"):
            changes |= {"keypoints": UNSET, "num_keypoints": UNSET}
        lost = [name for name, value in changes.items() if value is UNSET]
        self.section.update(place, **changes)
        self.ledger.changes["annotations brought into the stored frame of their image"] += 1
        for name in lost:
            self.ledger.changes[f"{name} of annotations removed (cannot be brought into the stored frame)"] += 1

    def _area(self, place: int, fields: Fields, corners: tuple[float, float, float, float]) -> None:
        """An area may count every pixel that the box touches, as those of masks do."""
        area = fields.area
        if area is UNSET or area is None:
            return
        x, y, right, bottom = corners
        box_area = (right - x) * (bottom - y)
        touched = (math.ceil(right) - math.floor(x)) * (math.ceil(bottom) - math.floor(y))
        if not is_number(area):
            self.ledger.mend(self.section, place, "wrong-type", f"area {shown(area)}", area=box_area)
        elif not 0 <= area <= max(touched, AREA_TOLERANCE * box_area + 1):
            detail = f"area {area}, of the box {box_area}"
            self.ledger.mend(self.section, place, "area-disagrees", detail, area=box_area)

    def _ids(self, kept: list[int]) -> None:
        """Give unused ids to annotations that have none of their own, which nothing refers to."""
        first: dict[int, int] = {}
        wanting: list[tuple[int, str]] = []
        for place in kept:
            identifier = self.section.fields[place].id
            if not is_id(identifier):
                wanting.append((place, "key-missing" if identifier in (UNSET, None) else "wrong-type"))
            elif identifier not in first:
                first[identifier] = place
                if identifier == 0:
                    wanting.append((place, "annotation-id-zero"))
            elif self.section.entry(place) == self.section.entry(first[identifier]):
                self.ledger.drop(self.section, place, "annotation-twice", f"id {identifier}")
            else:
                wanting.append((place, "annotation-id-twice"))
        unused = (number for number in itertools.count(1) if number not in first)
        for number, (place, kind) in zip(unused, wanting, strict=False):
            identifier = self.section.fields[place].id
            detail = "id" if identifier is UNSET else f"id {shown(identifier)}"
            self.ledger.mend(self.section, place, kind, detail, id=number)
            self.renumbered[number] = None if identifier is UNSET else identifier


def _beyond(corners: tuple[float, float, float, float], size: Size) -> bool:
    """Whether a box reaches farther out of its image than tools round."""
    slack = EDGE_TOLERANCE_PX
    x1, y1, x2, y2 = corners
    return x1 < -slack or y1 < -slack or x2 > size[0] + slack or y2 > size[1] + slack


def _moved_polygons(segmentation: Any, frame: Frame) -> Any:
    polygons = segmentation if isinstance(segmentation, list) else None
    if polygons and all(isinstance(one, list) and all(map(is_number, one)) for one in polygons):
        return [frame.polygon(one) for one in polygons]
    return UNSET
