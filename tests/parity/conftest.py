"""The official evaluation as an oracle, and problems it is asked about."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Oracle = Callable[..., COCOeval]


def prepared(truth: dict[str, Any], detections: list[dict[str, Any]]) -> COCOeval:
    """The official evaluation of boxes before its first step."""
    annotated = COCO()
    annotated.dataset = copy.deepcopy(truth)
    annotated.createIndex()
    if detections:
        found = annotated.loadRes(copy.deepcopy(detections))
    else:  # loadRes looks at the first detection and fails without one
        found = COCO()
        found.dataset = {"images": truth["images"], "categories": truth["categories"], "annotations": []}
        found.createIndex()
    return COCOeval(annotated, found, "bbox")


def first_id(truth: dict[str, Any]) -> int:
    """What is added to all ids of annotations so that none is 0."""
    return int(any(entry["id"] == 0 for entry in truth["annotations"]))


def run_cocoeval(
    truth: dict[str, Any], detections: list[dict[str, Any]], *, max_detections: tuple[int, ...] = (1, 10, 100)
) -> COCOeval:
    """Evaluate boxes with pycocotools, ids counted from 1, because it cannot find an annotation with id 0."""
    shift = first_id(truth)
    annotations = [entry | {"id": entry["id"] + shift} for entry in truth["annotations"]]
    truth = truth | {"annotations": annotations}
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = prepared(truth, detections)
        evaluation.params.maxDets = list(max_detections)
        evaluation.evaluate()
        evaluation.accumulate()
        if len(max_detections) == 3:
            evaluation.summarize()
    return evaluation


def authors_table(truth: dict[str, Any], detections: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    """The published code's table, ``[10, 12]``: two decimals, ``>=``, and low scores made false positives.

    What is low at one threshold is low at the next, so the matches are edited in place.
    """
    written = [
        detection
        | {"score": float(f"{detection['score']:.2f}"), "bbox": [float(f"{side:.2f}") for side in detection["bbox"]]}
        for detection in detections
    ]
    rows = []
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = prepared(truth, written)
        evaluation.evaluate()
        for threshold in np.arange(0, 1, 0.1):
            for image in filter(None, evaluation.evalImgs):
                low = ~(np.array(image["dtScores"]) >= threshold)
                image["dtMatches"][:, low] = 0
                image["dtIgnore"][:, low] = 0
            evaluation.accumulate()
            evaluation.summarize()
            rows.append(evaluation.stats)
    return np.array(rows)


@pytest.fixture(scope="session")
def cocoeval() -> Oracle:
    """Official evaluation of one problem."""
    return run_cocoeval


@pytest.fixture(scope="session")
def authors() -> Callable[..., np.ndarray[Any, Any]]:
    """The published code's table of one problem."""
    return authors_table
