"""Are the differences to the baseline arm real: paired by seed, tested, and corrected for several arms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from siod.comparison import SIGNIFICANCE, Comparison, compare, holm, pairs_needed, smallest_p
from siod.reports.analysis.aggregate import baseline_label, of_status
from siod.reports.analysis.numbers import MINUS, heading, signed_percent

if TYPE_CHECKING:
    from siod.tracking.records import StudyRecord

HEADINGS = ("points", "95% interval", "p", "p (Holm)", "p (Wilcoxon)", "effect d", "seeds", "seeds needed")


@dataclass(frozen=True)
class Difference:
    """One arm against the baseline in the study's objective.

    Args:
        arm: Its name.
        label: What tables call it, with its group.
        comparison: Over the seeds with which both arms are finished.
        p_holm: Sign-flip p, corrected for the number of arms; None for a single seed.
    """

    arm: str
    label: str
    comparison: Comparison
    p_holm: float | None

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
            p_text(found.p_sign_flip),
            p_text(self.p_holm),
            p_text(found.p_wilcoxon),
            "" if found.effect is None else f"{found.effect:.1f}".replace("inf", "∞").replace("-", MINUS),
            str(found.n),
            _needed(found),
        )


def differences(study: StudyRecord) -> tuple[Difference, ...]:
    """Compare every other arm with the baseline in the study's objective.

    Args:
        study: Finished or not; a seed counts where both arms are finished.

    Returns:
        In the declared order, without arms that share no finished seed with the baseline; nothing for a search,
        whose trials are no repetitions.
    """
    if study.is_search:
        return ()
    comparisons = {}
    for arm in study.arms:
        baseline = study.baseline_of(arm.group)
        if arm.name != baseline and (found := paired(study, arm.name, baseline)) is not None:
            comparisons[arm.name] = found
    adjusted = holm({name: found.p_sign_flip for name, found in comparisons.items() if found.p_sign_flip is not None})
    labels = {arm.name: arm.title for arm in study.arms}
    return tuple(Difference(name, labels[name], found, adjusted.get(name)) for name, found in comparisons.items())


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
    first = (
        f"Differences to {baseline_label(study)} in {heading(study.objective)}, paired by seed: p of the exact "
        f"two-sided sign-flip test, corrected over {len(found)} arms after Holm; bootstrap interval of the mean; "
        "effect d is mean over standard deviation; seeds needed for 5% significance with 80% power at this effect."
    )
    fewest = min(difference.comparison.n for difference in found)
    reach = smallest_p(fewest)
    if fewest == 1:
        return first, "One seed cannot be tested: train more seeds before believing a difference."
    corrected = min(1.0, reach * len(found))
    if corrected < SIGNIFICANCE:
        return (first,)
    limit = (
        f"{fewest} seeds cannot go below p = {p_text(reach)}, and after the correction not below {p_text(corrected)}: "
        f"no difference can be significant at 5% here; {_seeds_for(len(found))} seeds can reach it."
    )
    return first, limit


def _seeds_for(arms: int) -> int:
    """The fewest seeds with which the corrected sign-flip test can reach 5%."""
    return math.floor(1 - math.log2(SIGNIFICANCE / arms)) + 1


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
