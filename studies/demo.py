"""The ten-minute version: does DMiner move keep-1 training towards full supervision.

Command: make demo
Cost: 6:50 on two cores of an AMD EPYC server (2026-11-23), 80 s of it pretraining; 17 s when all is there.
"""

from __future__ import annotations

from siod.data.annotation_sets import Full
from siod.data.digits import Digits
from siod.training.presets import DIGITS_DMINER, digits_centernet
from siod.tuning.study import Arm, Study

STUDY = Study(
    name="demo",
    question="Does DMiner move a detector trained on one box per category towards full supervision?",
    base=digits_centernet().with_changes({"data": Digits(train_images=2400, val_images=200), "recipe.epochs": 5}),
    arms=(
        Arm(name="fsod", label="FSOD", changes={"annotations": Full()}),
        Arm(name="base", label="SIOD (base)"),
        Arm(name="dminer", label="SIOD (DMiner)", changes={"dminer": DIGITS_DMINER}),
    ),
    baseline="base",
    seeds=(0,),
)
