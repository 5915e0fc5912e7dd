"""The answer to a study's question in one sentence, computed from its statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.comparison import SIGNIFICANCE
from siod.reports.analysis.aggregate import Spread, aggregate, by_group
from siod.reports.analysis.annotations import fully_annotated, same_annotations
from siod.reports.analysis.differences import differences, p_text, paired, to_baseline
from siod.reports.analysis.numbers import heading, percent

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from siod.reports.analysis.aggregate import ArmRow
    from siod.reports.analysis.differences import Difference, Pair
    from siod.tracking.records import StudyRecord

# An AP@S0 below one point is what chance finds.
LEARNT = 0.01


def answers(study: StudyRecord) -> tuple[str, ...]:
    """Say which arm is ahead of the baseline, by how much, and whether that can be believed.

    Where no arm learnt anything, that is said first. Arms that learn from the baseline's annotations come before
    those that learn from others, as many perhaps but not all; such a one is named beside them where it does better.

    Args:
        study: Finished or not.

    Returns:
        A sentence or two, or as many for each group of arms; what cannot be said yet says why. Then one for each
        primary comparison of arms that was not told of. For a search one for each arm with its best trial.
    """
    if study.is_search:
        return tuple(sentence for row in aggregate(study) if (sentence := _found(row, study.objective)))
    found = to_baseline(study)
    sentences, told = [], set()
    for name, group in by_group(study).items():
        best = _best(group, found)
        told |= set() if best is None else {(best.arm.name, group.baseline)}
        sentences += [*nothing_learnt(group, name), _sentence(group, name, best, found, study)]
    return (*sentences, *_primary(study, told))


def _primary(study: StudyRecord, told: Collection[Pair]) -> tuple[str, ...]:
    """What the primary comparisons say that were not told of."""
    titles = {arm.name: arm.title for arm in study.arms}
    compared = [one for one in differences(study) if study.primary and one.tested and (one.arm, one.over) not in told]
    return tuple(
        f"{titles[one.arm]} {_verb(one)} {titles[one.over]} by {_size(abs(one.comparison.mean), one, study)} "
        f"({_significance(one)})."
        for one in compared
    )


def _verb(one: Difference) -> str:
    if one.comparison.mean > 0:
        return "beats" if one.significant() else "is ahead of"
    return "is beaten by" if one.significant() else "is behind"


def _size(mean: float, one: Difference, study: StudyRecord) -> str:
    found = one.comparison
    return f"{_points(mean, found.std)} {heading(study.objective)} over {_seeds(found.n)}"


def _best(group: StudyRecord, found: Mapping[str, Difference]) -> ArmRow | None:
    """The arm that is furthest ahead of the baseline, of those with its annotations if there are any."""
    rows = {row.arm.name: row for row in aggregate(group)}
    compared = [row for row in rows.values() if row.arm.name in found]
    rivals = [row for row in compared if same_annotations(row.arm, rows[group.baseline].arm)] or compared
    return max(rivals, key=lambda row: found[row.arm.name].comparison.mean, default=None)


def nothing_learnt(group: StudyRecord, name: str) -> tuple[str, ...]:
    """Say that every arm finds what chance finds, if so: differences between them mean nothing then.

    Args:
        group: The arms of one group.
        name: Of the group; empty when the study has none.
    """
    reached = {row.arm.label: spread for row in aggregate(group) if (spread := _ap_at_any_score(row)) is not None}
    if not reached or max(spread.mean for spread in reached.values()) >= LEARNT:
        return ()
    label, best = max(reached.items(), key=lambda entry: entry[1].mean)
    lead = f"{name}: " if name else ""
    why = f"the highest AP{heading('ap_s0')} is {percent(best.mean)} ({label}), so differences between arms are noise"
    remedy = "look at losses and detections, then train longer, from pretrained weights, or at a larger size"
    return (f"{lead}No arm learnt anything: {why}; {remedy}.",)


def _ap_at_any_score(row: ArmRow) -> Spread | None:
    """AP of the detections of any score, over the finished trials."""
    return Spread.of(trial.metrics["ap_s0"] for trial in row.finished() if "ap_s0" in trial.metrics)


def _found(row: ArmRow, metric: str) -> str:
    """What the search of an arm has found; empty before its first finished trial."""
    scores = [(trial.metrics[metric], trial.seed) for trial in row.finished() if metric in trial.metrics]
    if not scores:
        return ""
    value, number = max(scores)
    counted = "1 finished trial" if len(scores) == 1 else f"{len(scores)} finished trials"
    return f"{row.arm.title}: trial {number} is the best of {counted} with {percent(value)} {heading(metric)}."


def _sentence(
    group: StudyRecord, name: str, best: ArmRow | None, found: Mapping[str, Difference], whole: StudyRecord
) -> str:
    lead = f"{name}: " if name else ""
    rows = {row.arm.name: row for row in aggregate(group)}
    baseline = rows[group.baseline]
    if best is None:
        done = sum(len(row.finished()) for row in rows.values())
        total = len(group.declared())
        if done and len(group.arms) == 1:
            return f"{lead}{_only_arm(baseline, whole)}"
        why = f"{done} of {total} trials are finished, and no arm shares a finished seed with {baseline.arm.label}"
        return f"{lead}There is no answer yet: {why}."
    parts = [_difference(best, baseline, found[best.arm.name], whole)]
    full = [row for row in rows.values() if fully_annotated(group, row.arm)]
    gap = _gap(best, baseline, full, group.objective)
    others = [row for row in rows.values() if row not in full and not same_annotations(row.arm, baseline.arm)]
    return f"{lead}{', and '.join((*parts, *gap, *_elsewhere(best, others, group)))}."


def _only_arm(row: ArmRow, study: StudyRecord) -> str:
    spread = row.cells.get(study.objective) or Spread.of(
        trial.metrics[study.objective] for trial in row.finished() if study.objective in trial.metrics
    )
    if spread is None:
        return f"{row.arm.label} has no {heading(study.objective)}."
    reached = f"{_points(spread.mean, spread.std)} {heading(study.objective)}"
    return f"{row.arm.label} reaches {reached} over {_seeds(spread.n)}."


def _difference(best: ArmRow, baseline: ArmRow, one: Difference, study: StudyRecord) -> str:
    size = _size(one.comparison.mean, one, study)
    if one.comparison.mean > 0:
        return f"{best.arm.label} {_verb(one)} {baseline.arm.label} by {size} ({_significance(one)})"
    return f"No arm beats {baseline.arm.label}: the closest, {best.arm.label}, differs by {size} ({_significance(one)})"


def _significance(one: Difference) -> str:
    if not one.tested:
        return "not a primary comparison, so not tested"
    if one.p_holm is None:
        return "one seed cannot be tested"
    p = f"p {_is(one.comparison.p_sign_flip)}"
    if one.p_holm != one.comparison.p_sign_flip:
        p = f"{p}, {p_text(one.p_holm)} after Holm's correction"
    if one.significant():
        return p
    reach = "; so few seeds cannot show it" if one.comparison.smallest_p >= SIGNIFICANCE else ""
    return f"{p}: not significant at 5%{reach}"


def _is(p: float | None) -> str:
    text = p_text(p)
    return text.replace("<", "< ") if text.startswith("<") else f"= {text}"


def _gap(best: ArmRow, baseline: ArmRow, others: Sequence[ArmRow], metric: str) -> tuple[str, ...]:
    """How much of the way to the best arm with all annotations is done."""
    above = [(cell.mean, row) for row in others if (cell := row.cells.get(metric)) is not None]
    low, own = baseline.cells.get(metric), best.cells.get(metric)
    if not above or low is None or own is None:
        return ()
    high, row = max(above, key=lambda entry: entry[0])
    if not low.mean < own.mean < high:
        return ()
    return (f"closes {100 * (own.mean - low.mean) / (high - low.mean):.0f}% of the gap to {row.arm.label}",)


def _elsewhere(best: ArmRow, others: Sequence[ArmRow], study: StudyRecord) -> tuple[str, ...]:
    """Which arm does better than the best from other annotations that are not all of them either."""
    ahead = [
        (found.mean, found, row)
        for row in others
        if row.arm.name != best.arm.name and (found := paired(study, row.arm.name, best.arm.name)) is not None
    ]
    if not ahead:
        return ()
    mean, found, row = max(ahead, key=lambda entry: entry[0])
    if mean <= 0:
        return ()
    size = f"{_points(found.mean, found.std)} over {_seeds(found.n)}"
    return (f"with other annotations {row.arm.label} is ahead of {best.arm.label} by {size}",)


def _points(mean: float, std: float | None) -> str:
    return percent(mean) + ("" if std is None else f" ± {percent(std)}")


def _seeds(n: int) -> str:
    return f"{n} seed" if n == 1 else f"{n} seeds"
