"""Are the differences between arms real: paired by seed, tested, and corrected for several comparisons."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from siod.comparison import SIGNIFICANCE, Comparison, compare, fewest_pairs, holm, pairs_needed, smallest_p
from siod.reports.analysis.aggregate import baseline_label, of_status
from siod.reports.analysis.numbers import MINUS, heading, signed_percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siod.tracking.records import StudyRecord

Pair = tuple[str, str]
"""The arm that is compared, and the one that is subtracted."""
HEADINGS = ("points", "95% interval", "p", "p (Holm)", "p (Wilcoxon)", "effect d", "seeds", "seeds needed")


@dataclass(frozen=True)
class Difference:
    """One arm against another, mostly its baseline, in the study's objective.

    Args:
        arm: Its name.
        over: Name of the other, which is subtracted.
        label: What tables call the arm, with its group; both arms where the study has primary comparisons.
        comparison: Over the seeds with which both arms are finished.
        p_holm: Sign-flip p, corrected for the number of comparisons; None for a single seed, and where not tested.
        tested: False if the study has primary comparisons and this is none of them.
    """

    arm: str
    over: str
    label: str
    comparison: Comparison
    p_holm: float | None
    tested: bool = True

    @property
    def p(self) -> float | None:
        """Sign-flip p; None for a single seed, and where not tested."""
        return self.comparison.p_sign_flip if self.tested else None

    def significant(self) -> bool:
        """Whether the corrected p is below 5%."""
        return self.p_holm is not None and self.p_holm < SIGNIFICANCE

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of ``HEADINGS``; empty where there is nothing to say."""
        found = self.comparison
        interval = found.interval
        return (
            signed_percent(found.mean),
            "" if interval is None else f"{signed_percent(interval[0])} to {signed_percent(interval[1])}",
            p_text(self.p),
            p_text(self.p_holm),
            p_text(found.p_wilcoxon if self.tested else None),
            "" if found.effect is None else f"{found.effect:.1f}".replace("inf", "∞").replace("-", MINUS),
            str(found.n),
            _needed(found),
        )


def differences(study: StudyRecord) -> tuple[Difference, ...]:
    """Make the study's primary comparisons, and compare every other arm with its baseline, in the study's objective.

    Args:
        study: Finished or not; a seed counts where both arms are finished.

    Returns:
        Primary comparisons first, then the arms in the declared order, without pairs that share no finished seed;
        nothing for a search, whose trials are no repetitions. Without primary comparisons all are tested.
    """
    if study.is_search:
        return ()
    compared = {pair: found for pair in _pairs(study) if (found := paired(study, *pair)) is not None}
    tested = study.primary or tuple(compared)
    p_values = {pair: compared[pair].p_sign_flip if pair in compared else None for pair in tested}
    adjusted = _corrected(p_values, declared=bool(study.primary))
    titles = {arm.name: arm.title for arm in study.arms}
    return tuple(
        Difference(
            arm=arm,
            over=over,
            label=f"{titles[arm]} over {titles[over]}" if study.primary else titles[arm],
            comparison=found,
            p_holm=adjusted.get((arm, over)),
            tested=(arm, over) in tested,
        )
        for (arm, over), found in compared.items()
    )


def to_baseline(study: StudyRecord) -> dict[str, Difference]:
    """The differences of arms to their own baselines, by the arm.

    Args:
        study: As for :func:`differences`.
    """
    baselines = {arm.name: study.baseline_of(arm.group) for arm in study.arms}
    return {one.arm: one for one in differences(study) if one.over == baselines[one.arm]}


def _pairs(study: StudyRecord) -> tuple[Pair, ...]:
    """What is compared: primary comparisons, then arms with their baselines."""
    others = ((arm.name, study.baseline_of(arm.group)) for arm in study.arms)
    return tuple(dict.fromkeys((*study.primary, *(pair for pair in others if pair[0] != pair[1]))))


