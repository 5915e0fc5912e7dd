"""What leaving PGCL's selected positions out of the negative loss does, with and without the contrastive loss.

The authors' code masks these positions where it trains PGCL without SPLG; the paper does not mention it.

Command: siod study run digits_mask
"""

from __future__ import annotations

from siod.dminer.dminer import Staged
from siod.training.presets import DIGITS_DMINER, digits_centernet
from siod.tuning.study import Arm, Study

MASKED = DIGITS_DMINER.with_changes({"pgcl.mask_selected": True})

STUDY = Study(
    name="digits_mask",
    question="Is it PGCL's contrastive loss that helps, or that its selected positions are no negatives any more?",
    base=digits_centernet(),
    arms=(
        Arm(name="base", label="SIOD (base)"),
        Arm(name="pgcl", label="SIOD + PGCL", changes={"dminer": DIGITS_DMINER.with_changes({"splg": None})}),
        Arm(name="pgcl_masked", label="SIOD + PGCL, masked", changes={"dminer": MASKED.with_changes({"splg": None})}),
        Arm(
            name="mask_only",
            label="mask without contrast",
            changes={"dminer": MASKED.with_changes({"splg": None, "pgcl.weight": 1e-9})},
            note="the contrastive loss weighs 1e-9",
        ),
        Arm(name="dminer", label="SIOD (DMiner)", changes={"dminer": DIGITS_DMINER}),
        Arm(name="dminer_masked", label="SIOD (DMiner), masked", changes={"dminer": MASKED}),
        Arm(
            name="staged",
            label="masked PGCL, then SPLG",
            changes={"dminer": MASKED.with_changes({"staged": Staged(second_epochs=3)})},
            note="as the authors' published model; nine epochs instead of six",
        ),
    ),
    baseline="base",
    factors=("dminer",),
    seeds=(0, 1, 2),
)
