"""Table 3 on blood cells: which parts of DMiner help, by category, and how much of the gap they close.

Command: SIOD_CELLS=FOLDER siod study run cells_modules
Data: the 364 images of github.com/Shenggan/BCCD_Dataset (MIT), by siod data import BCCD_Dataset --out FOLDER.
Cost: 15 trials and 3 teachers, 45 minutes two at a time on two busy cores; two to three minutes of a core each, twice
that with a teacher.
Measured 2026-11-27 on two cores of an AMD EPYC server, seeds 0 to 2, AP@S in percent, mean ± standard deviation:
FSOD 32.1 ± 0.8, base 23.0 ± 0.7, +SPLG 25.5 ± 0.7, DMiner 26.0 ± 1.4, teacher-student (untuned) 25.7 ± 1.1.
One box is nearly enough for white cells and not for red ones, where DMiner gains 6.3; docs/findings.md has the rest.
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
    name="cells_modules",
    question="Is one box per category enough for blood cells, and which parts of DMiner close the gap?",
    base=photographs_centernet(CocoFolder(root=photographs_root("cells"), longest_px=192), size_px=192).with_changes(
        {
            "augmentation.input_size": (160, 192),  # the images' proportions
            "evaluation.input_size": (160, 192),
            "evaluation.every_epochs": 4,
            "recipe.epochs": 8,
            "recipe.batch_size": 4,
            "recipe.learning_rate": 2e-3,
        }
    ),
    arms=module_arms(DMiner(splg=SPLG(), pgcl=PGCL(top_m=24)), TeacherStudent(pseudo=PseudoBoxes(min_score=0.4))),
    baseline="base",
    factors=("annotations", "method", "dminer"),
    seeds=(0, 1, 2),
)
