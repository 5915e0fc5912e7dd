"""Table 2: methods of semi-supervised and sparsely annotated detection beside DMiner, with as many boxes, on COCO2017.

Command: SIOD_COCO=/data/coco siod study run table2_methods
Cost: siod study plan table2_methods --measure; not run by us for want of GPUs and of COCO.
The paper's figures stand below ours in the report. It does not print its thresholds: Co-mining has its official one;
the teacher's of 0.9 is meant for a Faster R-CNN, a CenterNet's scores rarely reach it, so those of all teachers are
0.4 here. The last three rows are not in the paper.

Source: Li et al., SIOD, CVPR 2022, Table 2.
"""

from __future__ import annotations

from siod.data.annotation_sets import Matched, WholeImages
from siod.methods.annotated import AnnotatedOnly
from siod.methods.co_student import CoStudent
from siod.methods.comining import CoMining
from siod.methods.csd import CSD
from siod.methods.mean_teacher import MeanTeacher
from siod.methods.pseudo import PseudoBoxes
from siod.methods.teacher_student import TeacherStudent
from siod.training.presets import PAPER_DMINER, coco_centernet_r18, coco_root
from siod.tuning.arms import percent
from siod.tuning.study import Arm, Study

COLUMNS = ("ap_s", "ap_s0", "ap_s3", "ap_s5")
SSOD, SAOD = {"annotations": WholeImages()}, {"annotations": Matched()}
# Not in the paper: an average of the student's weights labels for it, from the second epoch on; in Co-Student two views
# label for each other beside it.
MEAN_TEACHER = MeanTeacher(pseudo=PseudoBoxes(min_score=0.4), start_epoch=1)
CO_STUDENT = CoStudent(pseudo=PseudoBoxes(min_score=0.4), student=PseudoBoxes(min_score=0.4), start_epoch=1)
SSOD_TYPE = {"Type": "SSOD"}
SAOD_TYPE = {"Type": "SAOD"}
SIOD_TYPE = {"Type": "SIOD"}

STUDY = Study(
    name="table2_methods",
    question="How do semi-supervised and sparse methods compare with DMiner for the same number of boxes?",
    base=coco_centernet_r18(coco_root()),
    arms=(
        Arm(
            name="ssod-base",
            label="Base (SSOD)",
            traits=SSOD_TYPE,
            changes=SSOD | {"method": AnnotatedOnly()},
            published=percent(14.4, 23.4, 19.5, 14.3, columns=COLUMNS),
        ),
        Arm(
            name="saod-base",
            label="Base (SAOD)",
            traits=SAOD_TYPE,
            changes=SAOD,
            published=percent(14.0, 25.0, 18.6, 12.7, columns=COLUMNS),
        ),
        Arm(
            name="base",
            label="Base (SIOD)",
            traits=SIOD_TYPE,
            published=percent(13.9, 25.1, 18.5, 12.3, columns=COLUMNS),
        ),
        Arm(
            name="csd",
            label="CSD (SSOD)",
            traits=SSOD_TYPE,
            changes=SSOD | {"method": CSD()},
            published=percent(15.1, 24.0, 20.3, 15.1, columns=COLUMNS),
        ),
        Arm(
            name="teacher_student",
            label="TS (SSOD)",
            traits=SSOD_TYPE,
            changes=SSOD | {"method": TeacherStudent(pseudo=PseudoBoxes(min_score=0.4))},
            published=percent(15.8, 25.2, 21.4, 15.8, columns=COLUMNS),
        ),
        Arm(
            name="comining",
            label="Co-mining (SAOD)",
            traits=SAOD_TYPE,
            changes=SAOD | {"method": CoMining()},
            published=percent(14.8, 25.0, 18.9, 13.9, columns=COLUMNS),
        ),
        Arm(
            name="dminer",
            label="DMiner (SIOD)",
            traits=SIOD_TYPE,
            changes={"dminer": PAPER_DMINER},
            published=percent(16.8, 26.6, 22.4, 17.1, columns=COLUMNS),
        ),
        Arm(name="co_student", label="Co-Student (SIOD)", traits=SIOD_TYPE, changes={"method": CO_STUDENT}),
        Arm(name="mean_teacher", label="Mean teacher (SIOD)", traits=SIOD_TYPE, changes={"method": MEAN_TEACHER}),
        Arm(
            name="dminer-mean_teacher",
            label="DMiner + mean teacher (SIOD)",
            traits=SIOD_TYPE,
            changes={"dminer": PAPER_DMINER, "method": MEAN_TEACHER},
        ),
    ),
    baseline="base",
    factors=("annotations", "method", "dminer"),
    columns=COLUMNS,
    seeds=(0, 1, 2),
)
