"""Table 1 in small: full supervision, SIOD base and DMiner on every family of detectors, and reject on three of them.

Command: siod study run digits_detectors
Cost: 120 trials, of which digits_modules has trained 15; the others take 2 to 5 minutes of one core each.
Measured 2026-11-23 on two cores of an AMD EPYC server busy with other work, seeds 0 to 2, AP@S in percent, mean ±
standard deviation, for full supervision, base and DMiner: CenterNet 37.8 ± 0.7, 18.6 ± 0.2, 26.5 ± 0.2;
Faster R-CNN 58.1 ± 0.5, 46.5 ± 0.3, 45.9 ± 0.8; FCOS 47.8 ± 0.1, 31.1 ± 0.1, 34.6 ± 3.2;
RetinaNet 65.0 ± 0.4, 30.3 ± 0.1, 47.7 ± 0.4.
The last three had their references half a stride off then. Base and DMiner again 2026-11-28, on two busy cores of an
Intel Xeon server, seeds 0 to 7: Faster R-CNN 46.0 ± 2.1, 44.5 ± 0.7; FCOS 31.2 ± 0.6, 34.5 ± 1.3; RetinaNet
30.5 ± 0.5, 48.0 ± 0.6. DMiner helps RetinaNet and FCOS with every seed, and harms Faster R-CNN with seven
of eight. Reject, a third miner: Faster R-CNN 50.0 ± 0.7, FCOS 35.1 ± 0.7, RetinaNet 41.7 ± 0.7, ahead of base with
every seed (p = 0.047 after correction over six). What was tried beside stands in docs/findings.md.
"""

from __future__ import annotations

from siod.detectors.zoo import FASTER_RCNN_TINY_MINING
from siod.dminer.dminer import DMiner
from siod.dminer.reject import Reject
from siod.training.presets import (
    DIGITS_DMINER,
    DIGITS_FASTER_RCNN_DMINER,
    DIGITS_FPN_DMINER,
    digits_centernet,
    digits_faster_rcnn,
    digits_fcos,
    digits_retinanet,
)
from siod.tuning.arms import table1_rows
from siod.tuning.study import Study

BASE = digits_centernet()
# Its region head makes it the slowest to train and the first to learn: two epochs instead of the preset's three.
FASTER_RCNN = digits_faster_rcnn().with_changes({"recipe.epochs": 2})
FCOS = digits_fcos()
RETINANET = digits_retinanet()
# Region proposals have no dense class scores; the miners work on a branch that has them.
BRANCHED = {"detector": FASTER_RCNN_TINY_MINING, "dminer": DIGITS_FASTER_RCNN_DMINER}

# All of reject's share in Faster R-CNN's second epoch: there is no third one.
REJECT = DMiner(splg=None, pgcl=None, reject=Reject(growth=0.005))
REJECT_ON_BRANCH = {
    "detector": FASTER_RCNN_TINY_MINING,
    "dminer": REJECT.with_changes({"reject.max_share": 0.03, "reject.growth": 0.03}),
}

ON_PYRAMID = {"dminer": DIGITS_FPN_DMINER}

STUDY = Study(
    name="digits_detectors",
    question="On which detectors does DMiner help on keep-1 digits?",
    base=BASE,
    arms=(
        *table1_rows(BASE, BASE, name="centernet", group="CenterNet", mining={"dminer": DIGITS_DMINER}),
        *table1_rows(
            BASE,
            FASTER_RCNN,
            name="faster_rcnn",
            group="Faster R-CNN C4",
            mining=BRANCHED,
            rejecting=REJECT_ON_BRANCH,
        ),
        *table1_rows(BASE, FCOS, name="fcos", group="FCOS", mining=ON_PYRAMID, rejecting={"dminer": REJECT}),
        *table1_rows(
            BASE, RETINANET, name="retinanet", group="RetinaNet", mining=ON_PYRAMID, rejecting={"dminer": REJECT}
        ),
    ),
    baseline="centernet-base",
    baselines={"Faster R-CNN C4": "faster_rcnn-base", "FCOS": "fcos-base", "RetinaNet": "retinanet-base"},
    factors=("annotations", "dminer", "detector.mining_branch"),
    seeds=(0, 1, 2, 3, 4, 5, 6, 7),
)
