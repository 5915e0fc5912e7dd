"""Table 3 on chess boards: which parts of DMiner help, by category, and how much of the gap they close.

Command: SIOD_CHESS=FOLDER siod study run chess_modules
Data: Roboflow's Chess Pieces, version 23 (CC0), exported as COCO, by siod data import EXPORT --out FOLDER.
Cost: 15 trials and 3 teachers; two to three minutes of a core each, twice that with a teacher.
Measured 2026-11-27 on two busy cores of an Intel Xeon server (45 minutes), seeds 0 to 2, AP@S in percent, mean ± sample
standard deviation: FSOD 27.7 ± 0.5, base 23.9 ± 1.7, SPLG 23.8 ± 1.1, DMiner 24.9 ± 1.8, teacher and student
21.8 ± 1.6. On an AMD EPYC the same seeds gave FSOD 27.3 ± 1.5, base 24.8 ± 1.3, DMiner 23.8 ± 1.1: a point either way
is within what rounding does. docs/findings.md has the table by category.
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
    name="chess_modules",
    question="Is one box per category enough for chess pieces, and which parts of DMiner close the gap?",
    base=photographs_centernet(
        CocoFolder(root=photographs_root("chess"), longest_px=224),
        input_size=(160, 224),
        recipe=PHOTOGRAPHS_SHORT_RECIPE.with_changes({"epochs": 10}),
        every_epochs=5,
    ),
    arms=module_arms(PHOTOGRAPHS_DMINER, PHOTOGRAPHS_TEACHER_STUDENT),
    baseline="base",
    factors=("annotations", "method", "dminer"),
    seeds=(0, 1, 2),
)
