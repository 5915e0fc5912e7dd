"""Table 3 on photographs of an aquarium: which parts of DMiner help, by category, and how much of the gap they close.

Command: SIOD_AQUARIUM=FOLDER siod study run aquarium_modules
Data: Roboflow's Aquarium Combined, version 2 (CC BY 4.0), exported as YOLO, by siod data import EXPORT --out FOLDER.
Cost: 15 trials and 3 teachers of 30 epochs, a quarter of an hour of a core each, twice that with a teacher; not run
yet. With 12 epochs and all boxes AP@S is 1.4 (seed 0, 2026-11-27, a core of an Intel Xeon server): docs/findings.md.
"""

from __future__ import annotations

from siod.data.source import CocoFolder
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
        recipe=PHOTOGRAPHS_SHORT_RECIPE.with_changes({"epochs": 30}),
        every_epochs=10,
    ),
    arms=module_arms(PHOTOGRAPHS_DMINER, PHOTOGRAPHS_TEACHER_STUDENT),
    baseline="base",
    factors=("annotations", "method", "dminer"),
    seeds=(0, 1, 2),
)
