"""Annotated and proposed boxes for Label Studio: tasks with predictions, and the labelling interface that shows them.

A task that is imported with an annotation counts as labelled: it is not offered to annotators any more, and predictions
are shown beside the annotation, not in it. So all boxes of a task are in one prediction, which Label Studio copies into
the annotation that a person begins. Proposed regions have a score and a note; annotated ones have neither.

Source: https://labelstud.io/guide/predictions, and ``tasks/serializers.py`` and ``io_storages/localfiles`` of
label-studio 1.23.
"""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.completion.shown import ShownBox, ShownImage

DIGITS = 8
"""Of percentages: a millionth of a pixel in an image of ten thousand."""


def label_studio_interface(names: Sequence[str]) -> str:
    """The labelling interface, as the code of a project's settings.

    Args:
        names: Of the categories.
    """
    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in names)
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true"/>\n  <RectangleLabels name="label" toName="image">\n'
        f"{labels}  </RectangleLabels>\n</View>\n"
    )


def label_studio_task(image: ShownImage, folder: str) -> dict[str, Any]:
    """A task with one prediction of all boxes; crowds, which Label Studio does not know, are left out.

    Args:
        image: In the frame it is shown in, as browsers turn images too.
        folder: Name of the folder of the images. Addresses begin with it, because Label Studio serves files of folders
            inside its document root, and none that lie in the root itself.
    """
    name = image.record.file_name
    data = {
        "image": f"/data/local-files/?d={quote(f'{folder}/{name}')}",
        "image_id": image.record.id,
        "file_name": name,
    }
    boxes = image.objects()
    scores = [box.proposal.score for box in boxes if box.proposal is not None]
    score = {"score": fmean(scores)} if scores else {}
    prediction = {"model_version": "siod", **score, "result": [_region(box, image.size) for box in boxes]}
    return {"data": data, "predictions": [prediction]}


def _region(box: ShownBox, size: tuple[int, int]) -> dict[str, Any]:
    width, height = size
    x1, y1, x2, y2 = box.corners
    shares = {"x": x1 / width, "y": y1 / height, "width": (x2 - x1) / width, "height": (y2 - y1) / height}
    region = {
        "id": str(box.id),
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {
            **{name: round(100 * share, DIGITS) for name, share in shares.items()},
            "rotation": 0,
            "rectanglelabels": [box.name],
        },
    }
    if box.proposal is None:
        return region
    note = ", ".join(f"{name} {value}" for name, value in box.attributes().items() if name != "proposed")
    return {**region, "score": box.proposal.score, "meta": {"text": [f"proposed: {note}"]}}
