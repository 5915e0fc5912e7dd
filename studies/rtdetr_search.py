"""A search over what people tune of an RT-DETR: rates, queries, noisy copies and the focal loss, on keep-1 digits.

Command: siod study run rtdetr_search
Cost: 30 trials of 4 to 6 minutes of a core (750 steps of 0.29 to 0.50 s, by queries and copies; 2026-11-28, one thread
of an AMD EPYC under a load of 8); siod study plan rtdetr_search --measure tells yours. On a data set of one's own: siod
study run rtdetr_search --set data=... (docs/detectors.md has ranges for COCO's recipe).
Median pruning ends a trial after its first epoch where half of the others were better by then.
"""

from __future__ import annotations

from siod.training.presets import digits_rt_detr
from siod.tuning.space import Float, Int, Search
from siod.tuning.study import Arm, Study

STUDY = Study(
    name="rtdetr_search",
    question="Which settings of an RT-DETR are best on keep-1 digits?",
    base=digits_rt_detr(),
    arms=(Arm(name="rt_detr", label="SIOD (base)"),),
    baseline="rt_detr",
    space={
        "recipe.learning_rate": Float(low=5e-4, high=1e-2, log=True),
        "recipe.backbone_factor": Float(low=0.1, high=1.0, log=True),
        "detector.queries": Int(low=30, high=150, log=True),
        "detector.denoising": Int(low=0, high=60),
        "detector.focal_alpha": Float(low=0.25, high=0.9),
    },
    search=Search(trials=30, sampler="tpe", pruner="median", grace_epochs=1),
    seeds=(0,),
)
