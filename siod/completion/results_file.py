"""Detections of any detector, from a COCO results file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from siod.completion.candidates import Detected
from siod.errors import UserError
from siod.evaluation.coco_json import read_detections, source_name

if TYPE_CHECKING:
    from pathlib import Path

    from siod.data.coco import CocoDataset


class _Annotations(msgspec.Struct):
    images: msgspec.Raw
    annotations: msgspec.Raw


def is_results_file(path: Path) -> bool:
    """True for a file of detections: a JSON list, perhaps packed."""
    if not path.is_file():
        return False
    if path.suffix == ".gz":
        return True
    with path.open("rb") as file:
        return file.read(256).lstrip().startswith(b"[")


def is_annotation_file(path: Path) -> bool:
    """True for a COCO file of images and annotations, which is no file of detections."""
    if path.suffix != ".json" or not path.is_file() or is_results_file(path):
        return False
    try:
        msgspec.json.decode(path.read_bytes(), type=_Annotations)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True


def read_results(source: Path | list[dict[str, Any]], dataset: CocoDataset) -> Detected:
    """Read a results file, or take its content.

    Args:
        source: A COCO results file (gzipped or not), or such a list; boxes x, y, width, height in pixels.
        dataset: The annotation file whose images and categories it is about.

    Returns:
        All detections.

    Raises:
        UserError: It is no results file, names an image or category that the annotation file does not list, or has a
            score outside [0, 1].
    """
    records = [record for some in read_detections(source) for record in some]
    flat = np.array([value for record in records for value in record.bbox], dtype=np.float64).reshape(-1, 4)
    detected = Detected(
        _places(dataset.place_of_image, [one.image_id for one in records], "image", source, dataset),
        _places(dataset.label_of_category, [one.category_id for one in records], "category", source, dataset),
        np.concatenate([flat[:, :2], flat[:, :2] + flat[:, 2:]], axis=1),
        np.array([record.score for record in records], dtype=np.float64),
    )
    outside = np.flatnonzero((detected.scores < 0) | (detected.scores > 1))
    if len(outside):
        raise UserError(
            f"{source_name(source)}: detections[{outside[0]}].score is {detected.scores[outside[0]]:g}; "
            "scores are in [0, 1]"
        )
    return detected


def _places(
    places: dict[int, int], wanted: list[int], what: str, source: Path | list[dict[str, Any]], dataset: CocoDataset
) -> np.ndarray[Any, np.dtype[np.int64]]:
    try:
        return np.array([places[number] for number in wanted], dtype=np.int64)
    except KeyError as error:
        row = wanted.index(error.args[0])
        raise UserError(
            f"{source_name(source)}: detections[{row}].{what}_id {error.args[0]} is not in {dataset.path}; name the "
            "annotation file that the detections belong to"
        ) from None
