"""Import the user's data as a COCO folder that siod trains on.

The way there: ``recognise`` says what sources are, ``found`` reads, checks and joins them; here images get splits and
names and what was done is written down; ``image_folder`` writes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import PIL

import siod
from siod.data.formats.image_folder import FolderImage, write_folder
from siod.data.formats.layouts import SPLITS
from siod.data.formats.splitting import Shares, divide, group_keys
from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from siod.data.formats.convert import Defects
    from siod.data.formats.found import Found, Origin
    from siod.data.formats.layouts import Layout, Split
    from siod.data.formats.splitting import Division

NAMED = 3
"""How many of something are named in a remark."""


@dataclass(frozen=True)
class ImportRequest:
    """What the user asks for.

    Args:
        out: Folder to write; empty or absent.
        defects: ``refuse`` writes nothing if there is one.
        shares: How images without a split are divided; None takes the usual shares where that is needed.
        anew: Divide all images, whatever splits the sources have.
        link: Place symbolic links to the images instead of copies.
        command: Remembered in the files.
    """

    out: Path
    defects: Defects = "repair"
    shares: Shares | None = None
    anew: bool = False
    link: bool = False
    command: str = ""


@dataclass(frozen=True)
class Imported:
    """What was written.

    Attributes:
        out: The folder.
        images: Number in each split.
        boxes: Number of instances of each category in each split, by name and split.
        remarks: Sentences about the division.
    """

    out: Path
    images: dict[Split, int]
    boxes: dict[str, dict[Split, int]]
    remarks: tuple[str, ...]


def import_found(found: Found, request: ImportRequest) -> Imported:
    """Divide what was read and write it.

    Args:
        found: By ``read_sources``.
        wish: What the user asks for.

    Returns:
        What stands in the folder, which is there whole or not at all.

    Raises:
        UserError: There is a defect and defects are refused, a split would have no boxes, or nothing can be written.
    """
    if request.defects == "refuse" and (defects := found.defects()):
        raise UserError(
            f"{defects[0].meaning} ({defects[0].examples[0]}); correct it, or let --defects repair mend what can be"
        )
    splits, division = _splits(found, request)
    names = _names(found, splits)
    info = {"description": "written by siod data import", "import": _account(found, request, division)}
    placed = [
        FolderImage(split, name, origin.file, _record(entry, name, origin, found))
        for split, name, origin, entry in zip(splits, names, found.origins, found.joined.images, strict=True)
    ]
    boxes = _boxes(found, splits)
    remarks = [*_about_division(division, splits), *_about_categories(boxes, splits), *_leaks(found, splits)]
    _refuse_useless(boxes, request.anew)
    write_folder(request.out, placed, found.joined.sections(), info, link=request.link)
    return Imported(request.out, dict(Counter(splits)), boxes, tuple(remarks))


def _splits(found: Found, request: ImportRequest) -> tuple[list[Split], Division | None]:
    """Where each image goes: as its source says, or by hash where no source says enough."""
    stated = [None if request.anew else origin.split for origin in found.origins]
    have = set(stated)
    if "train" not in have and None not in have:
        stated = [None] * len(stated)
    elif "val" not in have and None not in have:
        stated = [None if split == "train" else split for split in stated]
    places = [place for place, split in enumerate(stated) if split is None]
    if not places:
        if request.shares is not None:
            raise UserError("--val, --test, --group, --seed: the sources have splits; divide anew with --new-split")
        return [split for split in stated if split is not None], None
    shares = request.shares or Shares()
    if "test" in stated:
        shares = replace(shares, test=0.0)
    division = _divided(found, places, shares)
    chosen: dict[int, Split] = dict(zip(places, division.splits, strict=True))
    return [chosen[place] if split is None else split for place, split in enumerate(stated)], division


def _divided(found: Found, places: Sequence[int], shares: Shares) -> Division:
    """Divide some images, by their content or the group in their names."""
    keys = [found.origins[place].sha256 for place in places]
    if shares.group is not None:
        keys = group_keys([found.origins[place].name for place in places], shares.group)
    categories = found.shown_categories()
    return divide(keys, [categories[place] for place in places], shares)


def _boxes(found: Found, splits: Sequence[Split]) -> dict[str, dict[Split, int]]:
    boxes: dict[str, dict[Split, int]] = {entry["name"]: dict.fromkeys(SPLITS, 0) for entry in found.joined.categories}
    for place, name in found.instances():
        boxes[name][splits[place]] += 1
    return boxes


def _names(found: Found, splits: Sequence[Split]) -> list[str]:
    """A file name for each image: its own, or one in a folder of its part where another part has that name."""
    owners: dict[tuple[Split, str], Path] = {}
    moved: set[int] = set()
    for origin, split in zip(found.origins, splits, strict=True):
        if owners.setdefault((split, origin.name), origin.file) != origin.file:
            moved.add(origin.part)
    names = [
        f"{found.labels[origin.part]}/{origin.name}" if origin.part in moved else origin.name
        for origin in found.origins
    ]
    files: dict[tuple[Split, str], Path] = {}
    for origin, split, name in zip(found.origins, splits, names, strict=True):
        if files.setdefault((split, name), origin.file) != origin.file:
            raise UserError(f"{origin.file}: has the name of {files[split, name]}; rename its folder")
    return names


def _record(entry: dict[str, Any], name: str, origin: Origin, found: Found) -> dict[str, Any]:
    part = found.parts[origin.part]
    file = (part.part.files or {}).get(origin.name, origin.file).resolve()
    around = part.layout.folder().resolve().parent
    below = file.relative_to(around) if file.is_relative_to(around) else file
    return {**entry, "file_name": name, "source_file": below.as_posix(), "sha256": origin.sha256}


def _account(found: Found, request: ImportRequest, division: Division | None) -> dict[str, Any]:
    """What the files remember of how they were made."""
    layouts = {id(part.layout): part.layout for part in found.parts}
    counts = Counter(id(found.parts[origin.part].layout) for origin in found.origins)
    sources = [
        {
            "path": str(layout.source),
            "format": layout.through or layout.format,
            "images": counts[key],
            "infos": _infos(layout, found),
        }
        for key, layout in layouts.items()
    ]
    made = None if division is None else {**asdict(division.shares), "seed": division.seed}
    return {
        "command": request.command,
        "siod": siod.__version__,
        "pillow": PIL.__version__,
        "sources": sources,
        "split": made or "of the sources",
        "repaired": dict(found.changes()),
    }


def _infos(layout: Layout, found: Found) -> list[Any]:
    """What COCO files said of themselves, each once."""
    infos = [part.document.get("info") for part in found.parts if part.layout is layout]
    return [info for place, info in enumerate(infos) if info not in infos[:place]] if layout.format == "coco" else []


def _about_division(division: Division | None, splits: Sequence[Split]) -> list[str]:
    if division is None:
        return []
    counts = Counter(splits)
    sizes = ", ".join(f"{split} {counts[split]}" for split in SPLITS if counts[split])
    remarks = [f"images were divided by their hash, seed {division.seed}: {sizes}"]
    if division.seed:
        remarks[0] += f"; with --seed {division.seed} they stay where they are when you import more"
    return [*remarks, *(f"category {name!r} has no box in {split}" for name, split in division.missing)]


def _about_categories(boxes: dict[str, dict[Split, int]], splits: Sequence[Split]) -> list[str]:
    unused = [name for name, counts in boxes.items() if not any(counts.values())]
    remarks = [f"{len(unused)} categories have no box: {_listed(unused)}"] if unused else []
    for split in SPLITS:
        lacking = [name for name, counts in boxes.items() if name not in unused and not counts[split]]
        if lacking and split in splits:
            remarks.append(f"{len(lacking)} categories have boxes, but none in {split}: {_listed(lacking)}")
    return remarks


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def _leaks(found: Found, splits: Sequence[Split]) -> list[str]:
    """Report images that are in training and in another split."""
    learnt = {origin.sha256 for origin, split in zip(found.origins, splits, strict=True) if split == "train"}
    leaked = [o for o, split in zip(found.origins, splits, strict=True) if split != "train" and o.sha256 in learnt]
    if not leaked:
        return []
    return [
        f"{len(leaked)} images are in train and judged by as well, such as {leaked[0].file}; --new-split parts them"
    ]


def _refuse_useless(boxes: dict[str, dict[Split, int]], anew: bool) -> None:  # noqa: FBT001  (a field of the wish)
    for split in ("train", "val"):
        if not any(counts[split] for counts in boxes.values()):
            remedy = "another --seed, --val or --group" if anew else "--new-split, or annotate images for it"
            raise UserError(f"{split} would have no boxes; try {remedy}")
