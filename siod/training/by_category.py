"""How many boxes of each category a run learns from, does not see, and is judged by."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from siod.data.instance_table import train_table, val_table
from siod.evaluation.ground_truth import distinct_names

if TYPE_CHECKING:
    from siod.data.source import PreparedData


@lru_cache(maxsize=4)  # trials of a study share their data, and the files of COCO take seconds to read
def count_boxes(data: PreparedData) -> dict[str, Any]:
    """Count the boxes of each category, crowds left aside.

    Args:
        data: The files of a run.

    Returns:
        Plain data, as :class:`siod.tracking.records.Annotations` describes it.
    """
    whole, judged = train_table(data), val_table(data)
    names = distinct_names(data.category_names, data.category_ids)
    labels = (whole.labels[~whole.hidden], whole.labels, judged.labels)
    counts = zip(names, *(np.bincount(each, minlength=len(names)).tolist() for each in labels), strict=True)
    return {
        "categories": {
            name: {"kept": kept, "hidden": present - kept, "judged": judging} for name, kept, present, judging in counts
        },
        "train_set": whole.stated,
        "val_set": judged.stated,
        "federated": judged.federated,
    }
