"""The score-aware protocol (Eq. 7 and 8): COCO's figures at ten score thresholds, and their means.

``exact`` mode follows the paper: a detection counts at threshold t when its score is *above* t. The first
row is official COCO evaluation to the last bit, except that a detection scored exactly 0 is not above 0 and
falls out, and that an annotation with id 0 can be found; row i is official COCO evaluation of the detections
scored above i/10. ``authors`` mode repeats the published code, for comparison with published numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siod.evaluation.arrays import BoxFormat, refuse
from siod.evaluation.coco_json import source_name
from siod.evaluation.columns import DetectionColumns
from siod.evaluation.engine.judging import judge
from siod.evaluation.engine.matches import MatchList, Outcome
from siod.evaluation.ground_truth import GroundTruth
from siod.evaluation.protocol import COCO_AREA_RANGES, COCO_IOU_THRESHOLDS, COCO_MAX_DETECTIONS, Mode, Protocol
from siod.evaluation.result import Curves, ScoreAwareTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = [
    "Curves",
    "DetectionColumns",
    "GroundTruth",
    "MatchList",
    "Outcome",
    "Protocol",
    "ScoreAwareEvaluator",
    "ScoreAwareTable",
    "evaluate_files",
]


class ScoreAwareEvaluator:
    """Collects detections and judges them.

    Detections of equal score in one image and category rank in the order in which they were given. When
    workers share the images so that each image belongs to one of them, the result does not depend on how.

    Args:
        ground_truth: What to judge by; may be shared by many evaluators.
        mode: ``exact`` (the paper) or ``authors`` (the published code).
        score_thresholds: Strictly increasing; None for the ten of the mode.
        iou_thresholds: Strictly increasing, in (0, 1].
        area_ranges: Name to smallest and largest area in square pixels.
        max_detections: Limits on detections per image and category, strictly increasing.

    Raises:
        ValueError: A setting breaks its rule.
    """

    def __init__(
        self,
        ground_truth: GroundTruth,
        *,
        mode: Mode = "exact",
        score_thresholds: Sequence[float] | None = None,
        iou_thresholds: Sequence[float] = COCO_IOU_THRESHOLDS,
        area_ranges: Mapping[str, tuple[float, float]] = COCO_AREA_RANGES,
        max_detections: Sequence[int] = COCO_MAX_DETECTIONS,
    ) -> None:
        self._truth = ground_truth
        self._parts: list[DetectionColumns] = []
        self._protocol = Protocol(
            mode=mode,
            score_thresholds=None if score_thresholds is None else tuple(score_thresholds),
            iou_thresholds=tuple(iou_thresholds),
            area_ranges=dict(area_ranges),
            max_detections=tuple(max_detections),
        )

    def update(
        self, image_ids: Any, boxes_xyxy: Any, scores: Any, category_ids: Any, *, box_format: BoxFormat = "xyxy"
    ) -> None:
        """Add detections of any number of images: arrays, tensors on any device, or lists.

        Args:
            image_ids: ``[N]``, or one id when all are of one image.
            boxes_xyxy: ``[N, 4]`` in pixels of the image file.
            scores: ``[N]``, finite.
            category_ids: ``[N]``, ids of the ground truth (not labels).
            box_format: ``xywh`` when the boxes are corner and size instead.

        Raises:
            UserError: Lengths differ, an id is unknown, or a number is not finite.
        """
        self.merge(DetectionColumns.from_arrays(image_ids, boxes_xyxy, scores, category_ids, box_format=box_format))

    def merge(self, state: DetectionColumns, *, source: str = "detections") -> None:
        """Add the detections another evaluator has collected, or a file's.

        Args:
            state: What ``state()`` returned, on this worker or another.
            source: Named in errors.

        Raises:
            UserError: An id is unknown.
        """
        for what, places, ids in (
            ("image", self._truth.images, state.image_ids),
            ("category", self._truth.categories, state.category_ids),
        ):
            refuse(
                places.of(ids) < 0,
                lambda row, what=what, ids=ids: f"detections[{row}].{what}_id {ids[row]} is unknown",  # type: ignore[misc]
                source,
                f"judge by the annotations of these images, which list every {what}",
            )
        self._parts.append(state)

    def state(self) -> DetectionColumns:
        """The detections collected so far as plain arrays, to be pickled or gathered."""
        if len(self._parts) != 1:
            self._parts = [DetectionColumns.join(self._parts)]
        return self._parts[0]

    def reset(self) -> None:
        """Drop the detections collected so far."""
        self._parts.clear()

    def compute(self) -> ScoreAwareTable:
        """Judge the detections collected so far; more may be added afterwards."""
        return ScoreAwareTable(judge(self._truth, self.state(), self._protocol))


def evaluate_files(
    ground_truth: Path | str | Mapping[str, Any] | GroundTruth,
    detections: Path | str | list[Any],
    *,
    mode: Mode = "exact",
) -> ScoreAwareTable:
    """Judge a COCO results file by a COCO annotation file.

    Args:
        ground_truth: A path (gzipped or not), its content, or what was read before.
        detections: A path (gzipped or not), ``-`` for standard input, or a list of dictionaries.
        mode: ``exact`` or ``authors``.

    Returns:
        The table.

    Raises:
        UserError: A file cannot be read or a record is wrong; the sentence names both.
    """
    truth = ground_truth if isinstance(ground_truth, GroundTruth) else GroundTruth.from_coco(ground_truth)
    evaluator = ScoreAwareEvaluator(truth, mode=mode)
    evaluator.merge(DetectionColumns.from_coco(detections), source=source_name(detections))
    return evaluator.compute()
