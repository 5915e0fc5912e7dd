"""Table 1: every detector with full supervision, SIOD base and DMiner on COCO2017, at the paper's full recipe.

Command: SIOD_COCO=/data/coco siod study run table1_detectors
Cost: siod study plan table1_detectors --measure; not run by us for want of GPUs and of COCO.
The paper's figures stand below ours in the report; it has none for RetinaNet.

Source: Li et al., SIOD, CVPR 2022, Table 1.
"""

from __future__ import annotations

from siod.detectors.zoo import FASTER_RCNN_R50_C4_MINING
from siod.training.presets import (
    PAPER_DMINER,
    PAPER_FPN_DMINER,
    coco_centernet_r18,
    coco_centernet_r101,
    coco_faster_rcnn_r50_c4,
    coco_fcos_r50_fpn,
    coco_retinanet_r50_fpn,
    coco_root,
)
from siod.tuning.arms import percent, table1_rows
from siod.tuning.study import Study

PUBLISHED = {
    "centernet_r18": {
        "fsod": percent(17.3, 28.1, 24.0, 17.1, 8.8, 1.5),
        "base": percent(13.9, 25.1, 18.5, 12.3, 6.1, 1.4),
        "dminer": percent(16.8, 26.6, 22.4, 17.1, 9.4, 2.1),
    },
    "centernet_r101": {
        "fsod": percent(22.6, 34.2, 30.3, 23.6, 13.6, 3.1),
        "base": percent(15.1, 27.8, 20.9, 13.3, 6.1, 1.1),
        "dminer": percent(19.7, 29.8, 26.0, 20.5, 12.2, 2.9),
    },
    "faster_rcnn_r50_c4": {
        "fsod": percent(32.8, 35.9, 34.7, 33.2, 31.2, 26.1),
        "base": percent(27.0, 31.6, 29.4, 27.3, 24.6, 18.9),
        "dminer": percent(29.2, 31.9, 30.6, 29.5, 27.8, 23.9),
    },
    "fcos_r50_fpn": {
        "fsod": percent(27.1, 38.6, 38.3, 33.5, 16.0, 0.1),
        "base": percent(22.0, 33.2, 32.1, 25.6, 11.3, 0.0),
        "dminer": percent(23.6, 33.9, 33.3, 28.6, 14.1, 0.0),
    },
}
ROOT = coco_root()
BASE = coco_centernet_r18(ROOT)
BRANCHED = {"detector": FASTER_RCNN_R50_C4_MINING, "dminer": PAPER_DMINER}

STUDY = Study(
    name="table1_detectors",
    question="Does DMiner close the gap to full supervision on every detector?",
    base=BASE,
    arms=(
        *table1_rows(
            BASE,
            BASE,
            name="centernet_r18",
            group="CenterNet-Res18",
            mining={"dminer": PAPER_DMINER},
            published=PUBLISHED["centernet_r18"],
        ),
        *table1_rows(
            BASE,
            coco_centernet_r101(ROOT),
            name="centernet_r101",
            group="CenterNet-Res101",
            mining={"dminer": PAPER_DMINER},
            published=PUBLISHED["centernet_r101"],
        ),
        *table1_rows(
            BASE,
            coco_faster_rcnn_r50_c4(ROOT),
            name="faster_rcnn_r50_c4",
            group="Faster-RCNN-Res50-C4",
            mining=BRANCHED,
            published=PUBLISHED["faster_rcnn_r50_c4"],
        ),
        *table1_rows(
            BASE,
            coco_fcos_r50_fpn(ROOT),
            name="fcos_r50_fpn",
            group="FCOS-Res50-FPN",
            mining={"dminer": PAPER_FPN_DMINER},
            published=PUBLISHED["fcos_r50_fpn"],
        ),
        *table1_rows(
            BASE,
            coco_retinanet_r50_fpn(ROOT),
            name="retinanet_r50_fpn",
            group="RetinaNet-Res50-FPN",
            mining={"dminer": PAPER_FPN_DMINER},
        ),
    ),
    baseline="centernet_r18-base",
    baselines={
        "CenterNet-Res101": "centernet_r101-base",
        "Faster-RCNN-Res50-C4": "faster_rcnn_r50_c4-base",
        "FCOS-Res50-FPN": "fcos_r50_fpn-base",
        "RetinaNet-Res50-FPN": "retinanet_r50_fpn-base",
    },
    factors=("annotations", "dminer", "detector.mining_branch"),
    seeds=(0, 1, 2),
)
