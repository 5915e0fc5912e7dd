"""Table 3 in small: which parts of DMiner help, and how much of the gap to full supervision they close.

Command: siod study run digits_modules
Cost: 25 trials of about 4 minutes on one core, 55 minutes on two, and 2 minutes of pretraining.
Measured 2026-11-23 on two cores of an AMD EPYC server, seeds 0 to 4, AP@S in percent, mean ± standard deviation:
FSOD 37.8 ± 0.6, base 18.9 ± 0.5, +SPLG 26.1 ± 0.7, +PGCL 18.5 ± 0.2, DMiner 26.4 ± 0.4.
FSOD > DMiner > base with every seed; DMiner over base 7.5 ± 0.8, over SPLG alone 0.3 ± 0.8 (paired by seed).
What was found beyond the order stands in docs/findings.md.
"""

from __future__ import annotations

from siod.data.annotation_sets import Full
from siod.training.presets import DIGITS_DMINER, digits_centernet
from siod.tuning.study import Arm, Study

STUDY = Study(
    name="digits_modules",
    question="Which parts of DMiner help on keep-1 digits, and how much of the gap to full supervision do they close?",
    base=digits_centernet(),
    arms=(
        Arm(name="fsod", label="FSOD", changes={"annotations": Full()}),
        Arm(name="base", label="SIOD (base)"),
        Arm(
            name="splg",
            label="SIOD + SPLG",
            changes={"dminer": DIGITS_DMINER.with_changes({"pgcl": None})},
            modules=("SPLG",),
        ),
        Arm(
            name="pgcl",
            label="SIOD + PGCL",
            changes={"dminer": DIGITS_DMINER.with_changes({"splg": None})},
            modules=("PGCL",),
        ),
        Arm(name="dminer", label="SIOD (DMiner)", changes={"dminer": DIGITS_DMINER}, modules=("SPLG", "PGCL")),
    ),
    baseline="base",
    seeds=(0, 1, 2, 3, 4),
)
