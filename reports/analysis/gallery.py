"""The same images side by side: what is there, and what each arm finds."""

from __future__ import annotations

import base64
import mimetypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.tracking.records import ArmRecord, Found, FoundBox, Gallery, GalleryImage, StudyRecord, TrueBox

# Okabe and Ito's bright colours, which show on most photographs.
COLOURS = ("#f0e442", "#56b4e9", "#e69f00", "#cc79a7", "#00c896", "#ff7043")
TRUTH = "ground truth"
# What a page can hold and a reader compare: a sweep's other arms and a crowd's least certain boxes are left out.
MOST_ARMS = 12
MOST_BOXES = 60


@dataclass(frozen=True)
class DrawnBox:
    """A rectangle over an image, in pixels of the image, with the words beside it."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    caption: str


@dataclass(frozen=True)
class Panel:
    """One image with the boxes of one arm, or with the ground truth."""

    title: str
    boxes: tuple[DrawnBox, ...]


@dataclass(frozen=True)
class Strip:
    """One image in all its panels.

    Args:
        id: Of the image.
        width: Of the image, in pixels.
        height: Of the image, in pixels.
        data_uri: The image file; it stands on the page once.
        panels: The ground truth, then the arms in the declared order.
    """

    id: int
    width: int
    height: int
    data_uri: str
    panels: tuple[Panel, ...]

    @property
    def letter_px(self) -> float:
        """Height of the captions' letters, in pixels of the image."""
        return max(self.width, self.height) / 18


def draw_gallery(study: StudyRecord) -> tuple[Strip, ...]:
    """Lay out the gallery of a study.

    Args:
        study: Arms without a recorded detection are left out, images without a stored file too.

    Returns:
        One strip per image; detections below the gallery's score threshold are not drawn.
    """
    gallery = study.gallery
    if gallery is None:
        return ()
    return tuple(
        Strip(image.id, image.width, image.height, _data_uri(image, data), _panels(study, gallery, image))
        for image in gallery.images
        if (data := study.gallery_files.get(image.id)) is not None
    )


def gallery_data(study: StudyRecord) -> dict[str, Any]:
    """What the page's script draws for any score threshold.

    Args:
        study: As for :func:`draw_gallery`.

    Returns:
        Plain data: names and colours by label, and by image id one list of boxes for each panel; a box is x, y,
        width, height, score (null for ground truth), label; empty for a study without a gallery.
    """
    gallery = study.gallery
    if gallery is None:
        return {}
    boxes = {}
    for image in gallery.images:
        if image.id in study.gallery_files:
            true = [[*_rounded(box[:4]), None, box.label] for box in image.ground_truth]
            found = [[_row(box) for box in _kept(found, image)] for _, found in shown_arms(study)]
            boxes[str(image.id)] = [true, *found]
    return {
        "categories": list(gallery.categories),
        "colours": [_colour(label) for label in range(len(gallery.categories))],
        "boxes": boxes,
    }


def shown_arms(study: StudyRecord) -> list[tuple[ArmRecord, Found]]:
    """The first arms with recorded detections, as many as a page shows."""
    found = [(arm, trial.found) for arm in study.arms for trial in study.trials_of(arm.name)]
    return [(arm, boxes) for arm, boxes in found if boxes][:MOST_ARMS]


def _kept(found: Found, image: GalleryImage) -> list[FoundBox]:
    return sorted(found.get(image.id, ()), key=lambda box: -box.score)[:MOST_BOXES]


def _row(box: FoundBox) -> list[float]:
    return [*_rounded(box[:4]), round(box.score, 3), box.label]


def _rounded(edges: Sequence[float]) -> list[float]:
    return [round(edge, 1) for edge in edges]


def _panels(study: StudyRecord, gallery: Gallery, image: GalleryImage) -> tuple[Panel, ...]:
    panels = [Panel(arm.title, _found_boxes(_kept(found, image), gallery)) for arm, found in shown_arms(study)]
    return (Panel(TRUTH, _true_boxes(image.ground_truth, gallery)), *panels)


def _true_boxes(boxes: Sequence[TrueBox], gallery: Gallery) -> tuple[DrawnBox, ...]:
    return tuple(DrawnBox(*box[:4], _colour(box.label), gallery.categories[box.label]) for box in boxes)


def _found_boxes(boxes: Sequence[FoundBox], gallery: Gallery) -> tuple[DrawnBox, ...]:
    return tuple(
        DrawnBox(*box[:4], _colour(box.label), f"{gallery.categories[box.label]} {100 * box.score:.0f}")
        for box in boxes
        if box.score >= gallery.score_threshold
    )


def _colour(label: int) -> str:
    return COLOURS[label % len(COLOURS)]


def _data_uri(image: GalleryImage, data: bytes) -> str:
    kind = mimetypes.guess_type(image.file)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
