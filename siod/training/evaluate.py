"""Detections of a model on the validation images, and what the score-aware protocol says of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from siod.data.loading.loader import eval_batches
from siod.evaluation.score_aware import GroundTruth, ScoreAwareEvaluator
from siod.training.arithmetic import matmul_precision
from siod.training.distributed import gather_objects

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from siod.data.source import PreparedData
    from siod.detectors.detector import Detector
    from siod.training.context import Context
    from siod.training.experiment import Evaluation, Precision
    from siod.types import Batch, Detections


@dataclass(frozen=True)
class DetectionArrays:
    """Detections of many images as columns; boxes ``xyxy`` in pixels of the image files."""

    image_ids: np.ndarray[Any, np.dtype[np.int64]]
    boxes_xyxy: np.ndarray[Any, np.dtype[np.float32]]
    scores: np.ndarray[Any, np.dtype[np.float32]]
    category_ids: np.ndarray[Any, np.dtype[np.int64]]

    def coco_results(self) -> list[dict[str, Any]]:
        """The same as a COCO results list (boxes x, y, width, height)."""
        corners = self.boxes_xyxy.astype(np.float64)
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        return [
            {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}
            for image_id, category_id, box, score in zip(
                self.image_ids.tolist(),
                self.category_ids.tolist(),
                boxes.tolist(),
                self.scores.astype(np.float64).tolist(),
                strict=True,
            )
        ]


def concatenate(shards: list[DetectionArrays]) -> DetectionArrays:
    """Join the shards of several workers or batches."""
    return DetectionArrays(
        np.concatenate([shard.image_ids for shard in shards]),
        np.concatenate([shard.boxes_xyxy for shard in shards]),
        np.concatenate([shard.scores for shard in shards]),
        np.concatenate([shard.category_ids for shard in shards]),
    )


def in_image_frame(batch: Batch, detections: list[Detections], category_ids: np.ndarray[Any, Any]) -> DetectionArrays:
    """Map the detections of a batch from the input's frame to that of the image files.

    Args:
        batch: Its ``to_original`` maps one frame to the other (scale and shift, no rotation).
        detections: One per image of the batch.
        category_ids: The data set's id of each label.

    Returns:
        One row per detection.
    """
    rows = []
    for index, found in enumerate(detections):
        affine = batch.to_original[index].to(found.boxes_xyxy)
        corners = found.boxes_xyxy.reshape(-1, 2, 2) @ affine[:, :2].T + affine[:, 2]
        rows.append(
            DetectionArrays(
                np.full(len(found.labels), batch.image_ids[index], dtype=np.int64),
                corners.reshape(-1, 4).float().cpu().numpy(),
                found.scores.float().cpu().numpy(),
                category_ids[found.labels.cpu().numpy()],
            )
        )
    return concatenate(rows)


@torch.inference_mode()
def detect(
    detector: Detector,
    data: PreparedData,
    evaluation: Evaluation,
    context: Context,
    *,
    precision: Precision = "fp32",
    loader_workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> DetectionArrays:
    """Run the detector on this worker's share of the validation images.

    Args:
        detector: Put into evaluation mode for the time being.
        data: Names the validation files.
        evaluation: Batch size and input size.
        context: Rank, world size, device.
        precision: Of the forward pass; boxes are read from its outputs in float32.
        loader_workers: Processes that decode images.
        progress: Called with the number of images of the share that are done.

    Returns:
        The detections of the share; every image belongs to exactly one share.
    """
    was_training = detector.training
    detector.eval()
    category_ids = np.asarray(data.category_ids, dtype=np.int64)
    rows, done = [_NOTHING], 0
    for batch in eval_batches(
        data,
        batch_size=evaluation.batch_size,
        input_size=evaluation.input_size,
        short_edge=evaluation.short_edge,
        rank=context.rank,
        world_size=context.world_size,
        workers=loader_workers,
        pin_memory=context.device.type == "cuda",
    ):
        images = batch.images.to(context.device, non_blocking=True)
        with matmul_precision(detector, precision):
            outputs = detector(images)
        rows.append(in_image_frame(batch, detector.decode(outputs), category_ids))
        done += len(batch.image_ids)
        if progress is not None:
            progress(done)
    detector.train(was_training)
    return concatenate(rows)


_NOTHING = DetectionArrays(
    np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
)


def score_aware_metrics(data: PreparedData, shard: DetectionArrays, context: Context) -> dict[str, float]:
    """Judge the detections of all workers by the score-aware protocol (Eq. 7 and 8).

    Args:
        data: Names the validation annotations.
        shard: This worker's detections.
        context: Rank and world size.

    Returns:
        ``ap_s``, ``ap_s0`` ... as fractions, the same on every worker; none that has nothing to find.
    """
    ground_truth = _ground_truth(data.val)
    evaluator = ScoreAwareEvaluator(ground_truth)
    evaluator.update(shard.image_ids, shard.boxes_xyxy, shard.scores, shard.category_ids)
    states = gather_objects(evaluator.state(), context.world_size)
    whole = ScoreAwareEvaluator(ground_truth)
    for state in states:
        whole.merge(state)
    return whole.compute().known()


@lru_cache(maxsize=2)
def _ground_truth(path: Path) -> GroundTruth:
    """Read the validation annotations once for all epochs."""
    return GroundTruth.from_coco(path)
