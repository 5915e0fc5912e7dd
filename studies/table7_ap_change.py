"""Table 7: what plain COCO AP loses from full supervision to single-instance annotation, on COCO2017.

Command: SIOD_COCO=/data/coco siod study run table7_ap_change
Cost: siod study plan table7_ap_change --measure; not run by us for want of GPUs and of COCO.
The paper's figures stand below ours in the report. Trials that table1_detectors has trained are not trained again.

Source: Li et al., SIOD, CVPR 2022, Table 7.
"""

from __future__ import annotations

from siod.training.presets import coco_centernet_r18, coco_centernet_r101, coco_root
from siod.tuning.arms import table1_rows
from siod.tuning.study import Study

ROOT = coco_root()
BASE = coco_centernet_r18(ROOT)
R18 = table1_rows(
    BASE,
    BASE,
    name="centernet_r18",
    group="CenterNet-Res18",
    mining={},
    published={"fsod": {"ap_s0": 0.281}, "base": {"ap_s0": 0.251}},
)
R101 = table1_rows(
    BASE,
    coco_centernet_r101(ROOT),
    name="centernet_r101",
    group="CenterNet-Res101",
    mining={},
    published={"fsod": {"ap_s0": 0.342}, "base": {"ap_s0": 0.278}},
)

STUDY = Study(
    name="table7_ap_change",
    question="How much of plain AP is lost with one box per category and image?",
    base=BASE,
    # Without the rows of DMiner.
    arms=(*R18[:2], *R101[:2]),
    baseline="centernet_r18-fsod",
    baselines={"CenterNet-Res101": "centernet_r101-fsod"},
    objective="ap_s0",
    columns=("ap_s0", "ap_s", "ap50_s0", "ap75_s0"),
    seeds=(0, 1, 2),
)
