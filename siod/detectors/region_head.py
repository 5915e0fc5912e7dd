"""The settings of a region head; ``siod.detectors.networks.region_head`` has the head."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from siod.detectors.region_proposals import Overlap
from siod.value import Value


class RegionHead(Value):
    """How proposals are sampled, looked at and turned into detections.

    ``sampled`` regions an image are learnt from, a share of ``objects`` of them at most with ``object_iou`` or
    more with an annotated box. A region is seen as ``positions`` x ``positions`` features.
    """

    positions: PositiveInt = 14
    sampled: PositiveInt = 512
    objects: Overlap = 0.25
    object_iou: Overlap = 0.5
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.05
    suppression_iou: Overlap = 0.5
    max_detections: PositiveInt = 100
