"""One image several times over, side by side: at several score thresholds, with several settings of the miners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from siod.picture import visible
from siod.tuning.trials.pictures import FOUND_COLOUR, GAP_PX, LETTER_PX, TRUE_COLOUR, draw_boxes, write_picture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from siod.training.visualize import Box, Found, MinedImage

SIDE_PX = 320
TITLE_PX = 22
MOST_ACROSS = 5
# Of so many boxes the best are named; names of more would hide the image.
MOST_NAMED = 15
# Okabe and Ito's bluish green and vermilion; a miner is told by the shape of its marks.
RIGHT_COLOUR, WRONG_COLOUR = "#009e73", "#d55e00"
HIDDEN_COLOUR = "#f0f0f0"
OPAQUE = 150
LEGEND = (
    "blue box: annotated. white box: hidden. square: SPLG, dot: PGCL, ring: reject. "
    "green: on an instance of its class, orange: not."
)


@dataclass(frozen=True)
class Panel:
    """One copy of the image.

    Args:
        title: Above it.
        boxes: x, y, width, height in pixels of the image, what is written beside them, and their colour.
        marks: Cells (x, y, width, height), their shape (``square``, ``dot`` or ``ring``) and colour.
    """

    title: str
    boxes: tuple[tuple[Box, str, str], ...] = ()
    marks: tuple[tuple[Box, str, str], ...] = ()


def score_panels(
    truth: Sequence[tuple[Box, str]] | None, found: Sequence[tuple[Box, str, float]], thresholds: Sequence[float]
) -> tuple[Panel, ...]:
    """What is left of a detector's findings at each score threshold (Fig. 5).

    Args:
        truth: Instances with their category, or None where they are not known.
        found: Detections with category and score.
        thresholds: In [0, 1]; a detection that scores as much stays.

    Returns:
        The instances, if known, then one panel for each threshold.

    Example:
        >>> one = ((0, 0, 4, 4), "cat", 0.25)
        >>> [(panel.title, len(panel.boxes)) for panel in score_panels(None, [one], [0, 0.3])]
        [('score 0 or more: 1', 1), ('score 0.3 or more: 0', 0)]
    """
    panels = [] if truth is None else [Panel("instances", tuple((box, name, TRUE_COLOUR) for box, name in truth))]
    for threshold in thresholds:
        # The best last, on top of the others.
        left = sorted((one for one in found if one[2] >= threshold), key=lambda one: one[2])
        unnamed = len(left) - MOST_NAMED
        boxes = tuple(
            (box, f"{name} {100 * score:.0f}" if place >= unnamed else "", FOUND_COLOUR)
            for place, (box, name, score) in enumerate(left)
        )
        panels.append(Panel(f"score {threshold:g} or more: {len(boxes)}", boxes))
    return tuple(panels)


def mining_panels(image: MinedImage, names: Sequence[str]) -> tuple[Panel, ...]:
    """Where the miners find something, and whether it is true (Fig. 6).

    Args:
        image: Of ``siod.training.visualize.mined_images``.
        names: Category names by label.

    Returns:
        The instances, then one panel for each setting.
    """
    kept = tuple((box, names[label], TRUE_COLOUR) for box, label in image.annotated)
    hidden = tuple((box, names[label], HIDDEN_COLOUR) for box, label in image.hidden)
    instances = (*image.annotated, *image.hidden)
    first = Panel(f"{len(kept)} annotated, {len(hidden)} hidden", (*hidden, *kept))
    bare = tuple((box, "", TRUE_COLOUR) for box, _ in image.annotated)
    return (first, *(Panel(_title(found), bare, _marks(found, instances)) for found in image.found))


def _title(found: Found) -> str:
    total = sum(int(one.entries) for one in found.counts.values())
    true = sum(int(one.on_hidden) for one in found.counts.values())
    return f"{found.title}: {total}, {100 * true / max(total, 1):.0f}% on hidden"


def _marks(found: Found, instances: Sequence[tuple[Box, int]]) -> tuple[tuple[Box, str, str], ...]:
    shapes: Mapping[str, str] = {"splg": "square", "pgcl": "dot", "reject": "ring"}
    return tuple(
        (cell, shapes[miner], RIGHT_COLOUR if is_true(cell, label, instances) else WRONG_COLOUR)
        for miner, cells in found.positions.items()
        for cell, label in cells
    )


def is_true(cell: Box, label: int, instances: Sequence[tuple[Box, int]]) -> bool:
    """Whether the centre of a cell lies in an instance of the class.

    Example:
        >>> is_true((0, 0, 4, 4), 1, [((1, 1, 9, 9), 1)]), is_true((0, 0, 4, 4), 2, [((1, 1, 9, 9), 1)])
        (True, False)
    """
    x, y = cell[0] + cell[2] / 2, cell[1] + cell[3] / 2
    return any(
        known == label and box[0] <= x <= box[0] + box[2] and box[1] <= y <= box[1] + box[3] for box, known in instances
    )


def draw_panels(file: Path, panels: Sequence[Panel], picture: Path, *, legend: str = "") -> None:
    """Draw the panels in rows and write them to a PNG file.

    Args:
        file: The image.
        panels: At least one.
        picture: File to write; it is there whole or not at all.
        legend: Below all.
    """
    with Image.open(file) as opened:
        image = visible(opened)
    scale = SIDE_PX / max(image.size)
    image = image.resize((max(round(image.width * scale), 1), max(round(image.height * scale), 1)))
    across = -(-len(panels) // -(-len(panels) // MOST_ACROSS))  # rows of equal length
    step_x, step_y = SIDE_PX + GAP_PX, image.height + TITLE_PX + GAP_PX
    rows = -(-len(panels) // across)
    sheet = Image.new("RGB", (across * step_x + GAP_PX, rows * step_y + GAP_PX + (TITLE_PX if legend else 0)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(LETTER_PX)
    for place, panel in enumerate(panels):
        left, top = GAP_PX + place % across * step_x, GAP_PX + place // across * step_y
        pen.text((left, top + 2), panel.title, fill="black", font=font)
        sheet.paste(_drawn(image, panel, scale), (left, top + TITLE_PX))
    pen.text((GAP_PX, sheet.height - TITLE_PX), legend, fill="black", font=font)
    write_picture(sheet, picture)


def _drawn(image: Image.Image, panel: Panel, scale: float) -> Image.Image:
    marked = _with_marks(image, panel, scale)
    for box, caption, colour in panel.boxes:
        draw_boxes(marked, [(box, caption)], colour, scale)
    return marked


def _with_marks(image: Image.Image, panel: Panel, scale: float) -> Image.Image:
    sheer = Image.new("RGBA", image.size)
    pen = ImageDraw.Draw(sheer)
    for (x, y, width, height), shape, colour in panel.marks:
        corners = [x * scale, y * scale, (x + width) * scale - 1, (y + height) * scale - 1]
        if shape == "square":
            pen.rectangle(corners, fill=f"{colour}{OPAQUE:02x}")
        elif shape == "ring":
            pen.ellipse(corners, outline=colour, width=3)
        else:
            inset = (corners[2] - corners[0]) / 4
            smaller = [corners[0] + inset, corners[1] + inset, corners[2] - inset, corners[3] - inset]
            pen.ellipse(smaller, fill=colour, outline="white")
    return Image.alpha_composite(image.convert("RGBA"), sheer).convert("RGB")
