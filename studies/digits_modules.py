"""Table 3 in small: which parts of DMiner help, and how much of the gap to full supervision they close.

Command: siod study run digits_modules
@@HEADER@@
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
        Arm(name="splg", label="SIOD + SPLG", changes={"dminer": DIGITS_DMINER.with_changes({"pgcl": None})}),
        Arm(name="pgcl", label="SIOD + PGCL", changes={"dminer": DIGITS_DMINER.with_changes({"splg": None})}),
        Arm(name="dminer", label="SIOD (DMiner)", changes={"dminer": DIGITS_DMINER}),
    ),
    baseline="base",
    seeds=(0, 1, 2, 3, 4),
)
