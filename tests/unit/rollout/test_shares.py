"""Shares against floors and ceilings: what is proof, what is not, and how much is missing."""

import pytest

from proxy.model.words import Verdict
from proxy.rollout.shares import at_least, at_most, to_go


@pytest.mark.parametrize("limit", [0.0, 0.05, 0.95, 1.0])
def test_without_samples_nothing_is_shown(limit: float) -> None:
    assert at_least(0, 0, limit, 0) == (Verdict.INCONCLUSIVE, None, None, 0)
    assert at_most(0, 0, limit, 0) == (Verdict.INCONCLUSIVE, None, None, 0)


@pytest.mark.parametrize(
    ("ok", "bad", "verdict"),
    [
        (500, 5, Verdict.PASSED),
        (97, 3, Verdict.INCONCLUSIVE),
        (450, 50, Verdict.FAILED),
        (80, 12, Verdict.INCONCLUSIVE),  # sure in 19 of 20 cases, which is not enough for a rollback
    ],
)
def test_a_floor_takes_proof_to_pass_and_more_to_fail(ok: int, bad: int, verdict: Verdict) -> None:
    assert at_least(ok, bad, 0.95, 50).verdict is verdict


def test_few_samples_fail_nothing() -> None:
    assert at_least(0, 49, 0.95, 50).verdict is Verdict.INCONCLUSIVE
    assert at_least(0, 50, 0.95, 50).verdict is Verdict.FAILED


def test_a_bound_is_on_the_side_that_has_to_be_shown() -> None:
    floor, ceiling = at_least(970, 30, 0.95, 50), at_most(30, 970, 0.05, 50)
    assert floor.verdict is ceiling.verdict
    assert floor.value == pytest.approx(0.97)
    assert ceiling.value == pytest.approx(0.03)
    assert floor.bound is not None
    assert floor.bound < 0.97
    assert ceiling.bound == pytest.approx(1 - floor.bound)


def test_what_is_missing_is_told_roughly() -> None:
    assert to_go(50, 0, 0.95, "pairs") == ", about 33 more pairs at this rate"
    assert to_go(970, 30, 0.95, "pairs") == ""
    assert to_go(485, 15, 0.95, "pairs") == ", about 400 more pairs at this rate"


def test_a_rate_that_will_never_do_says_so() -> None:
    assert to_go(94, 6, 0.95, "pairs") == ", which takes a better rate"
    assert to_go(0, 0, 0.95, "pairs") == to_go(9, 0, 1.0, "pairs") == ""
