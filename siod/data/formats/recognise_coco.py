"""COCO files and the images that belong to them; for ``siod.data.formats.recognise``.

Known arrangements: COCO2017's (``annotations/instances_*.json``), Roboflow's (``_annotations.coco.json`` among the
images of each split), and a file beside its images or beside a folder of them, as CVAT, Label Studio and VIA export.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from siod.data.checking.salvage import UnreadableError, decoded, ignore_report, top_level
from siod.data.formats.layouts import (
    SPLITS,
    Layout,
    Part,
    child,
    folders_in,
    split_of_file,
    split_of_folder,
    tail_below,
)
from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from siod.data.formats.layouts import Split

SECTIONS = {"images", "annotations", "categories"}
TRIED = 50
"""Images whose files are looked for before their folder is believed."""


def look_for_coco(source: Path) -> Layout | None:
    """COCO: JSON files with images, annotations and categories.

    Args:
        source: A folder, or a file.

    Raises:
        UserError: The images of a file are not where they are looked for, or several files are about the same ones.
    """
    if source.is_file():
        found = [source] if source.suffix.lower() == ".json" else []
    else:
        found = [path for folder in folders_in(source) for path in _candidates(folder)]
    named = {path: names for path in found if (names := _file_names(path)) is not None}
    parts = [Part(path, _images_of(path, names), _split_of(path)) for path, names in named.items()]
    _refuse_rivals(parts)
    return Layout("coco", source, tuple(sorted(parts, key=_order))) if parts else None


def _order(part: Part) -> tuple[bool, int, str]:
    return part.split is None, SPLITS.index(part.split) if part.split else 0, str(part.annotations)


def _candidates(folder: Path) -> list[Path]:
    """JSON files of a folder; where some are called ``instances_...`` the others are about something else."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".json" and path.is_file())
    return [path for path in files if path.name.startswith("instances_")] or files


def _file_names(path: Path) -> list[str] | None:
    """The names of the images a file lists; None if it is no COCO file."""
    try:
        sections = top_level(path)
        if not sections.keys() >= SECTIONS:
            return None
        images, _ = decoded(sections["images"], "images", ignore_report)
    except (OSError, UnreadableError):
        return None
    entries = images if isinstance(images, list) else []
    return [str(entry["file_name"]) for entry in entries if isinstance(entry, dict) and entry.get("file_name")]


def _split_of(path: Path) -> Split | None:
    return split_of_file(path.name.split(".")[0]) or split_of_folder(path.parent.name)


def _images_of(path: Path, names: Sequence[str]) -> Path:
    """The folder in which most of the images are found."""
    if not names:
        raise UserError(f"{path}: lists no images with a file_name; write or download the file again")
    some = names[:TRIED]
    folders = list(dict.fromkeys(_choices(path)))
    counts = Counter({folder: sum(tail_below(folder, name) is not None for name in some) for folder in folders})
    best, count = counts.most_common(1)[0]
    if not count:
        places = ", ".join(str(folder) for folder in folders)
        raise UserError(
            f"{path}: its images, such as {names[0]}, are in none of {places}; put them into 'images' beside it"
        )
    return best


def _choices(path: Path) -> Iterator[Path]:
    """Folders that may hold a file's images, the likeliest first."""
    around = [path.parent, path.parent.parent]
    words = [word for word in re.split(r"[_.]", path.stem) if word]
    for base in around:
        for holder in (base, child(base, ("images",))):
            if holder is not None:
                yield from (holder / word for word in words if (holder / word).is_dir())
                yield from ([] if holder == base else [holder])
    yield from (folder for base in around if (folder := child(base, ("data", "jpegimages"))) is not None)
    yield from around


def _refuse_rivals(parts: Sequence[Part]) -> None:
    """Two files about the same images would make two data sets of one."""
    owners: dict[tuple[Path, Split | None], Path] = {}
    for part in parts:
        other = owners.setdefault((part.images, part.split), part.annotations)
        if other != part.annotations:
            raise UserError(
                f"{other} and {part.annotations}: are both about the images of {part.images}; name the one you mean"
            )
