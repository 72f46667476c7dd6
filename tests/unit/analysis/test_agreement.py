"""The agreement test: how soon it promotes, how rarely it promotes wrongly, and what bound it shows."""

from math import exp
from random import Random
from statistics import median

import pytest

from proxy.analysis import agreement
from proxy.model.words import Verdict

ALPHA = 0.05


def pairs_until_promoted(rng: Random, truth: float, floor: float, most: int) -> int | None:
    """Looks after every pair, as the control process does."""
    ok = bad = 0
    for pairs in range(1, most + 1):
        if rng.random() < truth:
            ok += 1
        else:
            bad += 1
        if agreement.verdict(ok, bad, floor, ALPHA) is Verdict.PASSED:
            return pairs
    return None


@pytest.mark.parametrize(("truth", "floor", "expected"), [(0.98, 0.95, 242), (0.99, 0.95, 127), (0.96, 0.90, 119)])
def test_a_good_agent_is_promoted_after_about_as_many_pairs_as_promised(
    truth: float, floor: float, expected: int
) -> None:
    rng = Random(f"{truth} {floor}")
    needed = [pairs_until_promoted(rng, truth, floor, 4000) or 4000 for _ in range(151)]
    assert 0.75 * expected <= median(needed) <= 1.25 * expected


def test_an_agent_at_the_floor_is_rarely_promoted_although_looked_at_after_every_pair() -> None:
    rng = Random("at the floor")
    promoted = sum(pairs_until_promoted(rng, 0.95, 0.95, 1500) is not None for _ in range(200))
    assert promoted <= 12  # 6 % of the runs; alpha is 5 %


@pytest.mark.parametrize("floor", [0.5, 0.9, 0.95, 0.99])
def test_the_bet_is_fair_where_the_truth_is_the_floor(floor: float) -> None:
    after_ok, after_bad = exp(agreement.log_evidence(1, 0, floor)), exp(agreement.log_evidence(0, 1, floor))
    assert floor * after_ok + (1 - floor) * after_bad == pytest.approx(1.0)
    after_bad, after_ok = exp(agreement.log_excess(1, 0, 1 - floor)), exp(agreement.log_excess(0, 1, 1 - floor))
    assert floor * after_ok + (1 - floor) * after_bad == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("ok", "bad", "floor", "verdict"),
    [
        (0, 0, 0.95, Verdict.INCONCLUSIVE),
        (10, 0, 0.95, Verdict.INCONCLUSIVE),
        (500, 5, 0.95, Verdict.PASSED),
        (95, 5, 0.95, Verdict.INCONCLUSIVE),
        (400, 100, 0.95, Verdict.FAILED),
        (0, 60, 0.95, Verdict.FAILED),
        (10_000_000, 0, 1.0, Verdict.INCONCLUSIVE),
        (10, 1, 1.0, Verdict.FAILED),
        (0, 0, 0.0, Verdict.PASSED),
        (0, 1000, 0.0, Verdict.PASSED),
    ],
)
def test_verdict(ok: int, bad: int, floor: float, verdict: Verdict) -> None:
    assert agreement.verdict(ok, bad, floor, ALPHA) is verdict


def test_a_failure_may_need_more_than_a_promotion() -> None:
    assert agreement.verdict(85, 15, 0.95, 0.05) is Verdict.FAILED
    assert agreement.verdict(85, 15, 0.95, 0.05, 0.0001) is Verdict.INCONCLUSIVE
    assert agreement.verdict(700, 150, 0.95, 0.05, 0.0001) is Verdict.FAILED
    assert agreement.verdict(500, 5, 0.95, 0.05, 0.0001) is Verdict.PASSED


@pytest.mark.parametrize(("ok", "bad"), [(1, 0), (30, 1), (500, 10), (500, 0), (3, 40), (1_000_000, 50_000), (7, 0)])
def test_the_lower_bound_is_the_largest_floor_that_passes(ok: int, bad: int) -> None:
    bound = agreement.lower_bound(ok, bad, ALPHA)
    assert agreement.verdict(ok, bad, bound, ALPHA) is Verdict.PASSED
    assert agreement.verdict(ok, bad, min(1.0, bound + 1e-4), ALPHA) is not Verdict.PASSED
    assert bound <= ok / (ok + bad)


def test_the_lower_bound_of_nothing_is_nothing() -> None:
    assert agreement.lower_bound(0, 0, ALPHA) == 0.0
    assert agreement.lower_bound(0, 10, ALPHA) == 0.0


def test_more_evidence_narrows_the_bound() -> None:
    bounds = [agreement.lower_bound(99 * many, many, ALPHA) for many in (1, 5, 25, 125, 625)]
    assert bounds == sorted(bounds)
    assert 0.985 < bounds[-1] < 0.99


def test_a_share_above_a_ceiling_is_found_and_one_at_it_is_not() -> None:
    assert agreement.exceeds(bad=100, ok=400, ceiling=0.05, alpha=ALPHA)
    assert not agreement.exceeds(bad=25, ok=475, ceiling=0.05, alpha=ALPHA)
    assert not agreement.exceeds(bad=0, ok=0, ceiling=0.05, alpha=ALPHA)
    assert not agreement.exceeds(bad=10, ok=0, ceiling=1.0, alpha=ALPHA)


def test_a_share_at_its_ceiling_is_rarely_called_above_it() -> None:
    rng = Random("at the ceiling")
    called = 0
    for _ in range(200):
        bad = 0
        for seen in range(1, 601):
            bad += rng.random() < 0.05
            if agreement.exceeds(bad, seen - bad, 0.05, ALPHA):
                called += 1
                break
    assert called <= 12  # 6 %
