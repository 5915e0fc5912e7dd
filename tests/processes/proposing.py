"""Made-up proposals with pictures, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from siod.completion.proposals import CategoryRate, Origin, Proposal, Proposals, write_proposals
from siod.data import coco

CATEGORIES = ({"id": 2, "name": "cell"}, {"id": 5, "name": "rook"})
# image, category, box, score, rate of false ones
Row = tuple[int, int, tuple[float, float, float, float], float, float | None]


def record(image_id: int, name: str, width: int = 40, height: int = 30) -> dict[str, Any]:
    return {"id": image_id, "file_name": name, "width": width, "height": height}


def draw(folder: Path, images: Sequence[dict[str, Any]]) -> None:
    """One grey picture for each record."""
    for image in images:
        path = folder / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (image["width"], image["height"]), (90, 90, 90)).save(path)


def proposed(
    folder: Path,
    images: Sequence[dict[str, Any]],
    rows: Sequence[Row],
    *,
    annotations: Sequence[dict[str, Any]] = (),
    categories: Sequence[dict[str, Any]] = CATEGORIES,
    first_id: int = 100,
) -> Proposals:
    """Proposals in ``folder/review`` for an annotation file in ``folder``; pictures are looked for in it."""
    coco.write(folder / "mine.json", {"images": images, "annotations": annotations, "categories": categories})
    annotated = coco.read(folder / "mine.json")
    rates = tuple(
        CategoryRate(one["id"], 0, None, None, None, None, pooled=False, reason=f"Too few of {one['name']}.")
        for one in categories
    )
    origin = Origin(str(annotated.path), annotated.sha256, str(folder), "a detector", None, None, None, 0.9, rates)
    boxes = tuple(
        Proposal(first_id + place, image, category, bbox, score, fdr, None, None, "some")
        for place, (image, category, bbox, score, fdr) in enumerate(rows)
    )
    return write_proposals(folder / "review" / "proposals.json", origin, annotated, boxes)
