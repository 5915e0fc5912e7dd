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
    name="cells_modules",
    question="Is one box per category enough for blood cells, and which parts of DMiner close the gap?",
    base=photographs_centernet(
        CocoFolder(root=photographs_root("cells"), longest_px=192),
        input_size=(160, 192),
        recipe=PHOTOGRAPHS_SHORT_RECIPE,
        every_epochs=4,
    ),
    arms=module_arms(PHOTOGRAPHS_DMINER.with_changes({"pgcl.top_m": 24}), PHOTOGRAPHS_TEACHER_STUDENT),
    baseline="base",
    factors=("annotations", "method", "dminer"),
    seeds=(0, 1, 2),
)
