"""Where categories disagree, in sentences computed from their statistics: enough boxes for one, not for another."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siod.comparison import SIGNIFICANCE, holm, sign_flip_p, smallest_p
from siod.reports.analysis.aggregate import aggregate, by_group
from siod.reports.analysis.annotations import fully_annotated, policy_of, same_annotations
from siod.reports.analysis.categories import METRIC, by_category, listed, paired
from siod.reports.analysis.numbers import heading, signed_percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from siod.reports.analysis.aggregate import ArmRow
    from siod.tracking.records import StudyRecord

# A category has enough boxes where an arm reaches so much of the AP@S that all boxes give.
ENOUGH = 0.95
# Shares of two categories that are closer than this are called alike.
UNLIKE = 0.1
# A category that full supervision hardly learns either has no answer.
LEARNT = 0.01
# Differences below half a point are called none.
SMALLEST = 0.005


@dataclass(frozen=True)
class Verdict:
    """On which side of a line a category is.

    Args:
        category: Its name.
        above: Whether it is above the line with every seed; None where seeds disagree.
        size: What is reported of it: a share or a difference.
        seeds: How many seeds it stands on.
        p: Of the sign-flip test, corrected over the categories; None where no test can reach 5%.
    """

    category: str
    above: bool | None
    size: float
    seeds: int
    p: float | None

    def significant(self) -> bool:
        """Whether the corrected p is below 5%."""
        return self.p is not None and self.p < SIGNIFICANCE


def disagreements(study: StudyRecord) -> tuple[str, ...]:
    """Say for which categories the boxes are enough and for which not, and where the best arm gains and loses.

    Args:
        study: Finished or not; a seed counts where both arms are finished.

    Returns:
        A sentence for each where categories disagree; nothing for a search.
    """
    if study.is_search:
        return ()
    return tuple(sentence for name, group in by_group(study).items() for sentence in _of_group(name, group))


def _of_group(name: str, group: StudyRecord) -> Iterator[str]:
    lead = f"{name}: " if name else ""
    rows = {row.arm.name: row for row in aggregate(group) if row.finished()}
    baseline = rows.get(group.baseline)
    if baseline is None:
        return
    best = max(
        (row for row in rows.values() if same_annotations(row.arm, baseline.arm)), key=lambda row: _mean(row, group)
    )
    full = [row for row in rows.values() if fully_annotated(group, row.arm)]
    if full:
        yield from (lead + sentence for sentence in _enough(group, best, max(full, key=lambda row: _mean(row, group))))
    if best.arm.name != baseline.arm.name:
        yield from (lead + sentence for sentence in _gains(group, best, baseline))


def _mean(row: ArmRow, study: StudyRecord) -> float:
    values = [trial.metrics[study.objective] for trial in row.finished() if study.objective in trial.metrics]
    return statistics.fmean(values) if values else float("-inf")


def _enough(study: StudyRecord, best: ArmRow, full: ArmRow) -> Iterator[str]:
    own, whole = (by_category(study, row.arm.name) for row in (best, full))
    differences, shares, by_seed = {}, {}, {}
    for category in own.keys() & whole.keys():
        seeds = sorted(own[category].keys() & whole[category].keys())
        reached, of = (sum(values[category][seed] for seed in seeds) for values in (own, whole))
        if seeds and of / len(seeds) >= LEARNT:
            differences[category] = paired(own[category], whole[category], ENOUGH)
            shares[category] = reached / of
            by_seed[category] = {seed: own[category][seed] / max(whole[category][seed], LEARNT) for seed in seeds}
    found = verdicts(differences, shares)
    yes = sorted((one for one in found if one.above), key=lambda one: -one.size)
    no = sorted((one for one in found if one.above is False), key=lambda one: one.size)
    if not (yes and no):
        yield from _unlike(shares, by_seed, best, full)
        return
    boxes, verb = _boxes(policy_of(study, best.arm))
    certain = all(one.significant() for one in (*yes, *no))
    verb = verb if certain else {"is": "looks", "are": "look"}[verb]
    figures = [listed([f"{one.category} ({100 * one.size:.0f}%)" for one in side]) for side in (yes, no)]
    torn = [one.category for one in found if one.above is None]
    yield (
        f"{boxes} {verb} enough for {figures[0]}, not for {figures[1]}"
        + (f"; seeds disagree on {listed(torn)}" if torn else "")
        + f": shares of {full.arm.label}'s {heading(METRIC)} that {best.arm.label} reaches, of which "
        f"{100 * ENOUGH:.0f}% count as enough ({_significance((*yes, *no))})."
    )


def _unlike(
    shares: Mapping[str, float], by_seed: Mapping[str, Mapping[int, float]], best: ArmRow, full: ArmRow
) -> Iterator[str]:
    """The two categories that reach most and least of full supervision, where every seed says so."""
    if not shares:
        return
    most, least = max(shares, key=shares.__getitem__), min(shares, key=shares.__getitem__)
    seeds = by_seed[most].keys() & by_seed[least].keys()
    apart = all(by_seed[most][seed] > by_seed[least][seed] for seed in seeds)
    if seeds and apart and shares[most] - shares[least] >= UNLIKE:
        order = "one seed" if len(seeds) == 1 else f"in this order with all {len(seeds)} seeds"
        yield (
            f"{best.arm.label} reaches {100 * shares[most]:.0f}% of {full.arm.label}'s {heading(METRIC)} for {most}, "
            f"but {100 * shares[least]:.0f}% for {least} ({order})."
        )


def _gains(study: StudyRecord, best: ArmRow, baseline: ArmRow) -> Iterator[str]:
    own, base = (by_category(study, row.arm.name) for row in (best, baseline))
    gains = {
        category: differences
        for category in own.keys() & base.keys()
        if (differences := paired(own[category], base[category]))
    }
    found = verdicts(gains, {category: statistics.fmean(values) for category, values in gains.items()})
    found = tuple(one for one in found if abs(one.size) >= SMALLEST)
    up = sorted((one for one in found if one.above), key=lambda one: -one.size)
    down = sorted((one for one in found if one.above is False), key=lambda one: one.size)
    if not (up and down):
        return
    figures = [listed([f"{one.category} ({signed_percent(one.size)})" for one in side]) for side in (up, down)]
    yield (
        f"{best.arm.label} gains on {baseline.arm.label} in {figures[0]} and loses in {figures[1]}, in points of "
        f"{heading(METRIC)} ({_significance((*up, *down))})."
    )


def verdicts(differences: Mapping[str, Sequence[float]], sizes: Mapping[str, float]) -> tuple[Verdict, ...]:
    """Judge categories together.

    Args:
        differences: By category, how far above the line (or below, negative) each seed is; at least one seed.
        sizes: By category, the share or difference that is reported.

    Returns:
        One for each category, by name.
    """
    tested = {name: p for name, values in differences.items() if (p := sign_flip_p(values)) is not None}
    corrected = holm(tested)
    return tuple(
        Verdict(name, _side(differences[name]), sizes[name], len(differences[name]), corrected.get(name))
        for name in sorted(differences)
    )


def _side(values: Sequence[float]) -> bool | None:
    if all(value >= 0 for value in values):
        return True
    return False if all(value < 0 for value in values) else None


def _boxes(policy: Mapping[str, str]) -> tuple[str, str]:
    """What an arm learns from, as the subject of a sentence, with its verb."""
    if policy.get("policy") == "keep":
        count = int(policy.get("k", "1"))
        return ("One box", "is") if count == 1 else (f"{count} boxes", "are")
    name = policy.get("policy", "")
    return (f"The {name} set" if name else "The annotation set"), "is"


def _significance(found: Sequence[Verdict]) -> str:
    fewest = min(one.seeds for one in found)
    if fewest == 1:
        return "one seed cannot be tested"
    if all(one.significant() for one in found):
        return "p below 5% for each after Holm's correction over the categories"
    if smallest_p(fewest) >= SIGNIFICANCE:
        return f"the same with all {fewest} seeds, which are too few to show it at 5%"
    open_ones = [one.category for one in found if not one.significant()]
    return f"not significant at 5% after Holm's correction for {listed(open_ones)}"
