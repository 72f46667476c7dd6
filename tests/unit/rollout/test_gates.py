"""The gates: what each asks for, at which stages it stands, and what it says is missing."""

from dataclasses import replace

import pytest

from proxy.model.rollouts import ArmCount, Evidence, GateResult, RolloutState
from proxy.model.words import Phase, Verdict
from proxy.rollout.gates import evaluate
from proxy.rollout.plan import Plan
from tests.unit.rollout.examples import FIXED, GATES, GOOD, HOUR, NOW, PLAN, USERS, at_stage


def gate(name: str, evidence: Evidence, state: RolloutState | None = None, plan: Plan = PLAN) -> GateResult:
    results = {result.name: result for result in evaluate(plan, state or at_stage(1), evidence, USERS, NOW)}
    return results[name]


def names(state: RolloutState, plan: Plan = PLAN) -> list[str]:
    return [result.name for result in evaluate(plan, state, Evidence(), USERS, NOW)]


def test_which_gates_a_stage_has() -> None:
    with_limit = replace(PLAN, gates=replace(GATES, slow_margin=0.01))
    without_copies = replace(PLAN, shadow=0)
    assert names(at_stage(0)) == ["soak", "min_samples", "agreement", "error_rate"]
    assert names(at_stage(1)) == ["soak", "min_samples", "agreement", "error_rate"]
    assert names(at_stage(1, with_limit), with_limit) == ["soak", "min_samples", "agreement", "error_rate", "latency"]
    assert names(at_stage(1), without_copies) == ["soak", "min_samples", "error_rate"]
    assert names(at_stage(0), without_copies) == ["soak", "min_samples", "agreement", "error_rate"]
    assert names(at_stage(3)) == ["soak", "min_samples"]
    assert names(at_stage(0, FIXED), FIXED) == []
    assert names(replace(at_stage(1), stage=9)) == []


def test_nothing_seen_passes_nothing() -> None:
    assert {result.verdict for result in evaluate(PLAN, at_stage(0), Evidence(), USERS, NOW)} == {Verdict.INCONCLUSIVE}


def test_good_evidence_and_a_full_soak_pass_everything() -> None:
    soaked = replace(at_stage(1), soaked=HOUR)
    assert {result.verdict for result in evaluate(PLAN, soaked, GOOD, USERS, NOW)} == {Verdict.PASSED}


def test_soak_says_how_long_and_until_when() -> None:
    waiting = gate("soak", GOOD, replace(at_stage(1), soaked=600.0))
    assert (waiting.verdict, waiting.value, waiting.threshold) == (Verdict.INCONCLUSIVE, 600.0, HOUR)
    assert waiting.reason == "held 10m of 1h, 50m to go, until 2027-01-15 08:50:00 UTC"
    paused = gate("soak", GOOD, replace(at_stage(1), soaked=600.0, phase=Phase.PAUSED))
    assert paused.reason == "held 10m of 1h, 50m to go, but not while paused"
    assert gate("soak", GOOD, replace(at_stage(1), soaked=HOUR)).verdict is Verdict.PASSED


def test_a_shadow_stage_counts_comparable_pairs() -> None:
    seen = Evidence(agent=ArmCount(10_000), matched=300, mismatched=10, incomparable=5_000)
    result = gate("min_samples", seen, at_stage(0))
    assert (result.verdict, result.samples) == (Verdict.INCONCLUSIVE, 310)
    assert result.reason == "310 of 500 comparable pairs, 190 to go; 5000 pairs could not be compared"
    assert gate("min_samples", replace(seen, matched=490), at_stage(0)).verdict is Verdict.PASSED


def test_a_serving_stage_counts_the_agents_requests() -> None:
    result = gate("min_samples", Evidence(agent=ArmCount(499), matched=0), at_stage(1))
    assert (result.verdict, result.reason) == (Verdict.INCONCLUSIVE, "499 of 500 agent requests, 1 to go")
    assert gate("min_samples", Evidence(agent=ArmCount(500)), at_stage(1)).verdict is Verdict.PASSED


def test_a_shadow_stage_without_copies_says_why_nothing_comes() -> None:
    plan = replace(PLAN, shadow=0)
    assert gate("min_samples", Evidence(), at_stage(0, plan), plan).reason.endswith(
        "none can come: shadow.percent is 0"
    )


