"""The paper's settings and the small-scale ones, as named values to copy from.

Source: Li et al., SIOD, CVPR 2022, section 4.1 (COCO); the digits settings were found on the built-in data set.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from siod.data.annotation_sets import Keep
from siod.data.digits import Digits
from siod.data.source import CocoFolder, Source
from siod.data.transforms import CENTERNET_AUGMENTATION, SHORT_EDGE_AUGMENTATION, Augmentation, ShortEdge
from siod.detectors.zoo import (
    CENTERNET_LITE0,
    CENTERNET_R18,
    CENTERNET_R101,
    CENTERNET_TINY,
    DFINE_R50,
    DFINE_TINY,
    FASTER_RCNN_R50_C4,
    FASTER_RCNN_TINY,
    FCOS_R50_FPN,
    FCOS_TINY,
    RETINANET_R50_FPN,
    RETINANET_TINY,
    RTDETR_R50,
    RTDETR_TINY,
)
from siod.dminer.dminer import DMiner, Staged
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.methods.pseudo import PseudoBoxes
from siod.methods.teacher_student import TeacherStudent
from siod.training.experiment import (
    SGD,
    AdamW,
    DigitClassifier,
    Evaluation,
    Experiment,
    ImageNet,
    OneCycle,
    Packaged,
    Recipe,
    StepDecay,
    WarmupStep,
)

if TYPE_CHECKING:
    from siod.detectors.detector import DetectorSpec

PAPER_SCHEDULE = StepDecay(milestones=(90, 120), factor=0.1)
# bf16 is what GPUs from Ampere on are made for. On others a run is refused, with what to set instead.
PAPER_R18 = Recipe(epochs=140, batch_size=114, learning_rate=5e-4, schedule=PAPER_SCHEDULE, precision="bf16")
PAPER_R101 = PAPER_R18.with_changes({"batch_size": 96, "learning_rate": 3.75e-4})
# detectron2's schedules of 90 000 and 270 000 steps in epochs of COCO2017's 7 329 steps. The paper does not say which;
# its fully supervised AP of 35.9 is that of the shorter (35.7 in detectron2's tables; the longer has 38.4).
DETECTRON2_1X = Recipe(
    epochs=12,
    batch_size=16,
    optimiser=SGD(),
    learning_rate=0.02,
    weight_decay=1e-4,
    schedule=WarmupStep(steps=1000, share=0.001, milestones=(8, 11)),
    precision="bf16",
)
DETECTRON2_3X = DETECTRON2_1X.with_changes({"epochs": 37, "schedule.milestones": (29, 34)})
# The official code's 90 000 steps with drops after 60 000 and 80 000, likewise; its warm-up stays at a third.
FCOS_1X = DETECTRON2_1X.with_changes(
    {"learning_rate": 0.01, "schedule": WarmupStep(warmup="constant", steps=500, share=1 / 3, milestones=(8, 11))}
)
RETINANET_1X = DETECTRON2_1X.with_changes({"learning_rate": 0.01})
# The official code's, whose average of the weights over steps is left out: 72 epochs after 2 000 steps of warm-up, at a
# rate that never drops.
RTDETR_6X = Recipe(
    epochs=72,
    batch_size=16,
    optimiser=AdamW(),
    learning_rate=1e-4,
    weight_decay=1e-4,
    schedule=WarmupStep(steps=2000, share=0.001, milestones=(72,)),
    precision="bf16",
    clip_norm=0.1,
    backbone_factor=0.1,
)
# That of its L, which rises for 500 steps.
DFINE_6X = RTDETR_6X.with_changes(
    {
        "batch_size": 32,
        "learning_rate": 2.5e-4,
        "weight_decay": 1.25e-4,
        "backbone_factor": 0.05,
        "schedule.steps": 500,
    }
)
# Both are trained on squares and tested at 640 px; crops by flips and scales stand for the official code's zooms and
# random crops.
QUERY_AUGMENTATION = Augmentation(
    input_size=(640, 640), scale=(0.6, 1.3), shift_border_px=160, flip=0.5, brightness=0.2, contrast=0.2, saturation=0.2
)
QUERY_EVALUATION = Evaluation(input_size=(640, 640), every_epochs=4, precision="as_trained")
# Nothing is learnt while 5 000 images are judged: every fifth of 140 epochs, every third of 12.
PAPER_EVALUATION = Evaluation(every_epochs=5, precision="as_trained")
# Images are tested at a shorter edge of 800 px.
SHORT_EDGE_EVALUATION = Evaluation(
    short_edge=ShortEdge(lengths=(800,)), batch_size=8, every_epochs=3, precision="as_trained"
)
PAPER_DMINER = DMiner(splg=SPLG(min_similarity=0.6, scale=1.0), pgcl=PGCL(top_m=128, temperature=0.07, weight=0.1))
PAPER_FPN_DMINER = PAPER_DMINER.with_changes({"pgcl.top_m": (96, 64, 32)})
# The authors' published model: two stages of 140 epochs, the selected positions masked in the first.
PAPER_STAGED_DMINER = PAPER_DMINER.with_changes({"pgcl.mask_selected": True, "staged": Staged()})

DIGITS_RECIPE = Recipe(epochs=6, batch_size=8, learning_rate=2e-3, schedule=OneCycle())
# 24 x 24 positions instead of 128 x 128: top_m shrinks with the map.
DIGITS_DMINER = DMiner(splg=SPLG(), pgcl=PGCL(top_m=16))
# A region head learns faster, and its branch has 12 x 12 positions.
DIGITS_FASTER_RCNN_RECIPE = DIGITS_RECIPE.with_changes({"epochs": 3})
DIGITS_FASTER_RCNN_DMINER = DMiner(splg=SPLG(), pgcl=PGCL(top_m=8))
# An eighth of the paper's, on 24 x 24, 12 x 12 and 6 x 6 positions.
DIGITS_FPN_RECIPE = DIGITS_RECIPE.with_changes({"epochs": 3})
DIGITS_FPN_DMINER = DMiner(splg=SPLG(), pgcl=PGCL(top_m=(12, 8, 4)))
# What DETRs are trained with, at a rate that fits some hundreds of steps.
DIGITS_QUERY_RECIPE = DIGITS_RECIPE.with_changes(
    {"epochs": 2, "optimiser": AdamW(), "learning_rate": 3e-3, "weight_decay": 1e-4, "clip_norm": 1.0}
)

# From ImageNet weights a few thousand images, each seen some ten times, are learnt in minutes.
PHOTOGRAPHS_RECIPE = Recipe(epochs=24, batch_size=8, learning_rate=2e-3, schedule=OneCycle())
# A few hundred steps: what the studies of photographs can pay for on two cores.
PHOTOGRAPHS_SHORT_RECIPE = PHOTOGRAPHS_RECIPE.with_changes({"batch_size": 4, "epochs": 8})
# At 160 x 224 px 40 x 56 positions.
PHOTOGRAPHS_DMINER = DMiner(splg=SPLG(), pgcl=PGCL(top_m=28))
# Nothing was tuned; a CenterNet rarely reaches the official threshold.
PHOTOGRAPHS_TEACHER_STUDENT = TeacherStudent(pseudo=PseudoBoxes(min_score=0.4))


def coco_root() -> Path:
    """Folder of COCO2017 for the studies on it: the environment's ``SIOD_COCO``, or ``data/coco``."""
    return Path(os.environ.get("SIOD_COCO", "data/coco"))


