"""Which gates stand where. What each asks for is tested with its subject."""

from dataclasses import replace
from math import isfinite

from hypothesis import given
from hypothesis import strategies as st

from proxy.config.freeze import Freeze, parse_window
from proxy.model.rollouts import ArmCount, Evidence, RolloutState, Users
from proxy.model.words import Phase, Verdict
from proxy.rollout.gates import evaluate
from proxy.rollout.plan import Plan, PlanStage, Split
from tests.unit.rollout.examples import FIXED, GOOD, HOUR, NOW, PLAN, STAGES, USERS, asking, at_stage

ALL = replace(
    asking(
        latency={"margin": "1%"},
        segments={"by": "$.type"},
        direction={"yes": ["approve"]},
        kappa={"min": "60%"},
        fallback_rate={"max": "5%"},
        escalation_rate={"max": "20%"},
    ),
    stages=(*(replace(stage, manual=True) for stage in STAGES[:3]), STAGES[3]),
    freeze=Freeze((parse_window("Fri 16:00 - Mon 08:00"),)),
)


def names(state: RolloutState, plan: Plan = PLAN) -> list[str]:
    return [result.name for result in evaluate(plan, state, Evidence(), Users(), NOW)]


def test_which_gates_a_stage_has() -> None:
    assert names(at_stage(0)) == ["soak", "min_samples", "agreement", "error_rate", "key_coverage"]
    assert names(at_stage(1)) == ["soak", "min_samples", "agreement", "error_rate", "key_coverage", "sample_ratio"]
    assert names(at_stage(3)) == ["soak", "min_samples", "key_coverage"]


def test_all_gates_that_can_be_asked_for() -> None:
    assert names(at_stage(1), ALL) == [
        "soak", "min_samples", "agreement", "segments", "direction", "kappa", "error_rate", "latency", "fallback_rate",
        "escalation_rate", "key_coverage", "sample_ratio", "freeze", "approval",
    ]  # fmt: skip


def test_gates_that_cannot_be_judged_are_not_listed() -> None:
    shadow, full = names(at_stage(0), ALL), names(at_stage(3), ALL)
    assert {"fallback_rate", "sample_ratio"}.isdisjoint(shadow), "the agent serves nobody"
    assert {"agreement", "segments", "direction", "kappa", "error_rate", "latency"}.isdisjoint(full), "legacy has none"
    without_copies = replace(ALL, shadow=0)
    assert {"agreement", "segments", "direction", "kappa"}.isdisjoint(names(at_stage(1), without_copies))
    assert "agreement" in names(at_stage(0, without_copies), without_copies), "it stays inconclusive"


def test_a_ceiling_of_errors_holds_at_full_weight_too() -> None:
    plan = asking(error_rate={"margin": "0.2%", "max": "1%"})
    assert "error_rate" in names(at_stage(3), plan)


def test_with_a_holdback_the_arms_are_compared_to_the_end() -> None:
    plan = replace(PLAN, stages=(STAGES[0], PlanStage("full", 99_000, HOUR)))
    assert {"agreement", "error_rate", "sample_ratio"} <= set(names(at_stage(1, plan), plan))


def test_a_completed_rollout_waits_for_no_calendar_and_no_operator() -> None:
    completed = replace(at_stage(1), phase=Phase.COMPLETED)
    assert {"freeze", "approval"}.isdisjoint(names(completed, ALL))


def test_a_fixed_split_has_reports_only() -> None:
    results = evaluate(FIXED, at_stage(0, FIXED), GOOD, USERS, NOW)
    assert [(result.name, result.dry_run) for result in results] == [
        ("agreement", True), ("error_rate", True), ("key_coverage", True), ("sample_ratio", True),
    ]  # fmt: skip
    dark = replace(FIXED, split=Split(weight=0, shadow=20_000))
    assert names(at_stage(0, dark), dark) == ["agreement", "error_rate", "key_coverage"]


def test_a_stage_that_the_plan_does_not_have_has_no_gates() -> None:
    assert names(replace(at_stage(1), stage=9)) == []


def test_nothing_seen_passes_nothing() -> None:
    """Where nothing stands in the calendar. (A freeze asks no data.)"""
    for plan in (PLAN, replace(ALL, freeze=Freeze())):
        for stage in range(3):
            results = evaluate(plan, at_stage(stage, plan), Evidence(), Users(), NOW)
            assert {result.verdict for result in results} == {Verdict.INCONCLUSIVE}


def test_good_evidence_and_a_full_soak_pass_everything() -> None:
    soaked = replace(at_stage(1), soaked=HOUR)
    assert {result.verdict for result in evaluate(PLAN, soaked, GOOD, USERS, NOW)} == {Verdict.PASSED}


COUNT = st.integers(0, 10**7)
ARM = st.builds(ArmCount, COUNT, COUNT, COUNT)
CELLS = st.dictionaries(st.tuples(st.sampled_from("yn?"), st.sampled_from("yn?")), COUNT, max_size=4)


@given(
    evidence=st.builds(
        Evidence, legacy=ARM, agent=ARM, matched=COUNT, mismatched=COUNT, incomparable=COUNT, escalated=COUNT,
        drawn=COUNT, no_key=COUNT, served=COUNT, fallbacks=COUNT, agent_yes=COUNT, agent_no=COUNT, decisions=CELLS,
        segments=st.dictionaries(st.text(max_size=3), st.tuples(COUNT, COUNT), max_size=5),
    ),
    users=st.builds(Users, st.integers(0, 100_000), st.integers(0, 100_000)),
    stage=st.integers(0, 3),
)  # fmt: skip
def test_whatever_was_counted_each_gate_answers_in_a_sentence(evidence: Evidence, users: Users, stage: int) -> None:
    """Counts that do not fit together too: what was counted in two places may come with two ticks."""
    for result in evaluate(ALL, at_stage(stage, ALL), evidence, users, NOW):
        assert 10 < len(result.reason) < 500
        for number in (result.value, result.bound, result.threshold):
            assert number is None or isfinite(number)
        if result.name not in ("soak", "min_samples", "kappa"):
            assert 0 <= (result.value or 0.0) <= 1
