"""Paired statistics against worked examples, other implementations and their own definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from siod.comparison import compare, fewest_pairs, holm, pairs_needed, sign_flip_p, smallest_p

DIFFERENCES = st.lists(st.integers(-50, 50).map(lambda value: value / 10), min_size=2, max_size=8)


def test_a_worked_example() -> None:
    # Differences 1, 2, 3: mean 2, variance ((-1)^2 + 0 + 1^2) / 2 = 1. Of the 8 sign patterns only (+++) and
    # (---) have a mean as far from zero as 2, so p = 2 / 8.
    found = compare([1.0, 2.0, 3.0])
    assert (found.n, found.mean, found.std, found.effect) == (3, 2.0, 1.0, 2.0)
    assert found.stderr == pytest.approx(1 / math.sqrt(3))
    assert found.p_sign_flip == 0.25 == found.smallest_p


def test_the_effect_is_the_mean_in_standard_deviations() -> None:
    assert compare([1.0, 4.0, 7.0]).effect == pytest.approx(4 / 3)


def test_a_seed_that_disagrees_raises_p() -> None:
    # 3, 2, -1 sums to 4. Of the patterns +-3 +-2 +-1 those with |sum| >= 4: 6, 4, -4, -6, one each: 4 of 8.
    assert compare([3.0, 2.0, -1.0]).p_sign_flip == 0.5


@settings(max_examples=60)
@given(DIFFERENCES)
def test_the_sign_flip_test_counts_all_patterns(differences: list[float]) -> None:
    observed = abs(sum(differences))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    expected = sum(value >= observed - 1e-9 for value in sums) / len(sums)
    assert compare(differences).p_sign_flip == pytest.approx(expected)


def test_sixteen_seeds_are_the_most_whose_patterns_are_all_counted() -> None:
    assert compare([1.0] * 16).p_sign_flip == 2 / 2**16


@pytest.mark.parametrize("shift", [0.0, 0.3, -0.6])
def test_too_many_patterns_are_sampled_as_scipy_does(shift: float) -> None:
    differences = np.random.default_rng(3).normal(shift, 1.0, 20)
    test = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
    )
    assert compare(differences.tolist()).p_sign_flip == pytest.approx(test.pvalue, abs=0.01)
    assert compare([1.0] * 20).p_sign_flip == pytest.approx(2 / (2**16 + 1))  # the least that can be told


@pytest.mark.parametrize("sign", [1, -1])
def test_of_sampled_patterns_those_count_too_that_reach_just_what_was_found(sign: int) -> None:
    # 12 of 20 seeds gain 0.1, 8 lose it: of 2^20 patterns 25.2% have 12 gains or more (13.2% have more than 12).
    differences = [sign * 0.1] * 12 + [sign * -0.1] * 8
    assert compare(differences).p_sign_flip == pytest.approx(2 * 0.2517, abs=0.01)


def test_no_p_is_above_one() -> None:
    assert compare([0.0] * 20).p_sign_flip == 1.0


def test_the_same_differences_are_told_the_same_every_time() -> None:
    differences = np.random.default_rng(4).normal(0.3, 1.0, 20).tolist()
    assert compare(differences) == compare(differences)


@settings(max_examples=20)
@given(DIFFERENCES)
def test_the_order_of_the_arms_only_changes_signs(differences: list[float]) -> None:
    there, back = compare(differences), compare([-value for value in differences])
    assert back.mean == pytest.approx(-there.mean)
    assert back.p_sign_flip == pytest.approx(there.p_sign_flip)
    assert back.p_wilcoxon == pytest.approx(there.p_wilcoxon)


@settings(max_examples=20)
@given(DIFFERENCES)
def test_the_interval_lies_within_the_differences_and_holds_their_mean(differences: list[float]) -> None:
    found = compare(differences)
    assert found.interval is not None
    low, high = found.interval
    assert min(differences) - 1e-9 <= low <= found.mean + 1e-9
    assert found.mean - 1e-9 <= high <= max(differences) + 1e-9


@pytest.mark.parametrize(("last", "interval"), [(1.0, (0, 3 / 8)), (-1.0, (-3 / 8, 0))])
def test_the_interval_leaves_out_a_fortieth_of_the_resampled_means_on_either_side(
    last: float, interval: tuple[float, float]
) -> None:
    # Eight draws hold the last never with a chance of 34%, once 39%, twice 20%, thrice 5.6%, more often 1.1%.
    assert compare([0.0] * 7 + [last]).interval == interval


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    intervals = [compare(list(rng.normal(1.0, 2.0, 20))).interval for _ in range(100)]
    covered = sum(low <= 1.0 <= high for low, high in filter(None, intervals))
    assert 0.88 <= covered / 100 <= 0.99


def test_wilcoxon_of_five_agreeing_seeds() -> None:
    # The rank sum of five positive differences is the greatest of 2^5 patterns: p = 2 / 32.
    assert compare([1.0, 2.0, 3.0, 4.0, 5.0]).p_wilcoxon == 0.0625


def test_wilcoxon_with_equal_differences_and_a_zero_is_counted_by_hand() -> None:
    """Without the zero 1, 1 and -2 have the ranks 1.5, 1.5 and 3, of which the positive ones add up to 3.

    The sums of the 8 patterns are 0, 1.5, 1.5, 3, 3, 4.5, 4.5, 6: 5 of them are at most 3, and 5 at least.
    """
    assert compare([1.0, 0.0, 1.0, -2.0]).p_wilcoxon == 1.0
    # All positive: 1 of 8 patterns on either side.
    assert compare([1.0, 0.0, 1.0, 2.0]).p_wilcoxon == 0.25


def _counted_wilcoxon(differences: list[float]) -> float:
    """Two-sided p over all sign patterns of the ranks of what differs."""
    differing = [value for value in differences if value]
    ranks = stats.rankdata(np.abs(differing))
    found = sum(rank for rank, value in zip(ranks, differing, strict=True) if value > 0)
    sums = [float(np.dot(ranks, signs)) for signs in itertools.product((0, 1), repeat=len(ranks))]
    least, greatest = sum(each <= found for each in sums), sum(each >= found for each in sums)
    return min(1.0, 2 * min(least, greatest) / len(sums))


@settings(max_examples=60)
@given(st.lists(st.integers(-4, 4).map(float), min_size=2, max_size=9).filter(any))
def test_wilcoxon_counts_all_patterns_also_with_equal_differences_and_zeros(differences: list[float]) -> None:
    assert compare(differences).p_wilcoxon == pytest.approx(_counted_wilcoxon(differences))


@pytest.mark.parametrize("pairs", [2, 5, 13, 14, 16, 17, 30, 50])
def test_wilcoxon_without_equal_differences_is_scipy_s_exact_one(pairs: int) -> None:
    differences = np.random.default_rng(pairs).normal(0.3, 1.0, pairs)
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert compare(differences.tolist()).p_wilcoxon == pytest.approx(expected, rel=1e-9)


def test_wilcoxon_of_more_seeds_than_are_counted_is_scipy_s_approximation() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1.0, 60)
    assert compare(differences.tolist()).p_wilcoxon == pytest.approx(stats.wilcoxon(differences).pvalue)


def test_wilcoxon_s_p_falls_with_every_seed_that_agrees() -> None:
    """Two differences of .01, then .02, .03, ...: the least of 2^n patterns, 2 / 2^13 = 0.000244 with 13 seeds."""
    p_values = [compare([0.01, *(0.01 * step for step in range(1, seeds))]).p_wilcoxon for seeds in range(2, 21)]
    assert p_values == [2 / 2**seeds for seeds in range(2, 21)]
    # Thirteen different differences and a zero are thirteen seeds.
    assert compare([0.0, *(0.01 * step for step in range(1, 14))]).p_wilcoxon == 2 / 2**13


def test_one_seed_has_a_difference_and_nothing_else() -> None:
    found = compare([0.5])
    assert found.mean == 0.5
    assert [found.std, found.interval, found.p_sign_flip, found.p_wilcoxon, found.effect] == [None] * 5
    assert found.smallest_p == 1.0


def test_equal_differences_have_a_point_for_an_interval_and_no_finite_effect() -> None:
    found = compare([2.0, 2.0, 2.0])
    assert (found.interval, found.effect) == ((2.0, 2.0), math.inf)
    nothing = compare([0.0, 0.0])
    assert (nothing.effect, nothing.p_sign_flip, nothing.p_wilcoxon) == (0.0, 1.0, None)


@pytest.mark.parametrize("differences", [[], [float("nan")], [1.0, math.inf]])
def test_what_is_no_difference_is_refused(differences: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        compare(differences)


@pytest.mark.parametrize(("n", "p"), [(1, 1.0), (3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_the_smallest_p_halves_with_every_seed(n: int, p: float) -> None:
    assert smallest_p(n) == p
    assert compare([1.0] * n).p_sign_flip in {p, None}


@pytest.mark.parametrize(("comparisons", "pairs"), [(1, 6), (2, 7), (3, 7), (4, 8), (6, 8), (7, 9)])
def test_so_many_pairs_reach_the_level_after_the_correction_and_one_fewer_cannot(comparisons: int, pairs: int) -> None:
    """Three comparisons: 3 * 2 / 2^7 = 0.047 with 7 seeds, 0.094 with 6."""
    assert fewest_pairs(comparisons) == pairs
    assert comparisons * smallest_p(pairs) < 0.05 < comparisons * smallest_p(pairs - 1)


def test_no_comparison_needs_no_pairs() -> None:
    with pytest.raises(ValueError, match="comparisons must be at least 1, got 0"):
        fewest_pairs(0)


def test_the_sign_flip_test_alone_is_silent_where_it_cannot_reach_the_level() -> None:
    # Six pairs that agree: 2 of 64 patterns. With five 2 of 32 is the least, which is above 5%.
    assert sign_flip_p([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == 0.03125
    assert sign_flip_p([1.0, 2.0, 3.0, 4.0, 5.0]) is None


@pytest.mark.parametrize(("effect", "n"), [(0.5, 34), (0.8, 15), (1.0, 10), (-1.0, 10), (math.inf, 6)])
def test_the_number_of_seeds_is_that_of_published_tables(effect: float, n: int) -> None:
    # Two-sided 5%, power 80%, paired t-test: 34, 15 and 10 pairs (G*Power 3.1).
    assert pairs_needed(effect) == n


@given(st.floats(0.2, 3.0))
@example(1.27)  # 7.02 seeds; 6.98 with two degrees of freedom more
def test_so_many_seeds_have_the_power_and_one_fewer_has_not(effect: float) -> None:
    n = pairs_needed(effect)

    def power(n: int) -> float:
        return float(stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, effect * math.sqrt(n)))

    assert power(n) >= 0.8 - 1e-9
    assert n == 6 or power(n - 1) < 0.8


def test_a_stricter_level_needs_more_seeds_for_the_test_to_reach_it() -> None:
    assert pairs_needed(math.inf, significance=0.01) == 8  # 2^-7 is the first power of two below 0.01


def test_more_power_needs_more_seeds() -> None:
    assert pairs_needed(0.5, power=0.9) == 44  # G*Power 3.1


def test_an_effect_that_nobody_can_show_asks_for_the_most_seeds() -> None:
    assert pairs_needed(1e-6) == 10_000


@pytest.mark.parametrize(("significance", "power"), [(0.0, 0.8), (0.8, 0.8), (0.05, 1.0), (0.05, 1.5)])
def test_levels_out_of_range_are_refused(significance: float, power: float) -> None:
    with pytest.raises(ValueError, match=f"must hold, got {significance} and {power}"):
        pairs_needed(0.5, significance=significance, power=power)


@pytest.mark.parametrize("effect", [0.0, math.nan])
def test_no_number_of_seeds_shows_nothing(effect: float) -> None:
    with pytest.raises(ValueError, match="effect"):
        pairs_needed(effect)


def test_holm_adjusts_by_rank() -> None:
    # Ascending 0.01, 0.02, 0.04 times 3, 2, 1 is 0.03, 0.04, 0.04.
    assert holm({"a": 0.04, "b": 0.01, "c": 0.02}) == {"a": 0.04, "b": 0.03, "c": 0.04}
    assert holm({}) == {}


@given(st.dictionaries(st.text(), st.floats(0, 1), max_size=6))
def test_holm_lowers_no_p_and_keeps_their_order(p_values: dict[str, float]) -> None:
    adjusted = holm(p_values)
    assert list(adjusted) == list(p_values)
    assert all(p_values[name] <= adjusted[name] <= 1 for name in p_values)
    by_raw = sorted(p_values, key=lambda name: p_values[name])
    assert [adjusted[name] for name in by_raw] == sorted(adjusted.values())
