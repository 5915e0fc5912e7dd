"""What a person decided about proposals, and the annotation file that it completes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from siod.completion.decision_file import read_decisions
from siod.completion.proposals import FILE, read_proposals
from siod.completion.rejected import FIELD, RejectedBox
from siod.completion.states import Additions, completed_images
from siod.data import coco
from siod.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siod.completion.decision_file import Box, Decision, Decisions
    from siod.completion.proposals import Proposal, Proposals
    from siod.data.category_states import Declared


@dataclass(frozen=True)
class Completed:
    """A completed annotation file.

    Attributes:
        path: The file.
        proposed: Number of proposals.
        accepted: How many of them became annotations, moved and recategorised ones included.
        rejected: How many are no missing boxes.
        moved: Accepted ones with another box.
        recategorised: Accepted ones with another category.
        added: Boxes that nobody proposed.
        images: Number of images.
        complete: How many of them are complete.
        states_in_images: True when the image entries say what is known of each category, by LVIS's fields.
    """

    path: Path
    proposed: int
    accepted: int
    rejected: int
    moved: int
    recategorised: int
    added: int
    images: int
    complete: int
    states_in_images: bool

    @property
    def undecided(self) -> int:
        """Proposals that were neither accepted nor rejected; they are not in the file."""
        return self.proposed - self.accepted - self.rejected

    def counts(self) -> dict[str, int]:
        """The numbers by name, as the file records them."""
        names = (
            "proposed",
            "accepted",
            "rejected",
            "undecided",
            "moved",
            "recategorised",
            "added",
            "images",
            "complete",
        )
        return {name: getattr(self, name) for name in names}

    def sentences(self) -> tuple[str, ...]:
        """What was done, for the user."""
        proposals = (
            f"{self.path}: {self.accepted} of {self.proposed} proposals were accepted ({self.moved} moved, "
            f"{self.recategorised} with another category), {self.rejected} rejected, {self.undecided} left undecided"
        )
        added = f"{self.added} boxes were added that nobody had proposed"
        complete = f"{self.complete} of {self.images} images are complete: every object in them has its box"
        if not self.states_in_images:
            return proposals, added, complete
        fields = "the images say which categories may still lack boxes; train on the file without complete and others"
        return proposals, added, complete, fields


def apply(
    decisions: Path,
    *,
    out: Path,
    proposals: Path | None = None,
    annotations: Path | None = None,
    declared: Declared | None = None,
) -> Completed:
    """Complete an annotation file by what a reviewer decided about its proposals.

    The file has the images, categories and annotations of the source byte for byte, and after them the accepted boxes
    under the ids of their proposals and the added ones with ids above all. ``info.completion`` records who decided what
    and when. What is known of each category in each image changes as ``siod.completion.states`` says; image entries
    that say so are the only ones that differ.

    Args:
        decisions: The file that the review page saved.
        out: File to write; replaced when it exists.
        proposals: The proposals, or their folder; where they were when None.
        annotations: The annotation file they were made for; where it was when None.
        declared: What the user says of that file; what was said when the boxes were proposed when None.

    Raises:
        UserError: A file is missing, damaged or another one, the decisions do not fit the proposals, a box lies outside
            its image, or ``out`` is one of the files that are read or cannot be written.
    """
    decided = read_decisions(decisions)
    reviewed = read_proposals(proposals or Path(decided.proposals), annotations=annotations)
    if reviewed.sha256 != decided.proposals_sha256:
        raise UserError(
            f"{decisions}: proposals_sha256 is not that of {proposals or decided.proposals}; name the proposals that "
            "were decided on"
        )
    _refuse_overwriting(out, (decisions, proposals or Path(decided.proposals), reviewed.annotated.path))
    review = _Review(decisions, decided, reviewed)
    entries = [*review.accepted(), *review.added()]
    added = Additions(
        image_index=np.array([review.images[entry["image_id"]] for entry in entries], dtype=np.int64),
        labels=np.array([review.labels[entry["category_id"]] for entry in entries], dtype=np.int64),
        complete=review.complete(),
    )
    declared = declared or reviewed.origin.declared()
    images, states_in_images = completed_images(reviewed.annotated, added, declared)
    completed = review.outcome(out, states_in_images=states_in_images)
    document = {
        **reviewed.annotated.sections,
        "info": _info(review, completed, declared),
        "images": images,
        "annotations": [*reviewed.annotated.annotation_records(), *entries],
    }
    coco.write(out, document)
    return completed


def _refuse_overwriting(out: Path, read: tuple[Path, ...]) -> None:
    for path in read:
        file = path / FILE if path.is_dir() else path
        if out.resolve() == file.resolve():
            raise UserError(f"{out}: is read to complete the annotations and would be lost; name another file to write")


class _Review:
    """Decisions, checked against the proposals they are about.

    Args:
        path: Of the decisions, for messages.
        decided: The decisions.
        reviewed: The proposals they are about.
    """

    def __init__(self, path: Path, decided: Decisions, reviewed: Proposals) -> None:
        self.path, self.decided, self.reviewed = path, decided, reviewed
        self.images, self.labels = reviewed.annotated.place_of_image, reviewed.annotated.label_of_category
        self.proposals = {box.id: box for box in reviewed.boxes}
        self._refuse_unknown_and_repeated()

    def _refuse_unknown_and_repeated(self) -> None:
        seen: set[int] = set()
        for place, one in enumerate(self.decided.decisions):
            where = f"{self.path}: decisions[{place}].id {one.id}"
            if one.id not in self.proposals:
                raise UserError(f"{where} is no proposal; name the decisions on these proposals")
            if one.id in seen:
                raise UserError(f"{where} was decided before; leave one decision on each proposal")
            seen.add(one.id)

    def accepted(self) -> list[dict[str, Any]]:
        """Annotations of the accepted proposals."""
        return [
            self._accepted(one, f"decisions[{place}]")
            for place, one in enumerate(self.decided.decisions)
            if one.decision == "accept"
        ]

    def _accepted(self, one: Decision, where: str) -> dict[str, Any]:
        proposal = self.proposals[one.id]
        category_id = proposal.category_id if one.category_id is None else one.category_id
        entry = self._entry(one.id, proposal.image_id, category_id, one.bbox or proposal.bbox, where)
        return {**entry, "proposed": _proposed(one, proposal)}

    def rejected(self) -> list[RejectedBox]:
        """The rejected proposals."""
        return [RejectedBox.of(self.proposals[one.id]) for one in self.decided.decisions if one.decision == "reject"]

    def added(self) -> list[dict[str, Any]]:
        """Annotations of the added boxes, with ids above all."""
        highest = max((*self.reviewed.annotated.annotation_ids.tolist(), *self.proposals, 0))
        return [
            self._entry(highest + place + 1, one.image_id, one.category_id, one.bbox, f"added[{place}]")
            for place, one in enumerate(self.decided.added)
        ]

    def _entry(self, box_id: int, image_id: int, category_id: int, bbox: Box, where: str) -> dict[str, Any]:
        if category_id not in self.labels:
            raise UserError(
                f"{self.path}: {where}.category_id {category_id} is no category of the annotation file; correct it"
            )
        self._refuse_outside(self._image(image_id, f"{where}.image_id"), bbox, f"{where}.bbox")
        return {
            "id": box_id,
            "image_id": image_id,
            "category_id": category_id,
            "bbox": list(bbox),
            "area": bbox[2] * bbox[3],
            "iscrowd": 0,
            "segmentation": [],
        }

    def _image(self, image_id: int, where: str) -> int:
        if image_id not in self.images:
            raise UserError(f"{self.path}: {where} {image_id} is no image of the annotation file; correct it")
        return self.images[image_id]

    def _refuse_outside(self, place: int, bbox: Box, where: str) -> None:
        image, (x, y, width, height) = self.reviewed.annotated.images[place], bbox
        complaint = ""
        if min(width, height) <= 0:
            complaint = "has no area"
        elif min(x, y) < -coco.EDGE_TOLERANCE_PX or (
            max(x + width - image.width, y + height - image.height) > coco.EDGE_TOLERANCE_PX
        ):
            complaint = "reaches outside its image"
        if complaint:
            size = f"image {image.id}, {image.width} x {image.height} px"
            raise UserError(f"{self.path}: {where} {list(bbox)} {complaint} ({size}); correct or remove it")

    def complete(self) -> NDArray[np.bool_]:
        """Whether each image is said to be complete."""
        found = np.zeros(len(self.images), dtype=bool)
        for place, image_id in enumerate(self.decided.complete):
            found[self._image(image_id, f"complete[{place}]")] = True
        return found

    def outcome(self, out: Path, *, states_in_images: bool) -> Completed:
        """How many were decided how."""
        accepted = [one for one in self.decided.decisions if one.decision == "accept"]
        categories = [(one.category_id, self.proposals[one.id].category_id) for one in accepted]
        return Completed(
            path=out,
            proposed=len(self.proposals),
            accepted=len(accepted),
            rejected=len(self.decided.decisions) - len(accepted),
            moved=sum(one.bbox is not None for one in accepted),
            recategorised=sum(chosen not in {None, proposed} for chosen, proposed in categories),
            added=len(self.decided.added),
            images=len(self.images),
            complete=int(self.complete().sum()),
            states_in_images=states_in_images,
        )


def _proposed(one: Decision, proposal: Proposal) -> dict[str, Any]:
    """What the detector said of an accepted box, and what the reviewer changed of it."""
    said: dict[str, Any] = {"score": proposal.score, "fdr": proposal.fdr}
    if one.bbox is not None:
        said["bbox"] = list(proposal.bbox)
    if one.category_id not in {None, proposal.category_id}:
        said["category_id"] = proposal.category_id
    return said


def _info(review: _Review, completed: Completed, declared: Declared | None) -> dict[str, Any]:
    """The source's ``info`` with a record of the completion; what no longer holds stays in ``source_info``."""
    reviewed, decided = review.reviewed, review.decided
    source = reviewed.annotated.info()
    kept = {name: value for name, value in source.items() if name not in {"annotation_set", "completion"}}
    declaration = None if declared is None else {"complete": list(declared.complete), "others": declared.others}
    record = {
        "source_sha256": reviewed.annotated.sha256,
        "source_info": source,
        "declared": declaration,
        "proposals_sha256": reviewed.sha256,
        "detector": reviewed.origin.detector,
        "max_fdr": reviewed.origin.max_fdr,
        "boxes": reviewed.origin.boxes,
        "reviewer": decided.reviewer,
        "minutes": decided.minutes,
        "saved": decided.saved,
        "counts": completed.counts(),
        "decisions": msgspec.to_builtins(decided.decisions),
        "added": msgspec.to_builtins(decided.added),
        FIELD: msgspec.to_builtins(review.rejected()),
        "complete": list(decided.complete),
    }
    return {**kept, "completion": record}
