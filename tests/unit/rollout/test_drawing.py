"""Is the experiment sound? These gates hold; they never fail."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.gates_schema import Floor, SampleRatio
from proxy.model.rollouts import Evidence, Users
from proxy.model.words import Verdict
from proxy.rollout.drawing import key_coverage, sample_ratio
from tests.unit.rollout.examples import at_stage

NINETY = Floor.model_validate({"min": "90%"})


def test_key_coverage_is_a_report_where_nothing_is_asked_of_it() -> None:
    result = key_coverage(None, Evidence(drawn=1_000, no_key=400))
    assert (result.verdict, result.value, result.threshold, result.dry_run) == (Verdict.PASSED, 0.6, None, True)
    assert result.reason == "60.00% of 1000 requests carry a key; nothing is asked of it"
    assert key_coverage(None, Evidence()).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("no_key", "verdict", "reason"),
    [
        (20, Verdict.PASSED, "98.00% of 1000 requests carry a key, surely at least 90.00%"),
        (95, Verdict.INCONCLUSIVE, "90.50% of 1000 requests carry a key, surely 87"),
        (900, Verdict.INCONCLUSIVE, "surely fewer than 90.00%: see where rollout.key looks"),
    ],
)
def test_key_coverage(no_key: int, verdict: Verdict, reason: str) -> None:
    result = key_coverage(NINETY, Evidence(drawn=1_000, no_key=no_key))
    assert (result.verdict, result.dry_run, result.threshold) == (verdict, False, 0.9)
    assert reason in result.reason


def test_a_split_as_it_was_asked_for() -> None:
    result = sample_ratio(SampleRatio(), at_stage(1), Users(legacy=950, agent=50))
    assert result is not None
    assert (result.verdict, result.value, result.threshold, result.samples) == (Verdict.PASSED, 0.05, 0.05, 1_000)
    assert result.reason == "50 of 1000 users are with the agent, 5.00%, which is likely where 5.000% are asked for"


def test_a_split_that_went_wrong_holds() -> None:
    result = sample_ratio(SampleRatio(), at_stage(1), Users(legacy=850, agent=150))
    assert result is not None
    assert (result.verdict, result.dry_run) == (Verdict.INCONCLUSIVE, False)
    assert "not the 5.000% asked for" in result.reason


def test_without_users_the_split_is_not_judged() -> None:
    result = sample_ratio(SampleRatio(dry_run=True), at_stage(1), Users())
    assert result is not None
    assert (result.verdict, result.dry_run, result.reason) == (Verdict.INCONCLUSIVE, True, "no users yet")


def test_a_single_user_is_in_one_arm_and_that_is_no_fault() -> None:
    result = sample_ratio(SampleRatio(), replace(at_stage(1), weight=50_000), Users(agent=1))
    assert result is not None
    assert result.verdict is Verdict.PASSED


def test_where_all_users_are_in_one_arm_there_is_no_split() -> None:
    assert sample_ratio(SampleRatio(), at_stage(0), Users(legacy=100)) is None
    assert sample_ratio(SampleRatio(), at_stage(3), Users(agent=100)) is None


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**5), st.integers(0, 10**5))
def test_neither_ever_fails(drawn: int, no_key: int, legacy: int, agent: int) -> None:
    ratio = sample_ratio(SampleRatio(), at_stage(1), Users(legacy, agent))
    assert ratio is not None
    assert ratio.verdict is not Verdict.FAILED
    assert key_coverage(NINETY, Evidence(drawn=drawn, no_key=no_key)).verdict is not Verdict.FAILED
