"""Detectors that decode queries, and boxes for them to find; tests of them are skipped where the extra is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from siod.detectors.query import QuerySpec
from siod.detectors.zoo import DFINE_TINY, RTDETR_TINY
from siod.testing.networks import eager, noise_for
from siod.testing.scenes import target

pytest.importorskip("transformers", reason="the extra transformers is not installed")


from siod.detectors.networks.query import QueryDetector, QueryOutputs

RTDETR_1 = RTDETR_TINY.with_changes({"version": 1})
DFINE_LIBRARY = DFINE_TINY.with_changes({"losses": "library"})
OWN_BACKBONE = {
    "backbone_config": {
        "model_type": "rt_detr_resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 16, 32, 64],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
        "out_indices": [2, 3, 4],
    },
    "encoder_in_channels": [16, 32, 64],
}
# As many in each image: only then are the library's losses of copies those of its images.
TARGETS = [target([[10, 10, 40, 50], [50, 20, 90, 60]], [0, 1]), target([[5, 8, 44, 70], [30, 20, 80, 66]], [2, 2])]


def detector_of(spec: QuerySpec) -> QueryDetector:
    detector = eager(spec)
    assert isinstance(detector, QueryDetector)
    return detector


def outputs_of(detector: QueryDetector, targets: list[Any]) -> QueryOutputs:
    torch.manual_seed(3)
    outputs = detector(noise_for(detector, len(targets)), targets)
    assert isinstance(outputs, QueryOutputs)
    return outputs
