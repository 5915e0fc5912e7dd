"""RT-DETR and D-FINE with full supervision, SIOD base, DMiner and reject on COCO2017, at their full recipes.

Command: SIOD_COCO=/data/coco siod study run table_modern
Cost: siod study plan table_modern --measure; not run by us for want of GPUs and of COCO. Needs siod[transformers].
digits_modern is its twin and has been run. Recipes are those of the official code, without its average of the weights
and with our augmentation; neither paper knows single-instance annotation, so there are no published rows.
"""

from __future__ import annotations

from siod.dminer.dminer import DMiner
from siod.dminer.reject import Reject
from siod.training.presets import PAPER_FPN_DMINER, coco_d_fine_r50, coco_root, coco_rt_detr_r50
from siod.tuning.arms import table1_rows
from siod.tuning.study import Study

ROOT = coco_root()
BASE = coco_rt_detr_r50(ROOT)
MINING = {"dminer": PAPER_FPN_DMINER}
REJECT = {"dminer": DMiner(splg=None, pgcl=None, reject=Reject())}

STUDY = Study(
    name="table_modern",
    question="Does DMiner help detectors that decode queries, on COCO?",
    base=BASE,
    arms=(
        *table1_rows(BASE, BASE, name="rt_detr_r50", group="RT-DETR-Res50", mining=MINING, rejecting=REJECT),
        *table1_rows(
            BASE, coco_d_fine_r50(ROOT), name="d_fine_r50", group="D-FINE-Res50", mining=MINING, rejecting=REJECT
        ),
    ),
    baseline="rt_detr_r50-base",
    baselines={"D-FINE-Res50": "d_fine_r50-base"},
    factors=("annotations", "dminer"),
    seeds=(0, 1, 2),
)
