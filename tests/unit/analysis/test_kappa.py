"""Cohen's kappa, its interval, and how rarely that is wrong although it is looked at all the time."""

from random import Random

import pytest

from proxy.analysis.kappa import Kappa, kappa

ALPHA = 0.05

RATINGS = {
    ("a", "a"): 53, ("a", "b"): 5, ("a", "c"): 2,
    ("b", "a"): 11, ("b", "b"): 14, ("b", "c"): 5,
    ("c", "a"): 1, ("c", "b"): 6, ("c", "c"): 3,
}  # fmt: skip


def half_width(decisions: dict[tuple[str, str], int]) -> float:
    found = kappa(decisions, ALPHA)
    return (found.upper - found.lower) / 2


def test_the_value_is_the_agreement_beyond_chance() -> None:
    observed, chance = 0.7, 0.6 * 0.65 + 0.3 * 0.25 + 0.1 * 0.1
    assert kappa(RATINGS, ALPHA).value == pytest.approx((observed - chance) / (1 - chance))


def test_the_variance_is_that_of_the_published_formula() -> None:
    """The interval's width depends on the variance and the number of pairs only, so two tables of as many pairs compare
    their variances: with the formula as Fleiss, Cohen and Everitt wrote it."""
    balanced = {("a", "a"): 45_000, ("a", "b"): 5_000, ("b", "a"): 5_000, ("b", "b"): 45_000}
    ratings = {cell: 1_000 * count for cell, count in RATINGS.items()}
    ratio = (half_width(ratings) / half_width(balanced)) ** 2
    assert ratio == pytest.approx(published(ratings) / published(balanced), rel=0.001)


def published(decisions: dict[tuple[str, str], int]) -> float:
    pairs = sum(decisions.values())
    words = sorted({word for cell in decisions for word in cell})
    share = {cell: count / pairs for cell, count in decisions.items()}
    rows = {i: sum(share.get((i, j), 0.0) for j in words) for i in words}
    columns = {j: sum(share.get((i, j), 0.0) for i in words) for j in words}
    po, pe = sum(share.get((i, i), 0.0) for i in words), sum(rows[i] * columns[i] for i in words)
    same = sum(share.get((i, i), 0.0) * ((1 - pe) - (rows[i] + columns[i]) * (1 - po)) ** 2 for i in words)
    other = sum(share.get((i, j), 0.0) * (columns[i] + rows[j]) ** 2 for i in words for j in words if i != j)
    return (same + (1 - po) ** 2 * other - (po * pe - 2 * pe + po) ** 2) / (1 - pe) ** 4


def test_agreement_by_chance_alone_is_none() -> None:
    assert kappa({("y", "y"): 81, ("y", "n"): 9, ("n", "y"): 9, ("n", "n"): 1}, ALPHA).value == pytest.approx(0.0)


@pytest.mark.parametrize("decisions", [{}, {("y", "y"): 1_000}, {("y", "y"): 0, ("y", "n"): 0}])
def test_without_two_different_decisions_nothing_is_known(decisions: dict[tuple[str, str], int]) -> None:
    assert kappa(decisions, ALPHA) == Kappa(None, -1.0, 1.0)


def test_a_few_rare_decisions_that_agree_do_not_make_it_certain() -> None:
    found = kappa({("y", "y"): 490, ("n", "n"): 2}, ALPHA)
    assert found.value == 1.0
    assert found.lower < 0.5
    assert kappa({("y", "y"): 400, ("n", "n"): 400}, ALPHA).lower > 0.95


def test_more_pairs_narrow_the_interval_around_the_value() -> None:
    found = [kappa({cell: many * count for cell, count in RATINGS.items()}, ALPHA) for many in (1, 10, 100, 1_000)]
    lower, upper = [each.lower for each in found], [each.upper for each in found]
    assert lower == sorted(lower)
    assert upper == sorted(upper, reverse=True)
    assert all(each.lower < 0.42857 < each.upper for each in found)
    assert found[-1].upper - found[-1].lower < 0.02


def test_a_stricter_alpha_widens_it() -> None:
    assert kappa(RATINGS, 0.001).lower < kappa(RATINGS, 0.05).lower


@pytest.mark.parametrize(("shares", "truth"), [((0.475, 0.025, 0.025, 0.475), 0.9), ((0.02, 0.01, 0.01, 0.96), 0.6564)])
def test_the_lower_bound_is_rarely_above_the_truth_although_looked_at_all_the_time(
    shares: tuple[float, ...], truth: float
) -> None:
    rng, called = Random(f"kappa {truth}"), 0
    cells = [("y", "y"), ("y", "n"), ("n", "y"), ("n", "n")]
    for _ in range(60):
        seen = dict.fromkeys(cells, 0)
        for pairs, cell in enumerate(rng.choices(cells, shares, k=2_000), 1):
            seen[cell] += 1
            if pairs >= 100 and pairs % 20 == 0 and kappa(seen, ALPHA).lower > truth:
                called += 1
                break
    assert called <= 5  # 8 % of the runs; alpha is 5 %
