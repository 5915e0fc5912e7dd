"""Detectors that decode queries, RT-DETR and D-FINE, in small: full supervision, SIOD base, DMiner and reject.

Command: siod study run digits_modern
Cost: 27 trials of 5 to 6 minutes of one core each. Needs siod[transformers].
Measured 2026-11-28 on two cores of an AMD EPYC server, seeds 0 to 2, AP@S in percent, mean ± standard deviation,
RT-DETR: FSOD 62.6 ± 0.7, base 35.0 ± 0.6, DMiner 44.1 ± 3.1, reject 44.4 ± 0.5;
D-FINE: FSOD 62.7 ± 0.8, base 36.6 ± 0.5, DMiner 47.9 ± 1.9, reject 46.3 ± 0.4, and FSOD with the library's losses
58.0 ± 0.5. Both miners gain with every seed on both.
"""

from __future__ import annotations

from siod.data.annotation_sets import Full
from siod.dminer.dminer import DMiner
from siod.dminer.reject import Reject
from siod.training.presets import DIGITS_FPN_DMINER, digits_centernet, digits_d_fine, digits_rt_detr
from siod.tuning.arms import table1_rows
from siod.tuning.study import Arm, Study

BASE = digits_centernet()
# All of reject's share in the second epoch: there is no third one.
REJECT = {"dminer": DMiner(splg=None, pgcl=None, reject=Reject(growth=0.01))}
MINING = {"dminer": DIGITS_FPN_DMINER}

STUDY = Study(
    name="digits_modern",
    question="Does DMiner help detectors that decode queries, on keep-1 digits?",
    base=digits_rt_detr(),
    arms=(
        *table1_rows(
            digits_rt_detr(), digits_rt_detr(), name="rt_detr", group="RT-DETR", mining=MINING, rejecting=REJECT
        ),
        *table1_rows(digits_rt_detr(), digits_d_fine(), name="d_fine", group="D-FINE", mining=MINING, rejecting=REJECT),
        Arm(
            name="d_fine-library",
            label="FSOD, the library's losses",
            group="D-FINE",
            changes={
                "detector": digits_d_fine().detector.with_changes({"losses": "library"}),
                "annotations": Full(),
            },
        ),
    ),
    baseline="rt_detr-base",
    baselines={"D-FINE": "d_fine-base"},
    factors=("annotations", "dminer", "detector"),
    seeds=(0, 1, 2),
)
