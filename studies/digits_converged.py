"""At convergence: what do mining and teaching give where nobody gains any more?

Command: siod study run digits_converged
Cost: 6 trials of a search for each of the 9 arms, then 47 trials and the teachers of 3, of 18 epochs; about 15 minutes
of one core a trial, twice that under a teacher: a day of two cores in all.
Not run yet. Six epochs leave every arm undertrained (docs/findings.md); full supervision levels off after fifteen.
The comparisons that are tested were named before: DMiner over base, reject over base, the best over DMiner. Six seeds
cannot show three of them at 5% after correction, eight can; the other arms have three and are described.
"""

from __future__ import annotations

from siod.data.annotation_sets import Full
from siod.dminer.dminer import DMiner
from siod.dminer.reject import Reject
from siod.methods.pseudo import PseudoBoxes
from siod.methods.teacher_student import TeacherStudent
from siod.training.presets import DIGITS_DMINER, digits_centernet
from siod.tuning.space import Float, Search
from siod.tuning.study import Arm, Study

EPOCHS = 18
REJECT = DMiner(splg=None, pgcl=None, reject=Reject())
DMINER_REJECT = DIGITS_DMINER.with_changes({"reject": Reject()})
# Thresholds from decoys; the floor keeps what is next to nothing out of the estimate.
BY_DECOYS = PseudoBoxes(min_score=0.05, clean=True, max_fdr=0.2)
# As published but for the threshold, which digits_methods found for this detector's scores: the teacher is the base.
PUBLISHED = TeacherStudent(pseudo=PseudoBoxes(min_score=0.27))
PROGRESSIVE = TeacherStudent(pseudo=BY_DECOYS, teacher={"dminer": DIGITS_DMINER})

STUDY = Study(
    name="digits_converged",
    question="What closes the gap to full supervision on keep-1 digits when training goes on until nobody gains?",
    base=digits_centernet().with_changes({"recipe.epochs": EPOCHS}),
    arms=(
        Arm(name="fsod", label="FSOD", changes={"annotations": Full()}, seeds=3),
        Arm(name="base", label="SIOD (base)"),
        Arm(name="splg", label="SPLG", changes={"dminer": DIGITS_DMINER.with_changes({"pgcl": None})}, seeds=3),
        Arm(name="dminer", label="DMiner", changes={"dminer": DIGITS_DMINER}),
        Arm(name="reject", label="Reject", changes={"dminer": REJECT}),
        Arm(name="dminer-reject", label="DMiner + reject", changes={"dminer": DMINER_REJECT}, seeds=3),
        Arm(name="teacher_student", label="Teacher-student, published", changes={"method": PUBLISHED}, seeds=3),
        Arm(name="progressive", label="Teacher DMiner, decoys", changes={"method": PROGRESSIVE}, seeds=3),
        Arm(
            name="best",
            label="Teacher DMiner, decoys, DMiner + reject",
            changes={"dminer": DMINER_REJECT, "method": PROGRESSIVE},
        ),
    ),
    baseline="base",
    primary=(("dminer", "base"), ("reject", "base"), ("best", "dminer")),
    factors=("annotations", "dminer", "method"),
    space={
        "recipe.learning_rate": Float(low=1e-3, high=6e-3, log=True),
        "dminer.splg.min_similarity": Float(low=0.4, high=0.8),
        "dminer.reject.max_share": Float(low=0.003, high=0.03, log=True),
        "method.weight": Float(low=0.3, high=4.0, log=True),
    },
    search=Search(trials=6, pruner="asha", grace_epochs=9),
    seeds=(0, 1, 2, 3, 4, 5, 6, 7),
)
