"""Table 3 on photographs of an aquarium: which parts of DMiner help, by category, and how much of the gap they close.

Command: SIOD_AQUARIUM=FOLDER siod study run aquarium_modules
Data: Roboflow's Aquarium Combined, version 2 (CC BY 4.0), exported as YOLO, by siod data import EXPORT --out FOLDER.
Cost: siod study plan aquarium_modules --measure; not run yet.
"""

from __future__ import annotations

from siod.data.source import CocoFolder
from siod.dminer.dminer import DMiner
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.methods.pseudo import PseudoBoxes
from siod.methods.teacher_student import TeacherStudent
from siod.training.presets import photographs_centernet, photographs_root
from siod.tuning.arms import module_arms
from siod.tuning.study import Study

STUDY = Study(
    name="aquarium_modules",
    question="Is one box per category enough for animals under water, and which parts of DMiner close the gap?",
    base=photographs_centernet(CocoFolder(root=photographs_root("aquarium"), longest_px=224), size_px=224).with_changes(
        {
            "augmentation.input_size": (224, 224),
            "evaluation.input_size": (224, 224),
            "evaluation.every_epochs": 2,
            "recipe.epochs": 4,
            "recipe.batch_size": 4,
            "recipe.learning_rate": 2e-3,
        }
    ),
    arms=module_arms(DMiner(splg=SPLG(), pgcl=PGCL(top_m=28)), TeacherStudent(pseudo=PseudoBoxes(min_score=0.4))),
    baseline="base",
    factors=("annotations", "method", "dminer"),
    seeds=(0, 1, 2),
)
