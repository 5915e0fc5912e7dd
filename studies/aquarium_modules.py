"""Table 3 on photographs of an aquarium: which parts of DMiner help, by category, and how much of the gap they close.

Command: SIOD_AQUARIUM=FOLDER siod study run aquarium_modules
Data: Roboflow's Aquarium Combined, version 2 (CC BY 4.0), exported as YOLO, by siod data import EXPORT --out FOLDER.
Cost: siod study plan aquarium_modules --measure; not run yet.
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
        recipe=PHOTOGRAPHS_SHORT_RECIPE.with_changes({"epochs": 4}),
        every_epochs=2,
    ),
    arms=module_arms(PHOTOGRAPHS_DMINER, PHOTOGRAPHS_TEACHER_STUDENT),
    baseline="base",
    factors=("annotations", "method", "dminer"),
    seeds=(0, 1, 2),
)
