"""Table 3 on photographs of an aquarium: which parts of DMiner help, by category, and how much of the gap they close.

Command: SIOD_AQUARIUM=FOLDER siod study run aquarium_modules
Data: Roboflow's Aquarium Combined, version 2 (CC BY 4.0), exported as YOLO, by siod data import EXPORT --out FOLDER.
Cost: 15 trials and 3 teachers of 18 epochs; 14 minutes of a free core of an AMD EPYC server each, twice that with a
teacher.
Measured with seed 0 and three arms (2026-11-28, commit 7fbd913, two busy cores of an AMD EPYC server, 35 minutes), AP@S
in percent: FSOD 5.6, base 1.0, DMiner 0.8. docs/findings.md has more; nobody has run all of it yet.
"""

from __future__ import annotations

from siod.data.source import CocoFolder
from siod.detectors.zoo import FCOS_LITE0
from siod.training.presets import (
    PHOTOGRAPHS_DMINER,
    PHOTOGRAPHS_SHORT_RECIPE,
    PHOTOGRAPHS_TEACHER_STUDENT,
    photographs_centernet,
    photographs_root,
)
from siod.tuning.arms import module_arms
from siod.tuning.study import Study

STUDY = Study(
    name="aquarium_modules",
    question="Is one box per category enough for animals under water, and which parts of DMiner close the gap?",
    base=photographs_centernet(
        CocoFolder(root=photographs_root("aquarium"), longest_px=224),
        input_size=(224, 224),
        recipe=PHOTOGRAPHS_SHORT_RECIPE.with_changes({"epochs": 18}),
        every_epochs=6,
    ).with_changes({"detector": FCOS_LITE0}),
    arms=module_arms(PHOTOGRAPHS_DMINER, PHOTOGRAPHS_TEACHER_STUDENT),
    baseline="base",
    factors=("annotations", "method", "dminer"),
    seeds=(0, 1, 2),
)
