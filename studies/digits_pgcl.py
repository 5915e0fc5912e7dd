"""Table 5 in small: how much PGCL's number of positions, temperature and weight matter on keep-1 digits.

Command: siod study run digits_pgcl
Cost: 21 trials of about 4 minutes on one core, of which digits_modules has trained 3.
A value below and one above the small detector's own, of each setting. Not run yet.
"""

from __future__ import annotations

from siod.training.presets import DIGITS_DMINER, digits_centernet
from siod.tuning.arms import sweep
from siod.tuning.study import Arm, Study

STUDY = Study(
    name="digits_pgcl",
    question="How much do PGCL's number of positions, temperature and weight matter on keep-1 digits?",
    base=digits_centernet().with_changes({"dminer": DIGITS_DMINER.with_changes({"splg": None})}),
    arms=(
        Arm(name="digits", label="top_m 16, temperature 0.07, weight 0.1"),
        *sweep("dminer.pgcl.top_m", (8, 32)),
        *sweep("dminer.pgcl.temperature", (0.04, 0.13)),
        *sweep("dminer.pgcl.weight", (0.05, 0.25)),
    ),
    baseline="digits",
    factors=("dminer.pgcl.top_m", "dminer.pgcl.temperature", "dminer.pgcl.weight"),
    seeds=(0, 1, 2),
)
