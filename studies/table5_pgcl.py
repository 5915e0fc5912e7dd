"""Table 5: PGCL's number of positions, temperature and weight, on CenterNet-Res18 and COCO2017.

Command: SIOD_COCO=/data/coco siod study run table5_pgcl
Cost: siod study plan table5_pgcl --measure; not run by us for want of GPUs and of COCO.
The paper's figures stand below ours in the report. PGCL works alone, as there; one setting moves, the others stay
at the paper's values.

Source: Li et al., SIOD, CVPR 2022, Table 5.
"""

from __future__ import annotations

from siod.training.presets import PAPER_DMINER, coco_centernet_r18, coco_root
from siod.tuning.arms import percent, sweep
from siod.tuning.study import Arm, Study

COLUMNS = ("ap_s", "ap_s0")
TOP_M = {64: (15.8, 25.7), 96: (16.3, 25.7), 160: (16.1, 25.5), 192: (16.0, 25.3)}
TEMPERATURES = {0.01: (0.0, 0.0), 0.04: (16.1, 25.8), 0.1: (16.0, 25.6), 0.13: (15.7, 25.2)}
WEIGHTS = {0.05: (16.1, 25.9), 0.15: (16.2, 25.5), 0.2: (16.2, 25.6), 0.25: (15.9, 25.4)}


def rows(figures: dict[int, tuple[float, float]] | dict[float, tuple[float, float]]) -> list[dict[str, float]]:
    """The published rows of a sweep."""
    return [percent(*row, columns=COLUMNS) for row in figures.values()]


STUDY = Study(
    name="table5_pgcl",
    question="How much do PGCL's number of positions, temperature and weight matter?",
    base=coco_centernet_r18(coco_root()).with_changes({"dminer": PAPER_DMINER.with_changes({"splg": None})}),
    arms=(
        Arm(
            name="paper",
            label="top_m 128, temperature 0.07, weight 0.1",
            published=percent(16.2, 25.8, columns=COLUMNS),
        ),
        *sweep("dminer.pgcl.top_m", TOP_M, published=rows(TOP_M)),
        *sweep("dminer.pgcl.temperature", TEMPERATURES, published=rows(TEMPERATURES)),
        *sweep("dminer.pgcl.weight", WEIGHTS, published=rows(WEIGHTS)),
    ),
    baseline="paper",
    factors=("dminer.pgcl.top_m", "dminer.pgcl.temperature", "dminer.pgcl.weight"),
    columns=COLUMNS,
    seeds=(0, 1, 2),
)
