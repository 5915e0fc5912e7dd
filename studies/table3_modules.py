"""Table 3: SPLG and PGCL, alone and together, on CenterNet-Res18 and -Res101 and COCO2017.

Command: SIOD_COCO=/data/coco siod study run table3_modules
Cost: siod study plan table3_modules --measure; not run by us for want of GPUs and of COCO.
The paper's figures stand below ours in the report. Trials that table1_detectors has trained are not trained again.

Source: Li et al., SIOD, CVPR 2022, Table 3.
"""

from __future__ import annotations

from siod.training.presets import PAPER_DMINER, coco_centernet_r18, coco_centernet_r101, coco_root
from siod.tuning.arms import percent
from siod.tuning.study import Arm, Study

COLUMNS = ("ap_s", "ap_s0", "ap_s3", "ap_s5")
MINERS = {
    "base": ("SIOD (base)", None),
    "splg": ("SIOD + SPLG", PAPER_DMINER.with_changes({"pgcl": None})),
    "pgcl": ("SIOD + PGCL", PAPER_DMINER.with_changes({"splg": None})),
    "dminer": ("SIOD (DMiner)", PAPER_DMINER),
}
MODULES = {"base": (), "splg": ("SPLG",), "pgcl": ("PGCL",), "dminer": ("SPLG", "PGCL")}
PUBLISHED = {
    "centernet_r18": {
        "base": (13.9, 25.1, 18.5, 12.3),
        "splg": (15.8, 26.4, 21.5, 15.7),
        "pgcl": (16.2, 25.8, 22.3, 16.6),
        "dminer": (16.8, 26.6, 22.4, 17.1),
    },
    "centernet_r101": {
        "base": (15.1, 27.8, 20.9, 13.3),
        "splg": (18.5, 30.0, 25.2, 18.6),
        "pgcl": (18.9, 29.2, 25.8, 20.1),
        "dminer": (19.7, 29.8, 26.0, 20.5),
    },
}
BASE, LARGE = coco_centernet_r18(coco_root()), coco_centernet_r101(coco_root())
DETECTORS = {
    "centernet_r18": ("CenterNet-Res18", {}),
    "centernet_r101": ("CenterNet-Res101", {"detector": LARGE.detector, "recipe": LARGE.recipe}),
}

STUDY = Study(
    name="table3_modules",
    question="Which parts of DMiner help?",
    base=BASE,
    arms=tuple(
        Arm(
            name=f"{detector}-{miners}",
            label=label,
            group=group,
            changes={**changes, "dminer": dminer},
            published=percent(*PUBLISHED[detector][miners], columns=COLUMNS),
            modules=MODULES[miners],
        )
        for detector, (group, changes) in DETECTORS.items()
        for miners, (label, dminer) in MINERS.items()
    ),
    baseline="centernet_r18-base",
    baselines={"CenterNet-Res101": "centernet_r101-base"},
    factors=("dminer",),
    columns=COLUMNS,
    seeds=(0, 1, 2),
)
