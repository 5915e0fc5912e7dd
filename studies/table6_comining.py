"""Table 6: Co-mining on RetinaNet-Res50, with half of the boxes of every image or with one per category.

Command: SIOD_COCO=/data/coco siod study run table6_comining
Cost: siod study plan table6_comining --measure; not run by us for want of GPUs and of COCO.
The paper's figures stand below ours in the report; it has none for the detector without Co-mining.

Source: Li et al., SIOD, CVPR 2022, Table 6; Wang et al., Co-mining, AAAI 2021, section 4.1 (the recipe).
"""

from __future__ import annotations

from siod.data.annotation_sets import Sparse
from siod.methods.comining import CoMining
from siod.training.presets import coco_retinanet_r50_fpn, coco_root
from siod.tuning.arms import percent
from siod.tuning.study import Arm, Study

COLUMNS = ("ap_s", "ap_s0", "ap_s3", "ap_s5")
HARD = {"annotations": Sparse(level="hard")}
SAOD_TYPE = {"Type": "SAOD hard"}
SIOD_TYPE = {"Type": "SIOD"}

STUDY = Study(
    name="table6_comining",
    question="What is Co-mining worth with half of the boxes of every image, and with one box per category?",
    base=coco_retinanet_r50_fpn(coco_root()).with_changes({"augmentation.short_edge.lengths": (800,)}),
    arms=(
        Arm(name="saod-base", label="Base (SAOD hard)", traits=SAOD_TYPE, changes=HARD),
        Arm(
            name="saod-comining",
            label="Co-mining (SAOD hard)",
            traits=SAOD_TYPE,
            changes=HARD | {"method": CoMining()},
            published=percent(19.4, 31.6, 26.8, 16.7, columns=COLUMNS),
        ),
        Arm(name="base", label="Base (SIOD)", traits=SIOD_TYPE),
        Arm(
            name="comining",
            label="Co-mining (SIOD)",
            traits=SIOD_TYPE,
            changes={"method": CoMining()},
            published=percent(23.6, 32.4, 28.5, 23.6, columns=COLUMNS),
        ),
    ),
    baseline="base",
    factors=("annotations", "method"),
    columns=COLUMNS,
    seeds=(0, 1, 2),
)