@pytest.mark.parametrize(
    ("matched", "mismatched", "verdict", "reason"),
    [
        (0, 0, Verdict.INCONCLUSIVE, "no comparable pairs yet; 95.00% must surely agree"),
        (500, 5, Verdict.PASSED, "99.01% of 505 pairs agree, surely more than 95.00%"),
        (400, 100, Verdict.FAILED, "80.00% of 500 pairs agree, surely fewer than 95.00%"),
    ],
)
def test_agreement(matched: int, mismatched: int, verdict: Verdict, reason: str) -> None:
    result = gate("agreement", Evidence(matched=matched, mismatched=mismatched))
    assert (result.verdict, result.reason, result.threshold) == (verdict, reason, 0.95)


def test_agreement_is_held_against_its_bound_and_not_against_its_value() -> None:
    result = gate("agreement", Evidence(matched=97, mismatched=3))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.value == 0.97
    assert result.bound is not None
    assert result.bound < 0.95
    assert "must be sure" in result.reason


def test_agreement_of_incomparable_pairs_only_says_so() -> None:
    result = gate("agreement", Evidence(incomparable=40))
    assert result.reason == "no comparable pairs yet, 40 could not be compared; 95.00% must surely agree"


def test_a_floor_of_everything_says_that_it_cannot_be_shown() -> None:
    plan = replace(PLAN, gates=replace(GATES, agreement=1.0))
    result = gate("agreement", Evidence(matched=1_000_000), plan=plan)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason.endswith("which no number of pairs can show: lower gates.agreement")


def test_no_floor_asks_for_nothing() -> None:
    plan = replace(PLAN, gates=replace(GATES, agreement=0.0))
    result = gate("agreement", Evidence(), plan=plan)
    assert (result.verdict, result.reason) == (Verdict.PASSED, "no agreement is asked for")


def arms(agent: tuple[int, int], legacy: tuple[int, int]) -> Evidence:
    return Evidence(legacy=ArmCount(*legacy), agent=ArmCount(*agent))


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (arms(agent=(499, 0), legacy=(9_000, 0)), Verdict.INCONCLUSIVE),
        (arms(agent=(500, 0), legacy=(99, 0)), Verdict.INCONCLUSIVE),
        (arms(agent=(500, 0), legacy=(100, 0)), Verdict.PASSED),
        (arms(agent=(1000, 10), legacy=(9_000, 90)), Verdict.PASSED),
        (arms(agent=(1000, 12), legacy=(9_000, 90)), Verdict.PASSED),
        (arms(agent=(1000, 14), legacy=(9_000, 90)), Verdict.INCONCLUSIVE),
        (arms(agent=(1000, 100), legacy=(9_000, 90)), Verdict.FAILED),
        (arms(agent=(1000, 200), legacy=(9_000, 1_800)), Verdict.PASSED),
    ],
)
def test_error_rate(evidence: Evidence, verdict: Verdict) -> None:
    assert gate("error_rate", evidence).verdict is verdict


def test_error_rate_tells_its_numbers() -> None:
    result = gate("error_rate", arms(agent=(1000, 100), legacy=(9_000, 90)))
    assert result.value == 0.1
    assert result.threshold == pytest.approx(0.012)
    assert (
        result.reason
        == "10.00% of 1000 agent requests failed, legacy's 1.00%: surely more than the margin of 0.20% worse"
    )
    too_few = gate("error_rate", arms(agent=(3, 0), legacy=(20, 0)))
    assert too_few.reason == "too few requests to compare: the agent had 3 of 500, legacy 20 of 100"


def test_latency_counts_the_slow_ones() -> None:
    plan = replace(PLAN, gates=replace(GATES, slow_margin=0.01))
    slow = Evidence(legacy=ArmCount(9_000, 0, 9), agent=ArmCount(1_000, 0, 300), matched=1)
    assert gate("latency", slow, plan=plan).verdict is Verdict.FAILED
    assert gate("latency", replace(slow, agent=ArmCount(1_000, 0, 11)), plan=plan).verdict is Verdict.PASSED
