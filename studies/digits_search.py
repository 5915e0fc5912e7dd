"""Whether DMiner still beats the base on keep-1 digits when both are tuned with the same budget.

Command: siod study run digits_search
Cost: 12 trials of a search for each arm, at most 4 minutes of one core each and half of them pruned, then 6 trials of
4 minutes.
Measured 2026-11-23 on two cores of an AMD EPYC server busy with other work, seeds 0 to 2, AP@S in percent, mean ±
standard deviation: base 18.8 ± 0.1 at its best learning rate of 12 trials (0.0023), DMiner 27.3 ± 0.2 at its best
(learning rate 0.0055, min_similarity 0.58, top_m 15, temperature 0.17, weight 0.053). ASHA pruned 13 of the 24 trials.
Tuning does not close the gap: the base gains nothing over its preset (18.6 ± 0.2), DMiner 0.8 points (26.5 ± 0.2).
"""

from __future__ import annotations

from siod.training.presets import DIGITS_DMINER, digits_centernet
from siod.tuning.space import Float, Int, Search
from siod.tuning.study import Arm, Study

STUDY = Study(
    name="digits_search",
    question="Does DMiner beat the base on keep-1 digits when both are at their best?",
    base=digits_centernet(),
    arms=(
        Arm(name="base", label="SIOD (base)"),
        Arm(name="dminer", label="SIOD (DMiner)", changes={"dminer": DIGITS_DMINER}),
    ),
    baseline="base",
    factors=("dminer",),
    space={
        "recipe.learning_rate": Float(low=5e-4, high=8e-3, log=True),
        "dminer.splg.min_similarity": Float(low=0.4, high=0.8),
        "dminer.pgcl.top_m": Int(low=4, high=48, log=True),
        "dminer.pgcl.temperature": Float(low=0.03, high=0.3, log=True),
        "dminer.pgcl.weight": Float(low=0.01, high=0.5, log=True),
    },
    search=Search(trials=12, sampler="tpe", pruner="asha", grace_epochs=2, own_first=False),
    seeds=(0, 1, 2),
)