def coco_centernet_r18(root: Path) -> Experiment:
    """CenterNet-Res18 on Keep1-COCO2017-Train, without DMiner (Table 1).

    Args:
        root: Folder of COCO2017 in its standard layout.

    Returns:
        The experiment of the paper's SIOD (base) row.
    """
    return Experiment(
        data=CocoFolder(root=root, defects="repair"),  # COCO2017 has two boxes without area
        annotations=Keep(k=1, seed=0),
        detector=CENTERNET_R18,
        weights=ImageNet(),
        augmentation=CENTERNET_AUGMENTATION,
        recipe=PAPER_R18,
        evaluation=PAPER_EVALUATION,
    )


def coco_centernet_r101(root: Path) -> Experiment:
    """CenterNet-Res101 on Keep1-COCO2017-Train, without DMiner (Table 1)."""
    return coco_centernet_r18(root).with_changes({"detector": CENTERNET_R101, "recipe": PAPER_R101})


def coco_faster_rcnn_r50_c4(root: Path) -> Experiment:
    """Faster-RCNN-Res50-C4 on Keep1-COCO2017-Train, without DMiner (Table 1); with it, the detector's _MINING too."""
    return _at_short_edges(root, FASTER_RCNN_R50_C4, DETECTRON2_1X)


def coco_fcos_r50_fpn(root: Path) -> Experiment:
    """FCOS-Res50-FPN on Keep1-COCO2017-Train, without DMiner (Table 1); the official 1x knows the length 800 alone."""
    return _at_short_edges(root, FCOS_R50_FPN, FCOS_1X)


def coco_retinanet_r50_fpn(root: Path) -> Experiment:
    """RetinaNet-Res50-FPN on Keep1-COCO2017-Train, without DMiner."""
    return _at_short_edges(root, RETINANET_R50_FPN, RETINANET_1X)


