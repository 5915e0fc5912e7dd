"""Whether a difference between two arms is real: paired statistics over seeds, in one place.

Two arms that were trained with the same seeds are compared by the difference each seed shows. Everything
here takes those differences as plain numbers.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy import optimize, stats

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

Key = TypeVar("Key", bound="Hashable")
CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
POWER = 0.8
# All sign patterns of up to 16 seeds; beyond that as many random ones.
PATTERNS = 2**16
# Differences whose signed ranks are counted; beyond that their sum is close to normal.
MOST_RANKED = 50
RESAMPLES = 10_000
# More seeds than anybody trains.
MOST_SEEDS = 10_000


@dataclass(frozen=True)
class Comparison:
    """What paired differences say about the difference of two arms.

    Args:
        n: Number of pairs.
        mean: Of the differences.
        std: Their sample standard deviation; None for one pair.
        stderr: Of the mean; None for one pair.
        interval: Bootstrap confidence interval of the mean, 95%; None for one pair.
        p_sign_flip: Two-sided exact p of the sign-flip permutation test; None for one pair.
        p_wilcoxon: Two-sided p of Wilcoxon's signed-rank test, without the seeds that do not differ, exact for up to 50
            others; None for one pair or when no seed differs.
        effect: Mean over standard deviation (Cohen's d for pairs); None for one pair, infinite when all
            differences are equal and not zero.
    """

    n: int
    mean: float
    std: float | None
    stderr: float | None
    interval: tuple[float, float] | None
    p_sign_flip: float | None
    p_wilcoxon: float | None
    effect: float | None

    @property
    def smallest_p(self) -> float:
        """The smallest p the sign-flip test can reach with so many pairs."""
        return smallest_p(self.n)


def compare(differences: Sequence[float]) -> Comparison:
    """Compare two arms by what each seed gained.

    Args:
        differences: One per seed that both arms were trained with, at least one, all finite.

    Returns:
        Figures that need a spread are None for a single pair.

    Raises:
        ValueError: There is no difference, or one is not finite.

    Source: sign-flip test: Fisher, The Design of Experiments, 1935, section 21; signed ranks: Wilcoxon,
    Individual comparisons by ranking methods, 1945; intervals: Efron, 1979.

    Example:
        >>> compare([0.02, 0.03, 0.01]).p_sign_flip
        0.25
    """
    if not differences or not all(math.isfinite(value) for value in differences):
        raise ValueError(f"differences must be finite numbers, at least one, got {list(differences)}")
    values = [float(value) for value in differences]
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Comparison(1, mean, None, None, None, None, None, None)
    std = statistics.stdev(values)
    return Comparison(
        n=len(values),
        mean=mean,
        std=std,
        stderr=std / math.sqrt(len(values)),
        interval=_interval(values),
        p_sign_flip=_sign_flip(values),
        p_wilcoxon=_wilcoxon(values),
        effect=_effect(mean, std),
    )


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Test alone, where many comparisons are made together.

    Args:
        differences: One per seed, at least one, all finite.

    Returns:
        Two-sided p of the exact sign-flip test; None where so few pairs cannot reach 5% whatever they show.

    Source: Fisher, The Design of Experiments, 1935, section 21.

    Example:
        >>> sign_flip_p([0.01, 0.02, 0.03, 0.02, 0.01, 0.02]), sign_flip_p([0.1, 0.2, 0.3])
        (0.03125, None)
    """
    return _sign_flip(list(differences)) if smallest_p(len(differences)) < SIGNIFICANCE else None


def smallest_p(n: int) -> float:
    """The smallest two-sided p that an exact sign-flip test of n pairs can reach: 2 of its 2^n patterns.

    Args:
        n: Number of pairs, at least 1.

    Raises:
        ValueError: ``n`` is below 1.

    Example:
        >>> smallest_p(3), smallest_p(5), smallest_p(6)
        (0.25, 0.0625, 0.03125)
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    return 2.0 ** (1 - n)


def fewest_pairs(comparisons: int) -> int:
    """The fewest pairs with which the sign-flip test can reach 5% when several comparisons are tested together.

    Args:
        comparisons: Number of them, corrected after Holm, at least 1.

    Raises:
        ValueError: ``comparisons`` is below 1.

    Example:
        >>> fewest_pairs(1), fewest_pairs(3), fewest_pairs(4)
        (6, 7, 8)
    """
    if comparisons < 1:
        raise ValueError(f"comparisons must be at least 1, got {comparisons}")
    return math.floor(1 - math.log2(SIGNIFICANCE / comparisons)) + 1


def pairs_needed(effect: float, *, significance: float = SIGNIFICANCE, power: float = POWER) -> int:
    """Estimate how many seeds show an effect of this size.

    Args:
        effect: Mean over standard deviation of the paired differences, not zero.
        significance: Level of a two-sided test, in (0, 1).
        power: Chance of finding the effect, in (significance, 1).

    Returns:
        The smallest number for which a paired t-test has that power, and for which the exact sign-flip
        test can reach the level at all.

    Raises:
        ValueError: The effect is zero or no number, or a level is out of range.

    Source: Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988, section 2.3.

    Example:
        >>> pairs_needed(0.5), pairs_needed(9.0)
        (34, 6)
    """
    if math.isnan(effect) or effect == 0:
        raise ValueError(f"effect must not be zero, got {effect}")
    if not 0 < significance < power < 1:
        raise ValueError(f"0 < significance < power < 1 must hold, got {significance} and {power}")
    fewest = math.ceil(1 - math.log2(significance))
    if math.isinf(effect) or _power(abs(effect), fewest, significance) >= power:
        return fewest
    if _power(abs(effect), MOST_SEEDS, significance) < power:
        return MOST_SEEDS
    root: float = optimize.brentq(lambda n: _power(abs(effect), n, significance) - power, fewest, MOST_SEEDS)
    return math.ceil(root)


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Adjust p values of several comparisons made together, so that one false finding among them stays rare.

    Args:
        p_values: In [0, 1], by comparison.

    Returns:
        Adjusted values in [0, 1] under the same names; below the level means significant.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.

    Example:
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    ordered = sorted(p_values, key=lambda name: p_values[name])
    adjusted: dict[Key, float] = {}
    greatest = 0.0
    for place, name in enumerate(ordered):
        greatest = max(greatest, min(1.0, (len(ordered) - place) * p_values[name]))
        adjusted[name] = greatest
    return {name: adjusted[name] for name in p_values}


def _sign_flip(values: list[float]) -> float:
    # Under the null hypothesis each difference might as well have the other sign.
    if 2 ** len(values) > PATTERNS:
        return _sampled_sign_flip(np.array(values))
    test = stats.permutation_test(
        (np.array(values),),
        np.mean,
        permutation_type="samples",
        n_resamples=PATTERNS,
    )
    return float(test.pvalue)


def _sampled_sign_flip(values: np.ndarray) -> float:
    """As scipy's permutation test on random patterns, which takes thirty times as long to draw them."""
    signs = np.random.default_rng(0).integers(0, 2, (PATTERNS, len(values)), dtype=np.int8) * 2 - 1
    means, found = signs @ values / len(values), values.mean()
    tolerance = 1e-14 * abs(found)
    greater, less = (np.count_nonzero(side) for side in (means >= found - tolerance, means <= found + tolerance))
    # The pattern that was found is one of those that might have been.
    return min(1.0, 2 * (min(greater, less) + 1) / (PATTERNS + 1))


def _wilcoxon(values: list[float]) -> float | None:
    """Wilcoxon's p: of all sign patterns, also with equal differences, where scipy takes the normal approximation."""
    differing = np.array([value for value in values if value])
    if not len(differing):
        return None
    if len(differing) > MOST_RANKED:
        return float(stats.wilcoxon(differing).pvalue)
    # Equal differences share the mean of their ranks, which is a whole or a half.
    doubled = (2 * stats.rankdata(np.abs(differing))).astype(int)
    chances = np.ones(1)
    for rank in doubled:
        # The rank joins the sum of the positive ones in half of the patterns.
        chances = (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))) / 2
    found = doubled[differing > 0].sum()
    return min(1.0, 2 * float(min(chances[: found + 1].sum(), chances[found:].sum())))


def _interval(values: list[float]) -> tuple[float, float]:
    if len(set(values)) == 1:
        return values[0], values[0]
    resampled = stats.bootstrap(
        (np.array(values),),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return float(resampled.confidence_interval.low), float(resampled.confidence_interval.high)


def _effect(mean: float, std: float) -> float:
    if std > 0:
        return mean / std
    return math.copysign(math.inf, mean) if mean else 0.0


def _power(effect: float, n: float, significance: float) -> float:
    """Power of a two-sided paired t-test; the other tail is negligible where the power is of interest."""
    critical = stats.t.ppf(1 - significance / 2, n - 1)
    return float(stats.nct.sf(critical, n - 1, effect * math.sqrt(n)))
