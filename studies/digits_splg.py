"""Table 4 in small: how much SPLG's threshold and scale matter on keep-1 digits.

Command: siod study run digits_splg
Cost: 15 trials of about 4 minutes on one core, of which digits_modules has trained 3.
Three of the paper's five values of each setting.
Measured 2026-11-23 on two cores of an AMD EPYC server, seeds 0 to 2, AP@S in percent, mean ± standard deviation:
the paper's 0.6 and 1.0 25.8 ± 0.7; min_similarity 0.5 26.1 ± 0.5, 0.7 25.7 ± 1.1; scale 0.8 25.5 ± 0.5, 1.2 0.2 ± 0.1.
The threshold hardly matters and a scale above one destroys the scores, as in the paper's Table 4.
"""

from __future__ import annotations

from siod.training.presets import DIGITS_DMINER, digits_centernet
from siod.tuning.arms import sweep
from siod.tuning.study import Arm, Study

STUDY = Study(
    name="digits_splg",
    question="How much do SPLG's threshold and scale matter on keep-1 digits?",
    base=digits_centernet().with_changes({"dminer": DIGITS_DMINER.with_changes({"pgcl": None})}),
    arms=(
        Arm(name="paper", label="min_similarity 0.6, scale 1.0"),
        *sweep("dminer.splg.min_similarity", (0.5, 0.7)),
        *sweep("dminer.splg.scale", (0.8, 1.2)),
    ),
    baseline="paper",
    factors=("dminer.splg.min_similarity", "dminer.splg.scale"),
    seeds=(0, 1, 2),
)
