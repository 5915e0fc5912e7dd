"""What the checks look at: scenes of coloured rectangles, as a batch or as JPEG files, and detectors that find some."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from torchvision.ops import FrozenBatchNorm2d

from siod.data.annotation_sets import Keep
from siod.data.source import CocoFolder, PreparedData, prepare
from siod.detectors.zoo import (
    CENTERNET_R18,
    CENTERNET_R101,
    CENTERNET_TINY,
    FASTER_RCNN_R50_C4,
    FASTER_RCNN_R50_C4_MINING,
    FASTER_RCNN_TINY,
    FASTER_RCNN_TINY_MINING,
    FCOS_R50_FPN,
    FCOS_TINY,
    RETINANET_R50_FPN,
    RETINANET_TINY,
    build,
)
from siod.dminer.dminer import DMiner
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.types import Batch, Target

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from siod.detectors.detector import Detector
    from siod.detectors.spec import DetectorSpec

INSTANCES = 7
"""In an image: COCO's number. Three are annotated, each of a class of its own."""
ANNOTATED = 3


class Family(NamedTuple):
    """The plain detector, the one DMiner works on, and how many positions PGCL selects on each level."""

    plain: DetectorSpec
    mining: DetectorSpec
    top_m: int | tuple[int, ...]

    @property
    def dminer(self) -> DMiner:
        """Both miners."""
        return DMiner(splg=SPLG(), pgcl=PGCL(top_m=self.top_m))


TINY = {
    "centernet": Family(CENTERNET_TINY, CENTERNET_TINY, 16),
    "faster_rcnn": Family(FASTER_RCNN_TINY, FASTER_RCNN_TINY_MINING, 8),
    "fcos": Family(FCOS_TINY, FCOS_TINY, (12, 8, 4)),
    "retinanet": Family(RETINANET_TINY, RETINANET_TINY, (12, 8, 4)),
}
_DEFORMABLE = CENTERNET_TINY.with_changes({"upsampling": "deformable"})
TINY_DEFORMABLE = {"centernet_deformable": Family(_DEFORMABLE, _DEFORMABLE, 16)}
"""The tiny CenterNet with the full one's operator, whose kernels differ most between devices."""
FULL = {
    "centernet_r18": Family(CENTERNET_R18, CENTERNET_R18, 128),
    "centernet_r101": Family(CENTERNET_R101, CENTERNET_R101, 128),
    "faster_rcnn_r50_c4": Family(FASTER_RCNN_R50_C4, FASTER_RCNN_R50_C4_MINING, 128),
    "fcos_r50_fpn": Family(FCOS_R50_FPN, FCOS_R50_FPN, (96, 64, 32)),
    "retinanet_r50_fpn": Family(RETINANET_R50_FPN, RETINANET_R50_FPN, (96, 64, 32)),
}


class Scene(NamedTuple):
    """An image ``[H, W, 3]`` with its boxes (xyxy in pixels) and labels; the first ``ANNOTATED`` differ in class."""

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


def draw_scene(rng: np.random.Generator, height: int, width: int, classes: int) -> Scene:
    """Rectangles on noise, an eighth to two fifths of the shorter side, in the colours of their classes."""
    colours = np.random.default_rng(0).integers(60, 256, (classes, 3))
    pixels = rng.integers(0, 60, (height, width, 3)).astype(np.uint8)
    sides = rng.uniform(1 / 8, 2 / 5, (INSTANCES, 2)) * min(height, width)
    corners = rng.uniform(0, 1, (INSTANCES, 2)) * (np.array([width, height]) - sides)
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    chosen = rng.permutation(classes)[:ANNOTATED]
    labels = np.resize(chosen, INSTANCES).astype(np.int64)
    for box, label in zip(boxes, labels, strict=True):
        left, top, right, bottom = box.astype(int)
        pixels[top:bottom, left:right] //= 4
        pixels[top:bottom, left:right] += (colours[label] * 0.75).astype(np.uint8)
    return Scene(pixels, boxes, labels)


