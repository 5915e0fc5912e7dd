"""How many false pseudo boxes are too many: the estimated false-discovery rate that a teacher's boxes are cut at.

Command: siod study run digits_fdr
Cost: 18 trials of six epochs under three teachers, 5 to 10 minutes of one core each, an hour and a half of two.
Not run yet. The teacher is a DMiner; the last arm has a fixed threshold with all categories, as published.
"""

from __future__ import annotations

from siod.methods.pseudo import PseudoBoxes
from siod.methods.teacher_student import TeacherStudent
from siod.training.presets import DIGITS_DMINER, digits_centernet
from siod.tuning.study import Arm, Study

TEACHER = {"dminer": DIGITS_DMINER}
RATES = (0.05, 0.1, 0.2, 0.3)


def taught(pseudo: PseudoBoxes) -> TeacherStudent:
    """A student of a DMiner that labels with these boxes."""
    return TeacherStudent(pseudo=pseudo, teacher=TEACHER)


STUDY = Study(
    name="digits_fdr",
    question="Does a student depend on the share of false pseudo boxes that its teacher is allowed?",
    base=digits_centernet().with_changes({"method": taught(PseudoBoxes(min_score=0.3, clean=True))}),
    arms=(
        Arm(name="clean", label="score 0.3, annotated categories"),
        *(
            Arm(
                name=f"fdr-{rate:g}",
                label=f"FDR {rate:g}",
                changes={"method": taught(PseudoBoxes(min_score=0.05, clean=True, max_fdr=rate))},
            )
            for rate in RATES
        ),
        Arm(name="all", label="score 0.3, all categories", changes={"method": taught(PseudoBoxes(min_score=0.3))}),
    ),
    baseline="clean",
    factors=("method",),
    seeds=(0, 1, 2),
)
