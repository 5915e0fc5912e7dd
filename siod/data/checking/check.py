"""Every defect of a COCO file and its images in one pass, and a repaired copy.

Reading (``siod.data.coco``) stops at the first thing that is wrong. Here nothing stops: entries are looked at
one by one as whatever the file holds, and each defect is counted under its kind.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from siod.data.checking.annotations import AnnotationCheck
from siod.data.checking.defects import KINDS, Defect, Ledger
from siod.data.checking.entries import Section
from siod.data.checking.lists import CategoryCheck, ImageCheck
from siod.data.checking.salvage import UnreadableError, as_utf8, decoded, loads
from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECTIONS = ("images", "categories", "annotations")

REPLACEMENTS = {
    "not-finite": "numbers that are not finite set to null",
    "not-unicode": "characters that are no Unicode replaced",
}


@dataclass(frozen=True)
class Examination:
    """What is wrong with a file, and what is left when it is mended.

    Attributes:
        defects: What siod or other tools stumble over, in the order of ``KINDS``; empty for a sound file.
        remarks: What is lawful and worth knowing.
        repaired: A COCO document without the defects that can be mended, or None when nothing can be saved.
        changes: What the repair did, with counts.
        left: Images and annotations of the repaired document.
        renumbered: The ids that annotations have in the file by those that the repair gives instead.
    """

    defects: tuple[Defect, ...]
    remarks: tuple[Defect, ...]
    repaired: dict[str, Any] | None
    changes: dict[str, int]
    left: tuple[int, int] = (0, 0)
    renumbered: dict[int, Any] = field(default_factory=dict)

    def refusal(self) -> str | None:
        """Why the repaired document is worth nothing, if so, as the end of a sentence."""
        if (reason := self.beyond_repair()) is not None:
            return reason
        images, annotations = self.left
        if not images or not annotations:
            return f"{images} images and {annotations} annotations would be left; write or download the file again"
        return None

    def beyond_repair(self) -> str | None:
        """Why nothing can be made of the file, if so, as the end of a sentence."""
        unmended = [defect for defect in self.defects if defect.kind in {"boxes-as-corners", "boxes-relative"}]
        if self.repaired is None:
            return "nothing in it can be saved; write or download the file again"
        if unmended:
            return f"{unmended[0].meaning}; write the file again with x, y, width, height in pixels"
        return None


def examine(
    path: Path, image_folder: Path | None = None, *, progress: Callable[[int, int], None] | None = None
) -> Examination:
    """Look for every kind of defect.

    Args:
        path: A file that should be a COCO annotation file.
        image_folder: Where its images lie; None leaves the images alone.
        progress: Called with the number of images decoded and of all; of annotations without ``image_folder``.

    Returns:
        The defects and remarks, and the document as a repair would leave it. Nothing is lost that can be kept: numbers
        written as text become numbers, missing image sizes are those of the files, missing or repeated annotation ids
        unused ones, boxes of the frame in which an image is shown those of the stored one. Boxes are cut at their
        image's edges. What cannot be told apart is dropped: of several images of one id with other files none is kept.

    Raises:
        UserError: The file cannot be opened.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; name a COCO annotation file") from error
    examiner = _Examiner(image_folder, progress)
    document = examiner.document(content)
    ledger = examiner.ledger
    return Examination(
        ledger.defects(), ledger.remarks(), document, dict(ledger.changes), examiner.left, examiner.renumbered
    )


@dataclass
class _Examiner:
    """Takes the file apart and has each section looked at."""

    image_folder: Path | None
    progress: Callable[[int, int], None] | None
    ledger: Ledger = field(default_factory=lambda: Ledger(Counter(), {}, Counter()))
    left: tuple[int, int] = (0, 0)
    renumbered: dict[int, Any] = field(default_factory=dict)

    def document(self, content: bytes) -> dict[str, Any] | None:
        """Look at everything; returns the repaired document."""
        sections = self._sections(content)
        if sections is None:
            return None
        lists = {name: self._section(sections, name) for name in SECTIONS}
        images = ImageCheck(self.ledger, lists["images"], self.image_folder, self.progress)
        images.run()
        categories = CategoryCheck(self.ledger, lists["categories"])
        categories.run()
        annotations = AnnotationCheck(self.ledger, lists["annotations"], images, categories)
        annotations.run()
        self.renumbered = annotations.renumbered
        self.left = (lists["images"].kept(), lists["annotations"].kept())
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
                self.ledger.note("not-json", str(error))
                return None
        if not isinstance(found, dict):
            self.ledger.note("not-coco", "the file")
            return None
        if complaint:
            self.ledger.note("not-unicode", complaint)
            self.ledger.changes["text written as UTF-8"] += 1
        return {name: item if name in SECTIONS else self._aside(name, item) for name, item in found.items()}

    def _aside(self, name: str, item: Any) -> Any:
        """A section that is not checked; kept as it is if a strict reader accepts it."""
        try:
            data, sound = decoded(item, name, self.replaced)
        except UnreadableError as error:
            self.ledger.note("wrong-type", f"{name} ({error})")
            self.ledger.changes["sections that cannot be read set to null"] += 1
            return None
        return item if sound else data

    def replaced(self, kind: str, where: str) -> None:
        """Note what reading replaced."""
        self.ledger.note(kind, where)
        self.ledger.changes[REPLACEMENTS[kind]] += 1

    def _section(self, sections: dict[str, Any], name: str) -> Section:
        longest = name == "annotations" and self.image_folder is None
        section = Section.read(name, sections.get(name), self.replaced, self.progress if longest else None)
        if section is None:
            self.ledger.note("section-missing", name)
            return Section(name, [], {})
        for place in range(len(section.originals)):
            if place not in section.fields:
                self.ledger.drop(section, place, "entry-type")
        return section


__all__ = ["KINDS", "Defect", "Examination", "examine"]
