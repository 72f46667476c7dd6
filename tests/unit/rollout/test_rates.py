"""The agent's rates against legacy's and against ceilings."""

from dataclasses import replace

import pytest

from proxy.config.gates_schema import Allowance, Ceiling
from proxy.model.rollouts import ArmCount, Evidence, GateResult, RolloutState
from proxy.model.words import Verdict
from proxy.rollout import rates
from tests.unit.rollout.examples import at_stage

MARGIN = Allowance.model_validate({"margin": "0.2%"})
MAX = Allowance.model_validate({"max": "5%"})
BOTH = Allowance.model_validate({"margin": "0.2%", "max": "5%"})
TWENTIETH = Ceiling.model_validate({"max": "5%"})


def arms(agent: tuple[int, int], legacy: tuple[int, int]) -> Evidence:
    return Evidence(legacy=ArmCount(*legacy), agent=ArmCount(*agent))


def errors(evidence: Evidence, allowed: Allowance = MARGIN, state: RolloutState | None = None) -> GateResult:
    result = rates.error_rate(allowed, state or at_stage(1), evidence, 500)
    assert result is not None
    return result


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
        (arms(agent=(1000, 30), legacy=(100, 0)), Verdict.INCONCLUSIVE),  # 100 requests say little of legacy
    ],
)
def test_against_legacy(evidence: Evidence, verdict: Verdict) -> None:
    assert errors(evidence).verdict is verdict


def test_the_numbers_are_told() -> None:
    result = errors(arms(agent=(1000, 100), legacy=(9_000, 90)))
    assert result.value == 0.1
    assert result.threshold == pytest.approx(0.012)
    assert result.reason == (
        "10.00% of 1000 agent requests failed, legacy's 1.00%: surely more than the margin of 0.20% worse"
    )
    too_few = errors(arms(agent=(3, 0), legacy=(20, 0)))
    assert too_few.reason == "too few requests to compare: the agent had 3 of 500, legacy 20 of 100"
    over = errors(arms(agent=(1000, 14), legacy=(9_000, 90)))
    assert over.reason.endswith("over the margin of 0.20%, which may be chance; it must come down to 1.20%")


def test_an_outage_of_both_arms_is_not_blamed_on_the_one_that_fails_at_once() -> None:
    """The agent refuses; legacy hangs, and has not answered yet what was drawn to it in the meantime."""
    hanging = replace(arms(agent=(3_000, 1_000), legacy=(17_000, 100)), drawn=27_000, served=1_500)
    assert errors(hanging).verdict is Verdict.INCONCLUSIVE
    assert errors(replace(hanging, drawn=18_600)).verdict is Verdict.FAILED, "where legacy has answered all but 100"


@pytest.mark.parametrize(
    ("agent", "verdict", "reason"),
    [
        ((0, 0), Verdict.INCONCLUSIVE, "no requests yet; surely at most 5.00% may be bad"),
        ((500, 5), Verdict.PASSED, "1.00% of 500 agent requests failed, surely at most 5.00%"),
        ((500, 24), Verdict.INCONCLUSIVE, "at most 5.00% must be sure"),
        ((499, 100), Verdict.INCONCLUSIVE, "which takes a better rate"),
        ((500, 100), Verdict.FAILED, "20.00% of 500 agent requests failed, surely more than 5.00%"),
    ],
)
def test_against_a_ceiling_whatever_legacy_does(agent: tuple[int, int], verdict: Verdict, reason: str) -> None:
    for state in (at_stage(1), at_stage(3)):
        result = errors(arms(agent, legacy=(9_000, 9_000)), MAX, state)
        assert (result.verdict, result.threshold) == (verdict, 0.05)
        assert reason in result.reason


def test_of_two_limits_the_worse_verdict_counts_and_both_are_told() -> None:
    result = errors(arms(agent=(500, 5), legacy=(9_000, 0)), BOTH)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.threshold == pytest.approx(0.002)
    assert result.reason.startswith("1.00% of 500 agent requests failed, legacy's 0.00%: over the margin of 0.20%")
    assert result.reason.endswith("; 1.00% of 500 agent requests failed, surely at most 5.00%")
    full = errors(arms(agent=(500, 5), legacy=(0, 0)), BOTH, at_stage(3))
    assert full.verdict is Verdict.PASSED, "at full weight there is only the ceiling"


def test_at_full_weight_a_margin_has_nothing_to_compare_with() -> None:
    assert rates.error_rate(MARGIN, at_stage(3), arms((500, 0), (500, 0)), 500) is None


def test_latency_counts_the_slow_ones() -> None:
    slow = Evidence(legacy=ArmCount(9_000, 0, 9), agent=ArmCount(1_000, 0, 300))
    result = rates.latency(MARGIN, at_stage(1), slow, 500)
    assert result is not None
    assert (result.name, result.verdict, result.value) == ("latency", Verdict.FAILED, 0.3)


def test_fallbacks_are_of_what_the_agent_was_to_serve() -> None:
    seen = Evidence(agent=ArmCount(9_000), served=1_000, fallbacks=10)
    result = rates.fallback_rate(TWENTIETH, seen, 500)
    assert (result.name, result.verdict, result.value) == ("fallback_rate", Verdict.PASSED, 0.01)
    assert result.reason == "1.00% of 1000 served requests fell back, surely at most 5.00%"
    assert rates.fallback_rate(TWENTIETH, replace(seen, fallbacks=300), 500).verdict is Verdict.FAILED


def test_escalations_are_of_all_that_the_agent_was_asked() -> None:
    result = rates.escalation_rate(TWENTIETH, Evidence(agent=ArmCount(1_000), escalated=40), 500)
    assert (result.verdict, result.value) == (Verdict.INCONCLUSIVE, 0.04)
    assert "surely at most 6" in result.reason
    assert rates.escalation_rate(TWENTIETH, Evidence(escalated=3), 500).verdict is Verdict.INCONCLUSIVE


def test_a_report_is_marked_as_one() -> None:
    reported = Allowance.model_validate({"max": "5%", "dry_run": True})
    assert errors(arms((500, 100), (0, 0)), reported).dry_run
    assert rates.fallback_rate(Ceiling.model_validate({"max": "5%", "dry_run": True}), Evidence(), 500).dry_run