def coco_rt_detr_r50(root: Path) -> Experiment:
    """RT-DETR v2 with ResNet-50 on Keep1-COCO2017-Train, without DMiner; needs the extra transformers."""
    return _at_640(root, RTDETR_R50, RTDETR_6X)


def coco_d_fine_r50(root: Path) -> Experiment:
    """D-FINE with ResNet-50 on Keep1-COCO2017-Train, without DMiner; needs the extra transformers."""
    return _at_640(root, DFINE_R50, DFINE_6X)


def _at_640(root: Path, detector: DetectorSpec, recipe: Recipe) -> Experiment:
    """A detector that learns from squares of 640 px, and is tested on them."""
    return coco_centernet_r18(root).with_changes(
        {
            "detector": detector,
            "augmentation": QUERY_AUGMENTATION,
            "recipe": recipe,
            "evaluation": QUERY_EVALUATION,
        }
    )


def _at_short_edges(root: Path, detector: DetectorSpec, recipe: Recipe) -> Experiment:
    """A detector that learns from images of detectron2's shorter edges, and is tested at 800 px."""
    return coco_centernet_r18(root).with_changes(
        {
            "detector": detector,
            "augmentation": SHORT_EDGE_AUGMENTATION,
            "recipe": recipe,
            "evaluation": SHORT_EDGE_EVALUATION,
        }
    )


def digits_centernet() -> Experiment:
    """A small CenterNet on keep-1 digits, without DMiner, from a backbone that knows digit crops."""
    return Experiment(
        data=Digits(),
        annotations=Keep(k=1, seed=0),
        detector=CENTERNET_TINY,
        weights=DigitClassifier(),
        augmentation=Augmentation(input_size=(96, 96)),
        recipe=DIGITS_RECIPE,
    )


def digits_faster_rcnn() -> Experiment:
    """A small Faster R-CNN on keep-1 digits, without DMiner, from a backbone that knows digit crops."""
    return digits_centernet().with_changes({"detector": FASTER_RCNN_TINY, "recipe": DIGITS_FASTER_RCNN_RECIPE})


def digits_fcos() -> Experiment:
    """A small FCOS on keep-1 digits, without DMiner, from a backbone that knows digit crops."""
    return digits_centernet().with_changes({"detector": FCOS_TINY, "recipe": DIGITS_FPN_RECIPE})


def digits_retinanet() -> Experiment:
    """A small RetinaNet on keep-1 digits, without DMiner, from a backbone that knows digit crops."""
    return digits_centernet().with_changes({"detector": RETINANET_TINY, "recipe": DIGITS_FPN_RECIPE})


def digits_rt_detr() -> Experiment:
    """A small RT-DETR on keep-1 digits, without DMiner, from a backbone that knows digit crops."""
    return digits_centernet().with_changes({"detector": RTDETR_TINY, "recipe": DIGITS_QUERY_RECIPE})


def digits_d_fine() -> Experiment:
    """A small D-FINE on keep-1 digits, without DMiner, from a backbone that knows digit crops."""
    return digits_centernet().with_changes({"detector": DFINE_TINY, "recipe": DIGITS_QUERY_RECIPE})


def photographs_root(name: str) -> Path:
    """Folder of a set of photographs for the studies on it: ``SIOD_CELLS`` in the environment, or ``data/cells``.

    Args:
        name: Of the set: cells, aquarium or chess.
    """
    return Path(os.environ.get(f"SIOD_{name.upper()}", f"data/{name}"))


def photographs_centernet(
    data: Source,
    *,
    input_size: tuple[int, int] = (256, 256),
    recipe: Recipe = PHOTOGRAPHS_RECIPE,
    every_epochs: int = 1,
) -> Experiment:
    """A small CenterNet on keep-1 photographs, without DMiner, from ImageNet weights of a package: for processors.

    Args:
        data: Whose photographs.
        input_size: Height and width that an image is fitted into, in pixels, multiples of 32; a longest side of 160 to
            320 is what it is meant for.
        recipe: How long it learns, and at which rate.
        every_epochs: After how many epochs it is judged.

    Returns:
        An experiment that is trained and judged at that size.
    """
    return Experiment(
        data=data,
        annotations=Keep(k=1, seed=0),
        detector=CENTERNET_LITE0,
        weights=Packaged(),
        augmentation=Augmentation(
            input_size=input_size,
            scale=(0.7, 1.3),
            shift_border_px=max(input_size) // 4,
            flip=0.5,
            brightness=0.2,
            contrast=0.2,
            saturation=0.2,
        ),
        recipe=recipe,
        evaluation=Evaluation(input_size=input_size, every_epochs=every_epochs),
    )
