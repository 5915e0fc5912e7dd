"""Recognised sources read, checked and joined, with the file, content and split of each image."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siod.data.checking.defects import EXAMPLES
from siod.data.formats.gathering import gather
from siod.data.formats.merging import join
from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from siod.data.checking.defects import Defect
    from siod.data.formats.convert import Defects
    from siod.data.formats.gathering import Gathered
    from siod.data.formats.layouts import Layout, Split
    from siod.data.formats.merging import Joined

    Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Origin:
    """Where an image comes from.

    Attributes:
        part: Place of its part.
        file: Its file.
        name: Its name below the part's images.
        split: That its source gives it.
        sha256: Of the file.
    """

    part: int
    file: Path
    name: str
    split: Split | None
    sha256: str


@dataclass(frozen=True)
class Found:
    """What reading the sources gave.

    Attributes:
        parts: All of them.
        joined: Their documents as one.
        origins: Of each image of ``joined``: its part, file and content.
        labels: Of each part, in a folder of its own below others of its name.
    """

    parts: tuple[Gathered, ...]
    joined: Joined
    origins: tuple[Origin, ...]
    labels: tuple[str, ...]

    def defects(self) -> list[Defect]:
        """The defects of all parts, each kind once; examples begin with the name of their file."""
        kinds: dict[str, list[tuple[Defect, str]]] = {}
        for part in self.parts:
            for defect in part.defects:
                kinds.setdefault(defect.kind, []).append((defect, part.named()))
        return [_together(group) for group in kinds.values()]

    def changes(self) -> Counter[str]:
        """What was repaired, with counts."""
        return sum((Counter(part.changes) for part in self.parts), Counter())

    def remarks(self) -> list[str]:
        """Sentences about what was decided on the way, each with where."""
        places: dict[str, list[str]] = {}
        for part in self.parts:
            for remark in part.remarks:
                places.setdefault(remark, []).append(part.named())
        own = [f"{', '.join(where)}: {remark}" for remark, where in places.items()]
        return [
            *own,
            *self.joined.remarks,
            *_same_boxes(self.joined),
            *_same_content(self.origins, [self.labels[o.part] for o in self.origins]),
        ]

    def shown_categories(self) -> list[frozenset[str]]:
        """Names of the categories of which each image shows an instance; crowds are none."""
        shown: list[set[str]] = [set() for _ in self.origins]
        for place, name in self.instances():
            shown[place].add(name)
        return [frozenset(one) for one in shown]

    def instances(self) -> Iterator[tuple[int, str]]:
        """Place of the image and name of the category of each instance."""
        names = {entry["id"]: entry["name"] for entry in self.joined.categories}
        for entry in self.joined.annotations:
            if not entry.get("iscrowd"):
                yield entry["image_id"] - 1, names[entry["category_id"]]


def read_sources(
    layouts: Sequence[Layout], defects: Defects = "repair", *, unlisted: bool = False, progress: Progress | None = None
) -> Found:
    """Read, check and join the parts of recognised sources.

    Args:
        layouts: What ``recognise`` said.
        defects: As in ``gather``.
        unlisted: Keep images that the lists of their source leave out; they belong to no split.
        progress: Called with the number of images done and of all, part by part.

    Raises:
        UserError: Something cannot be read, or no image is left.
    """
    pairs = [(layout, part) for layout in layouts for part in layout.parts]
    parts = []
    for layout, part in pairs:
        with tempfile.TemporaryDirectory() as scratch:
            parts.append(gather(layout, part, Path(scratch), defects=defects, progress=progress))
    parts = [part if unlisted else _listed_only(part) for part in parts]
    joined = join([part.document for part in parts])
    origins = tuple(
        _origin(place, part, entry) for place, part in enumerate(parts) for entry in part.document["images"]
    )
    if not origins:
        raise UserError(f"{layouts[0].source}: no image is left; add images, or correct what was found")
    return Found(tuple(parts), joined, origins, tuple(_labels(parts)))


def _listed_only(part: Gathered) -> Gathered:
    """Without the images that the source's own lists leave out."""
    members = part.part.members
    if members is None:
        return part
    document = part.document
    known = {_stem(entry["file_name"]) for entry in document["images"]}
    images = [entry for entry in document["images"] if _stem(entry["file_name"]) in members]
    ids = {entry["id"] for entry in images}
    annotations = [entry for entry in document["annotations"] if entry["image_id"] in ids]
    remarks = list(part.remarks)
    if out := len(document["images"]) - len(images):
        remarks.append(f"{out} images are in no list of a split and were left out")
    if unknown := sorted(members.keys() - known):
        remarks.append(f"{len(unknown)} names in the lists of splits lead to no image, such as {unknown[0]}")
    return replace(part, document={**document, "images": images, "annotations": annotations}, remarks=tuple(remarks))


def _stem(file_name: str) -> str:
    return Path(file_name).with_suffix("").as_posix()


def _origin(place: int, part: Gathered, entry: dict[str, Any]) -> Origin:
    name = entry["file_name"]
    split = part.part.split if part.part.members is None else part.part.members.get(_stem(name))
    file = part.part.images / name
    with file.open("rb") as opened:
        return Origin(place, file, name, split, hashlib.file_digest(opened, "sha256").hexdigest())


def _labels(parts: Sequence[Gathered]) -> list[str]:
    """A name for each part, that of its source with what tells it from the other parts."""
    labels: list[str] = []
    for part in parts:
        name = part.layout.folder().resolve().name
        several = len(part.layout.parts) > 1
        below = part.part.images.resolve().parent.name if several else ""
        label = "_".join(dict.fromkeys(word for word in (name, below) if word))
        while label in labels:
            label += "_"
        labels.append(label)
    return labels


def _together(group: Sequence[tuple[Defect, str]]) -> Defect:
    """The defects of one kind from several parts."""
    examples = tuple(f"{where}: {example}" for defect, where in group for example in defect.examples)
    return replace(group[0][0], count=sum(defect.count for defect, _ in group), examples=examples[:EXAMPLES])


def _same_boxes(joined: Joined) -> list[str]:
    """Report objects that occur more than once; two of one place and category are one."""
    keys = Counter((entry["image_id"], entry["category_id"], *entry["bbox"]) for entry in joined.annotations)
    twice = [key for key, count in keys.items() if count > 1]
    if not twice:
        return []
    name = joined.images[twice[0][0] - 1]["file_name"]
    return [f"{len(twice)} boxes are there more than once with one category, such as {[*twice[0][2:]]} in {name}"]


def _same_content(origins: Sequence[Origin], labels: Sequence[str]) -> list[str]:
    """Report images that occur more than once."""
    first: dict[str, int] = {}
    twice = [
        (first[origin.sha256], place)
        for place, origin in enumerate(origins)
        if first.setdefault(origin.sha256, place) != place and origins[first[origin.sha256]].file != origin.file
    ]
    if not twice:
        return []
    one, other = twice[0]
    pair = f"{labels[one]}/{origins[one].name} and {labels[other]}/{origins[other].name}"
    return [f"{len(twice)} images have the same content as another, such as {pair}; all are kept"]
