"""Table 4: SPLG's least similarity and the scale of its labels, on CenterNet-Res18 and COCO2017.

Command: SIOD_COCO=/data/coco siod study run table4_splg
Cost: siod study plan table4_splg --measure; not run by us for want of GPUs and of COCO.
The paper's figures stand below ours in the report. SPLG works alone, as there; one setting moves, the other stays
at the paper's value.

Source: Li et al., SIOD, CVPR 2022, Table 4.
"""

from __future__ import annotations

from siod.training.presets import PAPER_DMINER, coco_centernet_r18, coco_root
from siod.tuning.arms import percent, sweep
from siod.tuning.study import Arm, Study

COLUMNS = ("ap_s", "ap_s0")
SIMILARITIES = {0.5: (16.2, 26.8), 0.55: (16.0, 26.5), 0.65: (15.5, 26.0), 0.7: (15.4, 26.1)}
SCALES = {0.8: (15.4, 26.1), 0.9: (15.8, 26.2), 1.1: (1.6, 4.1), 1.2: (0.0, 0.0)}


def rows(figures: dict[float, tuple[float, float]]) -> list[dict[str, float]]:
    """The published rows of a sweep."""
    return [percent(*row, columns=COLUMNS) for row in figures.values()]


STUDY = Study(
    name="table4_splg",
    question="How much do SPLG's threshold and scale matter?",
    base=coco_centernet_r18(coco_root()).with_changes({"dminer": PAPER_DMINER.with_changes({"pgcl": None})}),
    arms=(
        Arm(
            name="paper",
            label="min_similarity 0.6, scale 1.0",
            published=percent(15.8, 26.4, columns=COLUMNS),
        ),
        *sweep("dminer.splg.min_similarity", SIMILARITIES, published=rows(SIMILARITIES)),
        *sweep("dminer.splg.scale", SCALES, published=rows(SCALES)),
    ),
    baseline="paper",
    factors=("dminer.splg.min_similarity", "dminer.splg.scale"),
    columns=COLUMNS,
    seeds=(0, 1, 2),
)
