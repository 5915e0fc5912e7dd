"""Shares that methods report, over the batches of an epoch."""

from __future__ import annotations

import torch

from siod.training.mining_log import FigureLog
from siod.types import LossTerm


def term(total: float, count: float) -> LossTerm:
    return LossTerm(torch.tensor(total), torch.tensor(count))


def figures(*batches: dict[str, LossTerm]) -> dict[str, float]:
    log = FigureLog()
    for batch in batches:
        log.add(batch)
    return log.metrics(world_size=1)


def pseudo(right: float, boxes: float, found: float, hidden: float) -> dict[str, LossTerm]:
    return {
        "pseudo_per_image": term(boxes, 2.0),
        "pseudo_precision": term(right, boxes),
        "pseudo_recall": term(found, hidden),
    }


def test_a_batch_without_hidden_instances_counts_beside_one_that_has_some() -> None:
    assert figures(pseudo(0, 3, 0, 0), pseudo(1, 1, 1, 2)) == {
        "mining/pseudo_per_image": 1.0,
        "mining/pseudo_precision": 0.25,
        "mining/pseudo_recall": 0.5,
    }


def test_precision_and_recall_are_absent_where_nothing_is_known_to_be_hidden() -> None:
    assert figures(pseudo(0, 3, 0, 0)) == {"mining/pseudo_per_image": 1.5}


def test_precision_is_absent_where_nothing_was_found_and_recall_is_zero() -> None:
    assert figures(pseudo(0, 0, 0, 4)) == {"mining/pseudo_per_image": 0.0, "mining/pseudo_recall": 0.0}


def test_a_precision_of_another_kind_needs_no_recall() -> None:
    assert figures({"kept_precision": term(1, 4), "agreed": term(0, 0)}) == {"mining/kept_precision": 0.25}
