"""Read the parts of a recognised source: each becomes a checked, repaired COCO document beside its folder of images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from siod.data import coco
from siod.data.checking.check import examine
from siod.data.checking.defects import KINDS
from siod.data.checking.salvage import UnreadableError, decoded, ignore_report, top_level
from siod.data.formats.convert import IMAGE_SUFFIXES
from siod.data.formats.layouts import files_below, tail_below
from siod.data.formats.merging import with_source_ids
from siod.data.formats.voc import from_voc
from siod.data.formats.yolo import from_yolo, read_names
from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from siod.data.checking.defects import Defect
    from siod.data.formats.convert import Conversion, Defects
    from siod.data.formats.layouts import Layout, Part

    Progress = Callable[[int, int], None]

SECTIONS = ("images", "annotations", "categories")
FOR_THE_WHOLE = {"category-unused", "annotation-id-zero"}
"""Remarks about a part that say nothing about what becomes of it: ids are made anew, categories joined."""
NUMBERED = [KINDS["annotation-id-zero"]]
"""Repairs that are none, likewise."""


@dataclass(frozen=True)
class Gathered:
    """One part as plain data.

    Attributes:
        layout: What it is part of.
        part: Its folders and splits.
        document: In COCO's format, repaired; entries are plain data.
        defects: What was found in it.
        changes: What the repair did, with counts.
        remarks: Sentences about what was decided on the way.
    """

    layout: Layout
    part: Part
    document: dict[str, Any]
    defects: tuple[Defect, ...]
    changes: dict[str, int]
    remarks: tuple[str, ...]

    def named(self) -> str:
        """What messages call it: its annotations, or the user's source where another tool wrote those."""
        return str(self.layout.source if self.layout.through else self.part.annotations)


def gather(
    layout: Layout, part: Part, scratch: Path, *, defects: Defects, progress: Progress | None = None
) -> Gathered:
    """Read, check and repair one part.

    Args:
        layout: Of the source.
        part: Of it.
        scratch: An empty folder for files on the way.
        defects: ``refuse`` stops at the first box without area or image that does not open.
        progress: Called with the number of images done and of all.

    Raises:
        UserError: Something cannot be read, or nothing could be made of it.
    """
    path, remarks = _as_coco(layout, part, scratch / "part.json", defects, progress)
    examination = examine(path, part.images, progress=progress)
    reason = examination.beyond_repair()
    if reason is not None or examination.repaired is None:
        raise UserError(f"{layout.source if layout.through else part.annotations}: {reason}")
    noted = tuple(
        f"{remark.meaning}: {remark.count} times, such as {remark.examples[0]}"
        for remark in examination.remarks
        if remark.kind not in FOR_THE_WHOLE
    )
    document = {name: _plain(section) for name, section in examination.repaired.items() if name != "annotations"}
    document["annotations"] = [_but_for_outline(entry) for entry in examination.repaired["annotations"]]
    if layout.format == "coco":
        document = with_source_ids(document, examination.renumbered)
    group, document = _without_group(document)
    changes = {text: count for text, count in examination.changes.items() if not any(kind in text for kind in NUMBERED)}
    return Gathered(layout, part, document, examination.defects, changes, (*remarks, *noted, *group))


def _as_coco(
    layout: Layout, part: Part, written: Path, defects: Defects, progress: Progress | None
) -> tuple[Path, tuple[str, ...]]:
    """The part as a COCO file: its own, or one converted from it."""
    if layout.format == "coco":
        return _with_found_names(part, written)
    if layout.format == "voc":
        made = from_voc(part.annotations, part.images, defects=defects, progress=progress)
        made = replace(made, remarks=(*made.remarks, *_bare(part, made)))
    else:
        names = read_names(part.names) if part.names is not None else []
        made = from_yolo(part.annotations, part.images, names, defects=defects, progress=progress)
    coco.write(written, made.document)
    return written, made.remarks


def _bare(part: Part, made: Conversion) -> list[str]:
    """Report images without an XML file: they may show nothing, or may not be annotated."""
    known = {part.images / image["file_name"] for image in made.document["images"]}
    bare = sorted(path for path in files_below(part.images, IMAGE_SUFFIXES) if path not in known)
    return [f"{len(bare)} images have no XML file and were left out, such as {bare[0]}"] if bare else []


def _with_found_names(part: Part, written: Path) -> tuple[Path, tuple[str, ...]]:
    """A COCO file whose file names lead to the images: its own, or a copy with the ends of the names that do."""
    path = part.annotations
    try:
        sections = top_level(path)
        images, _ = decoded(sections["images"], "images", ignore_report)
    except (OSError, UnreadableError, KeyError) as error:
        raise UserError(f"{path}: cannot be read as a COCO file ({error}); write or download it again") from error
    entries = [entry for entry in images if isinstance(entry, dict) and isinstance(entry.get("file_name"), str)]
    ends = {name: tail_below(part.images, name) for name in {entry["file_name"] for entry in entries}}
    changed = {name: end for name, end in ends.items() if end not in (None, name)}
    if not changed:
        return path, ()
    _refuse_ambiguous(path, changed, ends)
    for entry in entries:
        entry["file_name"] = changed.get(entry["file_name"], entry["file_name"])
    coco.write(written, {**sections, "images": images})
    name, end = next(iter(sorted(changed.items())))
    return written, (f"{len(changed)} file names were shortened to what lies in {part.images}, as {name} to {end}",)


def _refuse_ambiguous(path: Path, changed: dict[str, Any], ends: dict[str, str | None]) -> None:
    owners: dict[str | None, str] = {end: name for name, end in ends.items() if name not in changed}
    for name, end in sorted(changed.items()):
        if end in owners:
            raise UserError(
                f"{path}: {owners[end]} and {name} could both be {end} below the images' folder; "
                "put the images into the folders that the file names"
            )
        owners[end] = name


def _plain(section: Any) -> Any:
    if isinstance(section, list):
        return [msgspec.json.decode(entry) if isinstance(entry, msgspec.Raw) else entry for entry in section]
    return msgspec.json.decode(section) if isinstance(section, msgspec.Raw) else section


def _but_for_outline(entry: Any) -> Any:
    """An annotation as plain data but for its segmentation: it takes most of the memory and is not used here."""
    if not isinstance(entry, msgspec.Raw):
        return entry
    fields = msgspec.json.decode(entry, type=dict[str, msgspec.Raw])
    return {name: raw if name == "segmentation" else msgspec.json.decode(raw) for name, raw in fields.items()}


def _without_group(document: dict[str, Any]) -> tuple[Sequence[str], dict[str, Any]]:
    """Leave out the category that Roboflow writes above the others: it is their group and no box has it."""
    used = {entry["category_id"] for entry in document["annotations"]}
    categories = document["categories"]
    for category in categories:
        others = [other for other in categories if other is not category]
        groups = {other.get("supercategory") for other in others}
        if category["id"] not in used and groups == {category["name"]}:
            remark = f"category {category['name']!r} is the group of all others and has no box; it was left out"
            return [remark], {**document, "categories": others}
    return [], document