def _corrected(p_values: Mapping[Pair, float | None], *, declared: bool) -> dict[Pair, float]:
    """Holm's correction; over all comparisons that were declared beforehand, also those that have no p yet."""
    known = {pair: p for pair, p in p_values.items() if p is not None}
    adjusted = holm(dict.fromkeys(p_values, 1.0) | known if declared else known)
    return {pair: adjusted[pair] for pair in known}


def paired(study: StudyRecord, arm: str, other: str) -> Comparison | None:
    """Compare two arms in the study's objective, seed by seed.

    Args:
        study: Of both.
        arm: Name of the one.
        other: Name of the one that is subtracted.

    Returns:
        None if they share no finished seed.
    """
    one, two = _by_seed(study, arm), _by_seed(study, other)
    shared = sorted(one.keys() & two.keys())
    return _compared(tuple(one[seed] - two[seed] for seed in shared)) if shared else None


def reading(study: StudyRecord, found: tuple[Difference, ...]) -> tuple[str, ...]:
    """Say in whole sentences what the differences are and what so many seeds can and cannot show.

    Args:
        study: They belong to.
        found: Of :func:`differences`.
    """
    if not found:
        return ()
    count = len(study.primary or found)
    first = (
        f"{_what_is_tested(study, found)}; bootstrap interval of the mean; effect d is mean over standard deviation; "
        "seeds needed for 5% significance with 80% power at this effect."
    )
    fewest = min((one.comparison.n for one in found if one.tested), default=0)
    if fewest == 0:
        return (first,)
    reach = smallest_p(fewest)
    if fewest == 1:
        return first, "One seed cannot be tested: train more seeds before believing a difference."
    corrected = min(1.0, reach * count)
    if corrected < SIGNIFICANCE:
        return (first,)
    limit = (
        f"{fewest} seeds cannot go below p = {p_text(reach)}, and after the correction not below {p_text(corrected)}: "
        f"no difference can be significant at 5% here; {fewest_pairs(count)} seeds can reach it."
    )
    return first, limit


def _what_is_tested(study: StudyRecord, found: tuple[Difference, ...]) -> str:
    """Which differences there are, and over which of them p is corrected."""
    test = "p of the exact two-sided sign-flip test, corrected over"
    if not study.primary:
        what = f"Differences to {baseline_label(study)} in {heading(study.objective)}, paired by seed"
        return f"{what}: {test} {len(found)} arms after Holm"
    titles = {arm.name: arm.title for arm in study.arms}
    named = ", ".join(f"{titles[arm]} over {titles[over]}" for arm, over in study.primary)
    count, described = len(study.primary), sum(not one.tested for one in found)
    what = f"Differences in {heading(study.objective)}, paired by seed; "
    if count == 1:
        what += f"only the comparison named beforehand ({named}) is tested, p of the exact two-sided sign-flip test"
    else:
        what += f"only the {count} comparisons named beforehand ({named}) are tested, {test} these {count} after Holm"
    others = "other one is" if described == 1 else f"other {described} are"
    return f"{what}; the {others} described and not tested, without p or stars" if described else what


@lru_cache(maxsize=4096)
def _compared(values: tuple[float, ...]) -> Comparison:
    """The same differences are asked for by table, caveats and page, and resampling them takes a while."""
    return compare(values)


def _by_seed(study: StudyRecord, arm: str) -> dict[int, float]:
    finished = of_status(study.trials_of(arm), "finished")
    values = {trial.seed: trial.metrics.get(study.objective, math.nan) for trial in finished}
    return {seed: value for seed, value in values.items() if math.isfinite(value)}


def p_text(value: float | None) -> str:
    """At most three significant digits, and no less than a thousandth.

    Example:
        >>> p_text(0.0625), p_text(0.25), p_text(0.00001), p_text(None)
        ('0.0625', '0.25', '<0.001', '')
    """
    if value is None:
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3g}"  # noqa: PLR2004  (the digits shown)


def _needed(found: Comparison) -> str:
    if not found.effect:
        return ""
    needed = pairs_needed(found.effect)
    return str(needed) if needed < 1000 else ">1000"  # noqa: PLR2004  (beyond reach)
