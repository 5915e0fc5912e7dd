"""The data of a review page: columns of whole numbers, which stay small for hundreds of thousands of boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import numpy as np

from siod.completion.proposals import Proposal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from siod.completion.proposals import Proposals

STATES = get_args(get_type_hints(Proposal)["state"])
BOX_STEPS = 10
"""Coordinates are counted in tenths of a pixel."""
SCORE_STEPS = 1000
FDR_STEPS = 10000


def columns(proposals: Proposals, pictures: Sequence[str], path: Path) -> dict[str, Any]:
    """What the page shows, as its script reads it.

    Args:
        proposals: With the annotated boxes.
        pictures: For each image, its file in ``images/``; empty where there is none.
        path: Of the proposals' file, absolute.

    Returns:
        Plain data. Annotated boxes and proposals stand by image; ``images`` says how many of each there are. Images,
        categories and states are named by their places; ids of proposals are differences to the one before.
    """
    annotated = proposals.annotated
    rows = np.argsort(annotated.image_index, kind="stable")
    places = annotated.place_of_image
    boxes = sorted(proposals.boxes, key=lambda box: places[box.image_id])
    proposed = np.array([places[box.image_id] for box in boxes], dtype=np.int64)
    return {
        "proposals": str(path),
        "sha256": proposals.sha256,
        "categories": _categories(proposals),
        "images": {
            "id": [image.id for image in annotated.images],
            "name": [image.file_name for image in annotated.images],
            "picture": list(pictures),
            "width": [image.width for image in annotated.images],
            "height": [image.height for image in annotated.images],
            "annotated": np.bincount(annotated.image_index, minlength=len(annotated.images)).tolist(),
            "proposed": np.bincount(proposed, minlength=len(annotated.images)).tolist(),
        },
        "annotated": {"category": annotated.labels[rows].tolist(), "bbox": _steps(annotated.boxes_xywh[rows])},
        "proposed": _proposed(proposals, boxes),
    }


def _categories(proposals: Proposals) -> dict[str, list[Any]]:
    reasons = {rate.category_id: rate.reason for rate in proposals.origin.rates}
    listed = proposals.annotated.categories
    return {
        "id": [category.id for category in listed],
        "name": [category.name for category in listed],
        "reason": [reasons.get(category.id, "") for category in listed],
    }


def _proposed(proposals: Proposals, boxes: Sequence[Proposal]) -> dict[str, list[Any]]:
    labels = proposals.annotated.label_of_category
    ids = np.array([box.id for box in boxes], dtype=np.int64)
    return {
        "id": np.diff(ids, prepend=0).tolist(),
        "category": [labels[box.category_id] for box in boxes],
        "bbox": _steps(np.array([box.bbox for box in boxes], dtype=np.float64)),
        "score": [round(SCORE_STEPS * box.score) for box in boxes],
        "fdr": [None if box.fdr is None else round(FDR_STEPS * box.fdr) for box in boxes],
        "state": [STATES.index(box.state) for box in boxes],
    }


def _steps(boxes_xywh: NDArray[np.float64]) -> list[int]:
    """Coordinates one after the other, in tenths of a pixel."""
    steps: list[int] = np.rint(BOX_STEPS * boxes_xywh).astype(np.int64).ravel().tolist()
    return steps
