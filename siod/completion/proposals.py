"""Proposals: boxes that an annotation file may lack, in a COCO file of their own beside which everything else is made.

The file lists the images and categories of the annotation file as they are there, byte for byte, and one annotation for
each proposal. ``info.proposals`` says where they come from. Boxes are x, y, width, height in pixels of the image files.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from siod.data import coco
from siod.data.category_states import Declared, Others
from siod.errors import UserError

if TYPE_CHECKING:
    from siod.data.coco import CocoDataset

FILE = "proposals.json"
VERSION = 1


class Proposal(msgspec.Struct, frozen=True):
    """One box that may be missing.

    Attributes:
        id: Above those of the annotation file, so that an accepted box keeps it.
        image_id: As in the annotation file.
        category_id: As in the annotation file.
        bbox: x, y, width, height in pixels of the image file.
        score: Of the detector, in [0, 1].
        fdr: Share of the proposals of its category with its score or a higher one that is estimated to be false; None
            where that cannot be estimated.
        fdr_low: Lower end of the estimate's interval.
        fdr_high: Upper end.
        state: What the annotation file says of the category in the image: ``some`` (it has boxes, more may be missing),
            ``unknown`` (boxes may be missing) or ``unlabelled`` (nobody looked for it).
    """

    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float
    fdr: float | None
    fdr_low: float | None
    fdr_high: float | None
    state: Literal["some", "unknown", "unlabelled"]

    def entry(self) -> dict[str, Any]:
        """The annotation of a COCO file."""
        area = self.bbox[2] * self.bbox[3]
        return {**msgspec.to_builtins(self), "area": area, "iscrowd": 0, "segmentation": []}


class CategoryRate(msgspec.Struct, frozen=True):
    """What was proposed of a category.

    Attributes:
        category_id: As in the annotation file.
        proposed: Number of boxes.
        score: The lowest of theirs; None where there are none.
        fdr: Estimated share of false ones among them; None where it cannot be estimated or nothing is proposed.
        fdr_low: Lower end of its interval.
        fdr_high: Upper end.
        pooled: True when the rate is that of all rare categories together.
        reason: Why there is no estimate, as a sentence; empty where there is one.
    """

    category_id: int
    proposed: int
    score: float | None
    fdr: float | None
    fdr_low: float | None
    fdr_high: float | None
    pooled: bool
    reason: str = ""


class Origin(msgspec.Struct, frozen=True):
    """Where proposals come from.

    Attributes:
        annotations: Absolute path of the annotation file.
        annotations_sha256: Of its bytes.
        images: Absolute path of the folder of the images.
        detector: What found them, in words.
        max_fdr: The rate that was asked for, or None.
        boxes: The number of boxes that was asked for, or None.
        folds: Number of detectors, none of which saw the images it proposes for; None for one detector.
        confidence: Of the intervals, such as 0.9.
        rates: One for each category, in the order of ids.
        complete: Names of the categories that the user said lack no box; None where the file says itself what it lacks.
        others: What the user said of the rest.
        version: Of this layout.
    """

    annotations: str
    annotations_sha256: str
    images: str
    detector: str
    max_fdr: float | None
    boxes: int | None
    folds: int | None
    confidence: float
    rates: tuple[CategoryRate, ...]
    complete: tuple[str, ...] | None = None
    others: Others = "unlabelled"
    version: int = VERSION

    def declared(self) -> Declared | None:
        """What the user said of the annotations, if anything."""
        return None if self.complete is None else Declared(self.complete, self.others)


class _Info(msgspec.Struct):
    proposals: Origin


class _File(msgspec.Struct):
    info: _Info
    annotations: tuple[Proposal, ...]


@dataclass(frozen=True, eq=False)
class Proposals:
    """Proposals and the annotation file they belong to.

    Attributes:
        origin: Where they come from.
        annotated: The annotation file.
        boxes: The proposals, by image in the order of the annotation file, the highest score first.
        sha256: Of the bytes of the file they stand in; decisions name it.
    """

    origin: Origin
    annotated: CocoDataset
    boxes: tuple[Proposal, ...]
    sha256: str


def write_proposals(path: Path, origin: Origin, annotated: CocoDataset, boxes: tuple[Proposal, ...]) -> Proposals:
    """Write proposals as a COCO file.

    Args:
        path: The file; replaced when it exists.
        origin: Where they come from.
        annotated: The annotation file.
        boxes: The proposals.

    Returns:
        What was written.

    Raises:
        UserError: The file cannot be written.
    """
    document = {
        "info": {"description": "boxes that may be missing", "proposals": msgspec.to_builtins(origin)},
        "images": annotated.sections["images"],
        "annotations": [box.entry() for box in boxes],
        "categories": annotated.sections["categories"],
    }
    coco.write(path, document)
    return Proposals(origin, annotated, boxes, hashlib.sha256(path.read_bytes()).hexdigest())


def read_proposals(path: Path, *, annotations: Path | None = None) -> Proposals:
    """Read proposals and the annotation file they belong to.

    Args:
        path: Of :func:`write_proposals`, or its folder.
        annotations: Where the annotation file is now; where it was when None.

    Raises:
        UserError: A file is missing or damaged, or the annotation file has changed since.
    """
    file = path / FILE if path.is_dir() else path
    try:
        content = file.read_bytes()
        read = msgspec.json.decode(content, type=_File)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; name the folder that siod complete wrote") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: holds no proposals of siod complete ({error}); write them again") from error
    origin = read.info.proposals
    if origin.version != VERSION:
        raise UserError(f"{file}: is of layout {origin.version}, this siod reads {VERSION}; write the proposals again")
    annotated = coco.read(annotations or Path(origin.annotations))
    if annotated.sha256 != origin.annotations_sha256:
        raise UserError(
            f"{annotated.path}: is not the file that {file} was made for, or has changed since; name that file, or "
            "write the proposals again"
        )
    return Proposals(origin, annotated, read.annotations, hashlib.sha256(content).hexdigest())
