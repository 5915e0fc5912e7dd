"""An open search: SPLG's and PGCL's settings and the learning rate together, on CenterNet-Res18 and COCO2017.

Command: SIOD_COCO=/data/coco siod study run dminer_search
Cost: siod study plan dminer_search --measure; not run by us for want of GPUs and of COCO. digits_search is its twin
and has been run: there the learning rate matters most (57% of the variance), then min_similarity and temperature.
ASHA ends a trial from its tenth epoch on when two thirds of the others were better by then.
"""

from __future__ import annotations

from siod.training.presets import PAPER_DMINER, coco_centernet_r18, coco_root
from siod.tuning.space import Float, Int, Search
from siod.tuning.study import Arm, Study

STUDY = Study(
    name="dminer_search",
    question="Which settings of DMiner are best on COCO?",
    base=coco_centernet_r18(coco_root()).with_changes({"dminer": PAPER_DMINER}),
    arms=(Arm(name="dminer", label="SIOD (DMiner)"),),
    baseline="dminer",
    space={
        "recipe.learning_rate": Float(low=1e-4, high=2e-3, log=True),
        "dminer.splg.min_similarity": Float(low=0.4, high=0.8),
        "dminer.splg.scale": Float(low=0.7, high=1.0),
        "dminer.pgcl.top_m": Int(low=32, high=256, log=True),
        "dminer.pgcl.temperature": Float(low=0.03, high=0.3, log=True),
        "dminer.pgcl.weight": Float(low=0.02, high=0.5, log=True),
    },
    search=Search(trials=40, sampler="tpe", pruner="asha", grace_epochs=10),
    seeds=(0, 1, 2),
)
