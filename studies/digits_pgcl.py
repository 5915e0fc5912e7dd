"""Table 5 in small: how much PGCL's number of positions, temperature and weight matter on keep-1 digits.

Command: siod study run digits_pgcl
Cost: 21 trials of about 4 minutes on one core, of which digits_modules has trained 3.
A value below and one above the small detector's own, of each setting.
Measured 2026-11-23 on two cores of an AMD EPYC server busy with other work, seeds 0 to 2, AP@S in percent, mean ±
standard deviation: the preset 18.5 ± 0.2; top_m 8 18.5 ± 0.4, 32 18.7 ± 0.5; temperature 0.04 16.0 ± 3.5, 0.13
18.8 ± 0.6; weight 0.05 19.1 ± 0.2, 0.25 17.1 ± 1.4. The base without PGCL has 18.6 ± 0.2.
The number of positions does not matter, a low temperature and a high weight harm, none lifts PGCL alone above the base
by more than half a point.
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
