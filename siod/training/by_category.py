"""How many boxes of each category a run learns from, does not see, and is judged by."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from siod.data import coco
from siod.data.stated_sets import stated_set
from siod.evaluation.ground_truth import distinct_names

if TYPE_CHECKING:
    from siod.data.coco import CocoDataset
    from siod.data.source import PreparedData


@lru_cache(maxsize=4)  # trials of a study share their data, and the files of COCO take seconds to read
def count_boxes(data: PreparedData) -> dict[str, Any]:
    """Count the boxes of each category, crowds left aside.

    Args:
        data: The files of a run.

    Returns:
        Plain data, as :class:`siod.tracking.records.Annotations` describes it.
    """
    learnt, judged = coco.read(data.train), coco.read(data.val)
    whole = learnt if data.train_full == data.train else coco.read(data.train_full)
    names = distinct_names(data.category_names, data.category_ids)
    counts = zip(names, _counts(learnt), _counts(whole), _counts(judged), strict=True)
    return {
        "categories": {
            name: {"kept": kept, "hidden": present - kept, "judged": judging} for name, kept, present, judging in counts
        },
        "train_set": stated_set(whole.info()),
        "val_set": stated_set(judged.info()),
    }


def _counts(dataset: CocoDataset) -> list[int]:
    """Instances of each category, in the order of labels."""
    counts: list[int] = np.bincount(dataset.labels[~dataset.iscrowd], minlength=len(dataset.categories)).tolist()
    return counts
