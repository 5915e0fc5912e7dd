"""From detections to proposals: candidates, their rates, and those that are asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from siod.completion.candidates import Annotated, find_candidates, open_categories
from siod.completion.proposals import CategoryRate, Proposal
from siod.completion.rates import estimate, lacking_show_less
from siod.completion.rejected import rejected_boxes
from siod.data.coco import image_sizes
from siod.errors import UserError
from siod.state import State

if TYPE_CHECKING:
    from typing import Literal

    from numpy.typing import NDArray

    from siod.completion.candidates import Detected
    from siod.completion.rates import Rates
    from siod.data.coco import CocoDataset

LEAST_SIDE_PX = 1.0
"""Proposed boxes are cut off at the edges of the image; what is smaller then is none."""
DIGITS = 2
"""Of coordinates in pixels."""
UNKNOWN_RATE = 0.5
"""Where a number of boxes is asked for, those whose rate is not known come after those of a rate up to this."""


@dataclass(frozen=True)
class Wanted:
    """Which candidates are proposed.

    Args:
        max_fdr: Those of each category whose estimated share of false ones is at most this, in (0, 1); None asks for
            no rate.
        boxes: At most so many: by rate up to ``UNKNOWN_RATE``, then those whose rate is not known by score, then by
            rate; None asks for no number.
        min_score: Of categories whose rate is not known, those with at least this score; None proposes none of them,
            unless a number of boxes is asked for.
    """

    max_fdr: float | None = 0.1
    boxes: int | None = None
    min_score: float | None = None


@dataclass(frozen=True, eq=False)
class Chosen:
    """Proposals and what is known of each category.

    Attributes:
        boxes: By image in the order of the file, the highest scores first.
        rates: One for each category, in the order of ids.
        surest: The least rate of any candidates of each category; None where it is not known, ``[C]``.
        unrated: Scores of all candidates whose rate is not known, falling.
        confidence: Of the intervals.
        errs_low: Names of categories of which boxes are proposed and too few of the false ones are estimated, as images
            without them show far fewer objects.
    """

    boxes: tuple[Proposal, ...]
    rates: tuple[CategoryRate, ...]
    surest: tuple[float | None, ...]
    unrated: NDArray[np.float64]
    confidence: float
    errs_low: tuple[str, ...] = ()

    def fdr(self) -> float | None:
        """The estimated share of false ones among all proposals; None where it is not known of some."""
        if not self.boxes or any(rate.fdr is None for rate in self.rates if rate.proposed):
            return None
        return sum(rate.proposed * rate.fdr for rate in self.rates if rate.fdr is not None) / len(self.boxes)


def annotated_boxes(dataset: CocoDataset) -> Annotated:
    """The boxes of an annotation file as columns, with those that were proposed for it before and rejected."""
    rejected = rejected_boxes(dataset)
    count = len(dataset.annotation_ids)
    return Annotated(
        np.concatenate([dataset.image_index, rejected.image]),
        np.concatenate([dataset.labels, rejected.label]),
        np.concatenate([dataset.boxes_xyxy, rejected.boxes_xyxy]),
        np.concatenate([dataset.iscrowd, np.zeros(len(rejected), dtype=bool)]),
        np.arange(count + len(rejected)) >= count,
    )


def choose(
    detected: Detected, dataset: CocoDataset, states: NDArray[np.int8] | None, wanted: Wanted, *, seed: int = 0
) -> Chosen:
    """Find proposals among detections.

    Args:
        detected: In the images of ``dataset``, of its categories.
        dataset: The annotation file.
        states: Of :func:`siod.data.category_states.category_states`; None where every box is there.
        wanted: Which candidates are proposed.
        seed: Of the draws that intervals are made of.

    Returns:
        The proposals. Their ids follow those of the annotation file.

    Raises:
        UserError: No box can be missing, or a rate is asked for and none can be estimated.
    """
    if states is None or not open_categories(states).any():
        raise UserError(
            f"{dataset.path}: says that all its boxes are there, or --complete and --others do, so none can be "
            "missing; say what it lacks: --others some where an image without a box of a category has none of it, "
            "--others unlabelled where nobody looked"
        )
    candidates, located = find_candidates(_inside(detected, dataset), annotated_boxes(dataset), states)
    rates = estimate(candidates, located, states, seed=seed)
    if wanted.boxes is None and wanted.min_score is None and all(rates.reasons):
        raise UserError(
            f"{dataset.path}: no rate can be estimated for any category "
            f"({dataset.categories[0].name}: {rates.reasons[0]}); propose by score with --min-score, or a number of "
            "the best with --boxes"
        )
    may_be_true = states[candidates.image, candidates.label] != State.ABSENT
    rows = _rows(candidates, rates, may_be_true, wanted)
    known = ~np.isnan(rates.fdr)
    least = [rates.fdr[known & (candidates.label == label)] for label in range(len(dataset.categories))]
    made = _of_categories(candidates, rates, dataset, rows)
    less = lacking_show_less(states)
    return Chosen(
        _proposals(candidates, rates, states, dataset, rows),
        made,
        tuple(float(of.min()) if len(of) else None for of in least),
        np.sort(candidates.scores[may_be_true & ~known])[::-1],
        rates.confidence,
        tuple(
            category.name
            for category, rate, low in zip(dataset.categories, made, less, strict=True)
            if rate.fdr is not None and low
        ),
    )


def _inside(detected: Detected, dataset: CocoDataset) -> Detected:
    """Detections cut off at the edges of their images, without those of which nothing is left."""
    sizes = image_sizes(dataset.images)[detected.image]
    corners = detected.boxes_xyxy.round(DIGITS)
    corners = np.stack([np.clip(corners[:, side], 0, sizes[:, side % 2]) for side in range(4)], axis=1)
    left = np.asarray(((corners[:, 2:] - corners[:, :2]) >= LEAST_SIDE_PX).all(axis=1))
    return replace(detected, boxes_xyxy=corners).take(left)


def _rows(candidates: Detected, rates: Rates, may_be_true: NDArray[np.bool_], wanted: Wanted) -> NDArray[np.int64]:
    """The candidates that are proposed, in their order."""
    known = ~np.isnan(rates.fdr)
    sure = known & (rates.fdr <= (1 if wanted.max_fdr is None else wanted.max_fdr))
    least = wanted.min_score if wanted.min_score is not None else np.inf if wanted.boxes is None else 0.0
    rows = np.flatnonzero(may_be_true & (sure | (~known & (candidates.scores >= least))))
    if wanted.boxes is None or len(rows) <= wanted.boxes:
        return rows
    order = np.lexsort((-candidates.scores[rows], np.nan_to_num(rates.fdr[rows], nan=UNKNOWN_RATE)))
    return np.sort(rows[order[: wanted.boxes]])


def _proposals(
    candidates: Detected, rates: Rates, states: NDArray[np.int8], dataset: CocoDataset, rows: NDArray[np.int64]
) -> tuple[Proposal, ...]:
    first = int(dataset.annotation_ids.max(initial=0)) + 1
    made: list[Proposal] = []
    for row in rows.tolist():
        left, top, right, bottom = candidates.boxes_xyxy[row].tolist()
        image, label = int(candidates.image[row]), int(candidates.label[row])
        made.append(
            Proposal(
                id=first + len(made),
                image_id=dataset.images[image].id,
                category_id=dataset.categories[label].id,
                bbox=(left, top, round(right - left, DIGITS), round(bottom - top, DIGITS)),
                score=float(candidates.scores[row]),
                fdr=_known(rates.fdr[row]),
                fdr_low=_known(rates.low[row]),
                fdr_high=_known(rates.high[row]),
                state=cast("Literal['some', 'unknown', 'unlabelled']", State(states[image, label]).name.lower()),
            )
        )
    return tuple(made)


def _of_categories(
    candidates: Detected, rates: Rates, dataset: CocoDataset, rows: NDArray[np.int64]
) -> tuple[CategoryRate, ...]:
    made = []
    for label, category in enumerate(dataset.categories):
        mine = rows[candidates.label[rows] == label]
        # The one with the lowest score has the rate of all.
        last = mine[np.argmin(candidates.scores[mine])] if len(mine) else None
        known: tuple[float | None, ...] = (None, None, None)
        if last is not None:
            known = (_known(rates.fdr[last]), _known(rates.low[last]), _known(rates.high[last]))
        made.append(
            CategoryRate(
                category.id,
                len(mine),
                None if last is None else float(candidates.scores[last]),
                fdr=known[0],
                fdr_low=known[1],
                fdr_high=known[2],
                pooled=bool(rates.pooled[label]),
                reason=rates.reasons[label],
            )
        )
    return tuple(made)


def _known(rate: float) -> float | None:
    return None if np.isnan(rate) else float(rate)
