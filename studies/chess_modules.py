"""Table 3 on chess boards: which parts of DMiner help, by category, and how much of the gap they close.

Command: SIOD_CHESS=FOLDER siod study run chess_modules
Data: Roboflow's Chess Pieces, version 23 (CC0), exported as COCO, by siod data import EXPORT --out FOLDER.
Cost: 15 trials and 3 teachers; two to three minutes of a core each, twice that with a teacher.
Measured 2026-11-27 on two cores of an AMD EPYC server, seeds 0 to 2, AP@S in percent, mean ± standard deviation:
FSOD 27.3 ± 1.5, base 24.8 ± 1.3, DMiner 23.8 ± 1.1; the other arms were not run. Half of the boxes are kept, and DMiner
does not help: SPLG is right at one position in twenty. docs/findings.md has the table by category.
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
    name="chess_modules",
    question="Is one box per category enough for chess pieces, and which parts of DMiner close the gap?",
    base=photographs_centernet(CocoFolder(root=photographs_root("chess"), longest_px=224), size_px=224).with_changes(
        {
            "augmentation.input_size": (160, 224),  # the images' proportions
            "evaluation.input_size": (160, 224),
            "evaluation.every_epochs": 5,
            "recipe.epochs": 10,
            "recipe.batch_size": 4,
            "recipe.learning_rate": 2e-3,
        }
    ),
    arms=module_arms(DMiner(splg=SPLG(), pgcl=PGCL(top_m=28)), TeacherStudent(pseudo=PseudoBoxes(min_score=0.4))),
    baseline="base",
    factors=("annotations", "method", "dminer"),
    seeds=(0, 1, 2),
)
