"""How many candidates are false, estimated from what the annotation file tells without its missing boxes.

A candidate is false for one of three reasons.

*It shows nothing of the kind.* Such boxes are as frequent, image for image, where the category is surely absent, and
there each of them is seen to be false, a *decoy*: D_c(s) of category c that score s or more in the A_c images that lack
it, for N_c(s) candidates in the P_c images that may have it. *It shows an object of another category.* Decoys hold
these too, unless images without c show fewer objects. The best detection on an annotated object of another category
tells: on X_c(s) of them it is of c, and score for score there are r_c(s) candidates of other categories for one
annotated object that is found. The larger of the two counts, or their sum where images without c show far fewer
(:func:`lacking_show_less`). *It shows one of c and is badly placed.* That happens to annotated objects too, of which
F(s) are found and M(s) only nearly::

    d_c(s) = max((D_c(s) + 1) / A_c * P_c, X_c(s) * r_c(s)) / N_c(s)
    FDR_c(s) = d_c(s) + (1 - d_c(s)) * M(s) / (F(s) + M(s))

Annotated objects stand for the missing ones where the detector has learnt from neither (``--folds``); of images it has
learnt from it finds them too well. The interval is of the share of false ones among these very candidates: the number
of decoys varies with the images, and so does what chance puts among the candidates.

I images, C categories, n candidates, m annotated boxes, B draws, G score thresholds.

Source: Elias and Gygi, Target-decoy search strategy, Nature Methods 2007, for the first term, with one added.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from siod.completion.candidates import open_categories
from siod.state import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from siod.completion.candidates import Detected, Located

    Floats = NDArray[np.float64]

LEAST_BOXES = 30
"""Of fewer candidates no rate is estimated, and a category with fewer that are true has the rate of all such ones."""
LEAST_ABSENT = 20
"""Decoys are counted in at least so many images."""
FEWER = 1.5
"""So many times the categories in images that may have one, over those that lack it, make decoys too rare."""
DRAWS = 200
THRESHOLDS = 256
"""Scores at which rates are estimated, closest to each other among the highest."""


@dataclass(frozen=True, eq=False)
class Rates:
    """Estimated false-discovery rates.

    Attributes:
        fdr: For each candidate the share of false ones among those of its category that score as high or higher, in
            [0, 1], never larger for a higher score; NaN where it is not known, and for candidates of categories that
            are absent in their image, ``[n]``.
        low: Lower end of its interval, ``[n]``.
        high: Upper end, ``[n]``.
        pooled: True for categories with the rates of all rare ones together, ``[C]``.
        reasons: Why the rates of a category are not known; empty where they are, ``[C]``.
        confidence: Of the intervals.
    """

    fdr: Floats
    low: Floats
    high: Floats
    pooled: NDArray[np.bool_]
    reasons: tuple[str, ...]
    confidence: float


class _Curve(NamedTuple):
    """A rate at falling scores, and its interval."""

    scores: Floats
    fdr: Floats
    low: Floats
    high: Floats
    true: float

    def at(self, scores: Floats) -> tuple[Floats, Floats, Floats]:
        """The rate of the candidates at or above each score: that of the next threshold below it."""
        place = np.searchsorted(-self.scores, -scores, side="left")
        there = np.minimum(place, len(self.scores) - 1)
        known = place < len(self.scores)
        columns = (np.where(known, column[there], np.nan) for column in (self.fdr, self.low, self.high))
        fdr, low, high = columns
        return fdr, low, high


class _Category(NamedTuple):
    """Of one category or several.

    Attributes:
        scores: Of the candidates that may be true, falling.
        decoys: Scores of the others.
        decoys_show_less: Whether the images of decoys show far fewer objects of other categories.
        weights: Images that may have the category for each that lacks it, for each decoy.
        images: Of the decoys.
        one_more: The weight of the decoy that is added.
        found: Of :class:`Located`, of these categories, or of all where they have few annotated boxes.
        near: Likewise.
        mistaken: Scores of detections of them that are the best on an annotated object of another category.
        others_found: Scores of the best detections on annotated objects of others, in images that may have these.
        others: Scores of candidates of other categories there.
    """

    scores: Floats
    decoys: Floats
    decoys_show_less: bool
    weights: Floats
    images: NDArray[np.int64]
    one_more: float
    found: Floats
    near: Floats
    mistaken: Floats
    others_found: Floats
    others: Floats


def estimate(
    candidates: Detected,
    located: Located,
    states: NDArray[np.int8],
    *,
    confidence: float = 0.9,
    seed: int = 0,
) -> Rates:
    """Estimate for every candidate how many like it are false.

    Args:
        candidates: Of :func:`siod.completion.candidates.find_candidates`, decoys included.
        located: Likewise.
        states: What is known of each category in each image, ``[I, C]`` of :class:`siod.state.State`.
        confidence: Of the intervals, in (0, 1).
        seed: Of the draws.

    Returns:
        The rates. Categories that fewer than ``LEAST_ABSENT`` images surely lack have none; those of which fewer than
        ``LEAST_BOXES`` true boxes seem to be found have the rates of all such categories together.
    """
    generator = np.random.default_rng(seed)
    open_, absent = open_categories(states), states == State.ABSENT
    may_be_true = open_[candidates.image, candidates.label]
    reasons = [_reason(int(open_[:, label].sum()), int(absent[:, label].sum())) for label in range(states.shape[1])]
    part_of = partial(_category, candidates, located, may_be_true, states, show_less=lacking_show_less(states))
    curves: dict[int, _Curve] = {}
    for label in (label for label, reason in enumerate(reasons) if not reason):
        curves[label] = _curve(part_of(labels=[label]), confidence, generator)
    rare = [label for label, curve in curves.items() if curve.true < LEAST_BOXES]
    if rare:
        together = _curve(part_of(labels=rare), confidence, generator)
        curves |= dict.fromkeys(rare, together)
    columns = np.full((3, len(candidates)), np.nan)
    for label, curve in curves.items():
        if not len(curve.scores):
            whose = "of all rare categories together" if label in rare else "of it"
            reasons[label] = f"fewer than {LEAST_BOXES} candidates {whose}"
            continue
        rows = np.flatnonzero(may_be_true & (candidates.label == label))
        columns[:, rows] = curve.at(candidates.scores[rows])
    pooled = np.isin(np.arange(states.shape[1]), rare)
    return Rates(columns[0], columns[1], columns[2], pooled, tuple(reasons), confidence)


def lacking_show_less(states: NDArray[np.int8]) -> NDArray[np.bool_]:
    """For which categories the images that lack them show far fewer others, so that decoys are too rare.

    What is false of a category is often an object of another one, and where there are fewer, decoys are rarer.

    Args:
        states: What is known of each category in each image, ``[I, C]`` of :class:`siod.state.State`.

    Returns:
        A truth value for each category that is absent in some image and may lack boxes in another, ``[C]``: whether
        ``FEWER`` times as many categories have boxes in images of the second kind, the category itself counted in both.
    """
    open_, absent = open_categories(states), states == State.ABSENT
    boxed = (states == State.SOME) | (states == State.COMPLETE)
    shown = 1 + boxed.sum(axis=1, keepdims=True) - boxed
    of_open = (open_ * shown).sum(axis=0) / np.maximum(open_.sum(axis=0), 1)
    of_absent = (absent * shown).sum(axis=0) / np.maximum(absent.sum(axis=0), 1)
    fewer: NDArray[np.bool_] = absent.any(axis=0) & (of_open >= FEWER * of_absent)
    return fewer


def _reason(open_: int, absent: int) -> str:
    if not open_:
        return "no image may lack a box of it"
    if absent < LEAST_ABSENT:
        lacking = "1 image surely lacks it" if absent == 1 else f"{absent} images surely lack it"
        return f"only {lacking}, {LEAST_ABSENT} are needed"
    return ""


def _category(
    candidates: Detected,
    located: Located,
    may_be_true: NDArray[np.bool_],
    states: NDArray[np.int8],
    *,
    show_less: NDArray[np.bool_],
    labels: Sequence[int],
) -> _Category:
    """What counts for one category, or for several together."""
    open_, absent = open_categories(states), states == State.ABSENT
    may_have = np.asarray(open_[:, labels].any(axis=1))
    of, annotated = np.isin(candidates.label, labels), np.isin(located.label, labels)
    if annotated.sum() < LEAST_BOXES:
        annotated[:] = True
    share = open_.sum(axis=0) / np.maximum(absent.sum(axis=0), 1)
    decoys = of & ~may_be_true & absent[candidates.image, candidates.label]
    one_more = float(open_[:, labels].sum() / absent[:, labels].sum())
    return _Category(
        np.sort(candidates.scores[of & may_be_true])[::-1],
        candidates.scores[decoys],
        bool(show_less[labels].any()),
        share[candidates.label[decoys]],
        candidates.image[decoys],
        one_more,
        located.found[annotated],
        located.near[annotated],
        located.taken[np.isin(located.taken_for, labels) & (located.taken_for != located.label)],
        located.taken[may_have[located.image] & ~np.isin(located.label, labels)],
        candidates.scores[may_have[candidates.image] & ~of & may_be_true],
    )


def _curve(part: _Category, confidence: float, generator: np.random.Generator) -> _Curve:
    """Rates at some scores, from LEAST_BOXES candidates on."""
    scores = part.scores[_ranks(len(part.scores)) - 1]
    # How many reach each score: equal ones together.
    ranks, kept = np.unique(np.searchsorted(-part.scores, -scores, side="right"), return_index=True)
    scores = scores[kept]
    bins = np.searchsorted(-scores, -part.decoys, side="left")
    reached = bins < len(scores)
    bins, weights, images = bins[reached], part.weights[reached], part.images[reached]
    confused = _Confused.of(part, scores)
    counted = np.cumsum(np.bincount(bins, weights, len(scores))) + part.one_more
    false = confused.join(counted, confused.expected())
    found = _at_least(part.found, scores)
    near = _at_least(np.maximum(part.found, part.near), scores) - found
    fdr = _rate(false / ranks, near / np.maximum(found + near, 1))
    decoys = _Decoys.of(bins, weights, images, part.one_more)
    drawn = np.stack([_draw(decoys, confused, ranks, (found, near), generator) for _ in range(DRAWS)])
    tails = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0) if len(ranks) else drawn[:2]
    true = float(((1 - fdr) * ranks).max(initial=0))
    # The best of all lower thresholds: a higher score never makes a box more doubtful.
    best = _running_best(fdr)
    return _Curve(scores, fdr[best], np.minimum(tails[0], fdr)[best], np.maximum(tails[1], fdr)[best], true)


def _at_least(values: Floats, scores: Floats) -> Floats:
    """How many values reach each score."""
    return (len(values) - np.searchsorted(np.sort(values), scores, side="left")).astype(np.float64)


def _rate(false: Floats, badly_placed: Floats) -> Floats:
    """The share of false candidates from all reasons, at most 1."""
    not_shown = np.minimum(false, 1)
    return not_shown + (1 - not_shown) * badly_placed


class _Decoys(NamedTuple):
    """Decoys as they are drawn: the threshold of each, its image, and for each image what it stands for."""

    bins: NDArray[np.int64]
    image: NDArray[np.int64]
    weights: Floats
    one_more: float

    @classmethod
    def of(cls, bins: NDArray[np.int64], weights: Floats, images: NDArray[np.int64], one_more: float) -> Self:
        # Decoys of an image are drawn together, those of each category by what the image stands for there.
        of = np.stack([images.astype(np.float64), weights])
        _, first, image = np.unique(of, axis=1, return_index=True, return_inverse=True)
        return cls(bins, image, weights[first], one_more)


class _Confused(NamedTuple):
    """At each threshold annotated objects that are taken for another category, and missing ones for one of these.

    ``beside_decoys`` is true where hardly any of them is among the decoys.
    """

    mistaken: Floats
    missing: Floats
    beside_decoys: bool

    @classmethod
    def of(cls, part: _Category, scores: Floats) -> Self:
        found = np.maximum(_at_least(part.others_found, scores), 1)
        return cls(_at_least(part.mistaken, scores), _at_least(part.others, scores) / found, part.decoys_show_less)

    def join(self, decoys: NDArray[Any], confused: Floats) -> Floats:
        """All that shows nothing of the kind."""
        joined: Floats = decoys + confused if self.beside_decoys else np.maximum(decoys, confused)
        return joined

    def expected(self) -> Floats:
        """How many candidates show an object of another category."""
        return self.mistaken * self.missing

    def draw(self, generator: np.random.Generator) -> Floats:
        """One draw: annotated objects anew, and of the missing ones what chance gives, at all thresholds alike."""
        most = self.expected().max(initial=0)
        if most == 0:
            return self.expected()
        for_each = most / self.mistaken.max()
        drawn: Floats = self.expected() * (generator.poisson(generator.poisson(self.mistaken.max()) * for_each) / most)
        return drawn


def _draw(
    decoys: _Decoys,
    confused: _Confused,
    ranks: NDArray[np.int64],
    placed: tuple[Floats, Floats],
    generator: np.random.Generator,
) -> Floats:
    """One draw of the share of false candidates at each threshold.

    Images are drawn anew, all decoys of one together, and out of these as many as may have the category: a Poisson
    number of times each, whose mean is the number of images that one lacking image stands for.
    """
    found, near = placed
    again = generator.poisson(generator.poisson(1.0, len(decoys.weights)) * decoys.weights)[decoys.image]
    counted = np.cumsum(np.bincount(decoys.bins, again, len(ranks))) + generator.poisson(decoys.one_more)
    false = np.minimum(confused.join(counted, confused.draw(generator)) / ranks, 1)
    # Of the objects that the others show some are badly placed.
    shown = np.round((1 - false) * ranks).astype(np.int64)
    return false + generator.binomial(shown, generator.beta(near + 0.5, found + 0.5)) / ranks


def _ranks(candidates: int) -> NDArray[np.int64]:
    """Numbers of candidates at which rates are estimated: from LEAST_BOXES to all, in equal ratios."""
    if candidates < LEAST_BOXES:
        return np.zeros(0, dtype=np.int64)
    return np.unique(np.round(np.geomspace(LEAST_BOXES, candidates, THRESHOLDS)).astype(np.int64))


def _running_best(fdr: Floats) -> NDArray[Any]:
    """For each threshold the one at its score or below where the rate is least."""
    best = np.arange(len(fdr))
    for place in range(len(fdr) - 2, -1, -1):
        if fdr[best[place + 1]] <= fdr[place]:
            best[place] = best[place + 1]
    return best