def scene_batch(images: int, height: int, width: int, classes: int, *, pinned: bool = False) -> Batch:
    """A batch on the CPU, one box a class annotated and the others hidden.

    Args:
        images: How many.
        height: In pixels.
        width: In pixels.
        classes: At least ``ANNOTATED``.
        pinned: In page-locked memory, as the loader gives it.

    Returns:
        The same for the same arguments.
    """
    rng = np.random.default_rng(1)
    scenes = [draw_scene(rng, height, width, classes) for _ in range(images)]
    pixels = torch.from_numpy(np.stack([scene.pixels for scene in scenes])).permute(0, 3, 1, 2).contiguous()
    targets = tuple(_target(scene) for scene in scenes)
    batch = Batch(pixels, targets, tuple(range(images)), torch.eye(2, 3).repeat(images, 1, 1))
    return batch.pin_memory() if pinned else batch


def _target(scene: Scene) -> Target:
    boxes, labels = torch.from_numpy(scene.boxes), torch.from_numpy(scene.labels)
    return Target(boxes[:ANNOTATED], labels[:ANNOTATED], boxes[ANNOTATED:], labels[ANNOTATED:])


class Files(NamedTuple):
    """How many JPEG files of what size; ``distinct`` ones are drawn, the others are further names of them."""

    train: int
    val: int
    height: int
    width: int
    distinct: int


def jpeg_folder(files: Files, work: Path, classes: int = 80) -> PreparedData:
    """A COCO folder of scenes on disk, written once for all checks of a run, ready to train on one box a category.

    Args:
        files: What is to be there.
        work: The run's folder.
        classes: Categories.

    Returns:
        The prepared data.
    """
    root = work / "-".join(map(str, files))
    if not (root / "annotations" / "instances_val.json").exists():
        rng = np.random.default_rng(2)
        scenes = [draw_scene(rng, files.height, files.width, classes) for _ in range(files.distinct)]
        (root / "annotations").mkdir(parents=True)
        for split, number in (("train", files.train), ("val", files.val)):
            _write_split(root, split, scenes, number, classes)
    return prepare(CocoFolder(root=root), Keep(k=1, seed=0), work / "cache", check_images="off")


def _write_split(root: Path, split: str, scenes: list[Scene], number: int, classes: int) -> None:
    folder = root / split
    folder.mkdir()
    images, annotations = [], []
    for index in range(number):
        scene = scenes[index % len(scenes)]
        height, width = scene.pixels.shape[:2]
        name = f"{index:06d}.jpg"
        if index < len(scenes):
            Image.fromarray(scene.pixels).save(folder / name, quality=90)
        else:
            os.link(folder / f"{index % len(scenes):06d}.jpg", folder / name)
        images.append({"id": index + 1, "file_name": name, "height": height, "width": width})
        for box, label in zip(scene.boxes.tolist(), scene.labels.tolist(), strict=True):
            left, top, right, bottom = box
            entry = {"id": len(annotations) + 1, "image_id": index + 1, "category_id": label + 1, "iscrowd": 0}
            annotations.append(entry | {"bbox": [left, top, right - left, bottom - top]})
    categories = [{"id": label + 1, "name": f"class {label + 1}"} for label in range(classes)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def fresh(spec: DetectorSpec, classes: int) -> Detector:
    """A detector with the same random weights each time.

    Frozen normalisation keeps what passes through it as it is; without trained weights each of sixteen blocks would
    double the variance, so that its last layer gives a fifth.
    """
    torch.manual_seed(0)
    detector = build(spec, num_classes=classes)
    for name, module in detector.named_modules():
        if isinstance(module, FrozenBatchNorm2d) and name.endswith("bn3"):
            module.weight.fill_(0.2)
    return detector


def eager(detector: Detector) -> Detector:
    """The detector with heads that find something everywhere: scores about a quarter, boxes of a few positions."""
    biases = {"cls_logits.bias": -1.0, "heatmap_head.2.bias": -1.0, "size_head.2.bias": 4.0}
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            for ending, value in biases.items():
                if name.endswith(ending):
                    parameter.fill_(value)
    return detector
