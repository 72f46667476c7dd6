"""The steps of a rollout, told one by one. What must hold for every sequence is in test_advance_always."""

from dataclasses import replace

import pytest

from proxy.config.freeze import Freeze, parse_window
from proxy.model.errors import CommandError
from proxy.model.rollouts import ArmCount, Evidence, GateResult, RolloutState
from proxy.model.words import Phase, Verb, Verdict
from proxy.rollout.advance import Step, advance, begin, checkpoint, command, replan, rollback
from proxy.rollout.plan import Plan, PlanStage, Split
from tests.unit.rollout.examples import FIXED, GOOD, HALVES, HOUR, NOW, PLAN, STAGES, USERS, asking, at_stage


def place(state: RolloutState) -> tuple[str, str, int]:
    return state.phase.value, state.stage_name, state.weight


def do(state: RolloutState, verb: Verb, plan: Plan = PLAN, full: bool = False) -> Step:
    return command(plan, state, verb, actor="ann", reason="because", now=NOW + 60, full=full)


def moved(step: Step) -> tuple[str, tuple[str, str, int], tuple[str, str, int]]:
    assert step.event is not None
    return step.event.kind, step.event.before, step.event.after


def test_a_first_rollout_begins_in_the_shadow() -> None:
    step = begin(PLAN, None, NOW)
    assert place(step.state) == ("progressing", "shadow", 0)
    assert (step.state.epoch, step.state.revision, step.state.shadow, step.state.soaked) == (1, 1, 100_000, 0.0)
    assert moved(step) == ("begin", ("staging", "", 0), ("progressing", "shadow", 0))


def test_a_new_version_begins_again_in_a_new_epoch() -> None:
    old = replace(at_stage(2), soaked=10.0)
    step = begin(replace(PLAN, version="v2"), old, NOW + 5)
    assert place(step.state) == ("progressing", "shadow", 0)
    assert (step.state.version, step.state.epoch, step.state.revision) == ("v2", old.epoch + 1, old.revision + 1)
    assert (step.state.since, step.state.soaked) == (NOW + 5, 0.0)
    assert step.event is not None
    assert (step.event.actor, step.event.reason) == ("configuration", "version v2 begins after v1")


def test_a_stage_moves_on_once_it_has_soaked_and_its_gates_passed() -> None:
    step = advance(PLAN, at_stage(1), GOOD, USERS, HOUR - 1, NOW)
    assert (step.event, step.state.soaked, step.state.revision) == (None, HOUR - 1, at_stage(1).revision)
    step = advance(PLAN, step.state, GOOD, USERS, 1.0, NOW + 1)
    assert moved(step) == ("advance", ("progressing", "canary", 5_000), ("progressing", "half", 50_000))
    assert (step.state.soaked, step.state.since, step.state.revision) == (0.0, NOW + 1, at_stage(1).revision + 1)
    assert step.event is not None
    assert step.event.gates == step.gates
    assert {gate.verdict for gate in step.gates} == {Verdict.PASSED}


BAD = replace(GOOD, matched=900, mismatched=100)
"""Surely agrees too seldom."""


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence(),
        replace(GOOD, agent=ArmCount(499, 0)),
        replace(GOOD, matched=80, mismatched=0),
        replace(GOOD, agent=ArmCount(1_000, 15)),
        replace(GOOD, legacy=ArmCount(1, 0)),
    ],
)
def test_inconclusive_gates_hold_the_stage_however_long_it_soaks(evidence: Evidence) -> None:
    step = advance(PLAN, at_stage(1), evidence, USERS, 1_000 * HOUR, NOW)
    assert step.event is None
    assert place(step.state) == ("progressing", "canary", 5_000)


def test_one_tick_moves_one_stage() -> None:
    step = advance(PLAN, at_stage(0), GOOD, USERS, 1_000 * HOUR, NOW)
    assert step.state.stage_name == "canary"


def test_entering_a_last_stage_without_soak_completes() -> None:
    step = advance(PLAN, at_stage(2), GOOD, HALVES, HOUR, NOW)
    assert moved(step) == ("complete", ("progressing", "half", 50_000), ("completed", "full", 100_000))


def test_a_last_stage_with_soak_is_held_first() -> None:
    plan = replace(PLAN, stages=STAGES[:3])
    held = advance(plan, at_stage(1, plan), GOOD, USERS, HOUR, NOW)
    assert moved(held) == ("advance", ("progressing", "canary", 5_000), ("progressing", "half", 50_000))
    assert advance(plan, held.state, GOOD, HALVES, HOUR - 1, NOW).event is None
    done = advance(plan, held.state, GOOD, HALVES, HOUR, NOW)
    assert moved(done) == ("complete", ("progressing", "half", 50_000), ("completed", "half", 50_000))


@pytest.mark.parametrize("phase", [Phase.PAUSED, Phase.DEGRADED, Phase.COMPLETED])
def test_only_a_progressing_rollout_soaks_and_moves(phase: Phase) -> None:
    state = replace(at_stage(1), phase=phase)
    step = advance(PLAN, state, GOOD, USERS, 1_000 * HOUR, NOW)
    assert (step.state, step.event) == (state, None)
    assert [gate.name for gate in step.gates][:4] == ["soak", "min_samples", "agreement", "error_rate"]


def test_a_clock_that_steps_back_takes_no_soak_away() -> None:
    assert advance(PLAN, replace(at_stage(1), soaked=5.0), GOOD, USERS, -3.0, NOW).state.soaked == 5.0


def test_another_version_or_an_unknown_stage_stays_where_it_is() -> None:
    state = replace(at_stage(1), soaked=HOUR)
    assert advance(replace(PLAN, version="v2"), state, GOOD, USERS, 1.0, NOW) == Step(state)
    assert advance(replace(PLAN, stages=STAGES[:1]), state, GOOD, USERS, 1.0, NOW) == Step(state)


def test_a_fixed_split_begins_at_its_weight_and_stays() -> None:
    state = begin(FIXED, None, NOW).state
    assert place(state) == ("progressing", "split", 5_000)
    assert state.shadow == 20_000
    for evidence in (GOOD, BAD):
        step = advance(FIXED, state, evidence, USERS, 1_000 * HOUR, NOW)
        assert (step.state, step.event) == (state, None)
        assert [gate.name for gate in step.gates] == ["agreement", "error_rate", "key_coverage", "sample_ratio"]
        assert all(gate.dry_run for gate in step.gates)


def test_promote_goes_one_stage_on_without_asking_the_gates() -> None:
    assert moved(do(at_stage(0), Verb.PROMOTE)) == (
        "promote", ("progressing", "shadow", 0), ("progressing", "canary", 5_000),
    )  # fmt: skip


def test_promote_full_goes_to_the_last_stage() -> None:
    step = do(at_stage(0), Verb.PROMOTE, full=True)
    assert moved(step) == ("promote", ("progressing", "shadow", 0), ("completed", "full", 100_000))
    plan = replace(PLAN, stages=STAGES[:3])
    assert place(do(at_stage(0, plan), Verb.PROMOTE, plan, full=True).state) == ("progressing", "half", 50_000)


def test_promote_in_a_last_stage_that_soaks_completes_it() -> None:
    plan = replace(PLAN, stages=STAGES[:3])
    for full in (False, True):
        step = do(at_stage(2, plan), Verb.PROMOTE, plan, full=full)
        assert moved(step) == ("promote", ("progressing", "half", 50_000), ("completed", "half", 50_000))


def test_promote_ends_a_pause() -> None:
    paused = do(at_stage(1), Verb.PAUSE).state
    assert place(do(paused, Verb.PROMOTE).state) == ("progressing", "half", 50_000)


def test_a_fixed_split_is_not_promoted() -> None:
    with pytest.raises(CommandError) as refused:
        do(begin(FIXED, None, NOW).state, Verb.PROMOTE, FIXED)
    assert str(refused.value) == "cannot promote a fixed split; change split.weight in the configuration"
    assert refused.value.allowed == ("pause", "abort")


def test_pause_holds_the_weight_and_the_soak_and_resume_goes_on() -> None:
    paused = do(replace(at_stage(1), soaked=120.0), Verb.PAUSE)
    assert moved(paused) == ("pause", ("progressing", "canary", 5_000), ("paused", "canary", 5_000))
    assert paused.event is not None
    assert (paused.event.actor, paused.event.reason, paused.event.at) == ("ann", "because", NOW + 60)
    assert (paused.state.actor, paused.state.reason, paused.state.since) == ("ann", "because", NOW + 60)
    resumed = do(paused.state, Verb.RESUME)
    assert moved(resumed) == ("resume", ("paused", "canary", 5_000), ("progressing", "canary", 5_000))
    assert resumed.state.soaked == 120.0


@pytest.mark.parametrize("stage", range(4))
def test_abort_takes_all_weight_and_leaves_the_shadow(stage: int) -> None:
    state = at_stage(stage)
    step = do(state, Verb.ABORT)
    assert place(step.state) == ("degraded", state.stage_name, 0)
    assert (step.state.shadow, step.state.epoch) == (100_000, state.epoch)


def test_rollback_takes_all_weight_and_says_why() -> None:
    step = rollback(PLAN, at_stage(2), "8 of the agent's last 8 requests failed", NOW)
    assert moved(step) == ("rollback", ("progressing", "half", 50_000), ("degraded", "half", 0))
    assert (step.state.actor, step.state.reason) == ("guard", "8 of the agent's last 8 requests failed")


def test_a_second_rollback_changes_nothing() -> None:
    first = rollback(PLAN, at_stage(2), "first", NOW).state
    assert rollback(PLAN, first, "second", NOW + 1) == Step(first)


def test_retry_starts_at_the_first_stage_in_a_new_epoch() -> None:
    degraded = rollback(PLAN, replace(at_stage(2), soaked=99.0), "down", NOW).state
    step = do(degraded, Verb.RETRY)
    assert moved(step) == ("retry", ("degraded", "half", 0), ("progressing", "shadow", 0))
    assert (step.state.epoch, step.state.soaked) == (degraded.epoch + 1, 0.0)


def test_retry_of_a_fixed_split_takes_its_weight_up_again() -> None:
    degraded = rollback(FIXED, begin(FIXED, None, NOW).state, "down", NOW).state
    assert place(do(degraded, Verb.RETRY, FIXED).state) == ("progressing", "split", 5_000)


def test_a_verb_that_the_phase_does_not_allow_is_refused_and_changes_nothing() -> None:
    with pytest.raises(CommandError, match="cannot retry a rollout that is progressing"):
        do(at_stage(1), Verb.RETRY)
    with pytest.raises(CommandError, match="cannot promote a rollout that is completed"):
        do(at_stage(3), Verb.PROMOTE)


def test_a_checkpoint_keeps_the_soak_under_a_new_revision() -> None:
    grown = advance(PLAN, at_stage(1), Evidence(), USERS, 30.0, NOW).state
    assert checkpoint(grown) == replace(grown, revision=grown.revision + 1)


# What gates do that did not pass

PAUSING = replace(PLAN, pause_on_failure=True, pause_on_inconclusive=True)
UNDECIDED = replace(GOOD, matched=80, mismatched=0)


def test_a_failed_gate_rolls_back_at_once_and_says_why() -> None:
    step = advance(PLAN, at_stage(1), BAD, USERS, 0.2, NOW)
    assert moved(step) == ("rollback", ("progressing", "canary", 5_000), ("degraded", "canary", 0))
    assert step.event is not None
    assert (step.event.actor, step.event.gates) == ("gates", step.gates)
    assert step.state.reason == "failed: agreement: 90.00% of 1000 pairs agree, surely fewer than 95.00%"
    assert (step.state.shadow, step.state.epoch) == (100_000, 1)


def test_two_failed_gates_are_both_named() -> None:
    step = advance(PLAN, at_stage(1), replace(BAD, agent=ArmCount(1_000, 500)), USERS, 0.2, NOW)
    assert step.state.reason.endswith("surely fewer than 95.00% (and error_rate)")


def test_a_failed_gate_ends_a_shadow_stage_too() -> None:
    step = advance(PLAN, at_stage(0), BAD, USERS, 0.2, NOW)
    assert moved(step) == ("rollback", ("progressing", "shadow", 0), ("degraded", "shadow", 0))
    again = do(step.state, Verb.RETRY)
    assert (place(again.state), again.state.epoch) == (("progressing", "shadow", 0), step.state.epoch + 1)


def test_a_failed_gate_takes_back_what_serves_while_it_is_paused() -> None:
    paused = do(at_stage(1), Verb.PAUSE).state
    assert place(advance(PLAN, paused, BAD, USERS, 0.0, NOW).state) == ("degraded", "canary", 0)


def test_a_paused_shadow_has_nothing_to_take_back() -> None:
    paused = do(at_stage(0), Verb.PAUSE).state
    step = advance(PLAN, paused, BAD, USERS, 0.0, NOW)
    assert (step.state, step.event) == (paused, None)


def test_a_failed_gate_may_pause_instead() -> None:
    step = advance(PAUSING, replace(at_stage(1), soaked=60.0), BAD, USERS, 0.2, NOW)
    assert moved(step) == ("pause", ("progressing", "canary", 5_000), ("paused", "canary", 5_000))
    assert step.event is not None
    assert (step.event.actor, step.state.soaked) == ("gates", 0.0)
    assert advance(PAUSING, step.state, BAD, USERS, 0.0, NOW).event is None


def test_who_resumes_after_a_pause_by_gates_gives_the_stage_another_soak() -> None:
    paused = advance(PAUSING, at_stage(1), BAD, USERS, 0.2, NOW).state
    resumed = do(paused, Verb.RESUME, PAUSING).state
    assert (place(resumed), resumed.soaked) == (("progressing", "canary", 5_000), 0.0)
    soaking = advance(PAUSING, resumed, BAD, USERS, HOUR - 1, NOW)
    assert soaking.event is None
    assert advance(PAUSING, soaking.state, GOOD, USERS, 1.0, NOW).state.stage_name == "half", "it may recover"
    again = advance(PAUSING, soaking.state, BAD, USERS, 1.0, NOW)
    assert moved(again) == ("pause", ("progressing", "canary", 5_000), ("paused", "canary", 5_000))


def test_the_next_stage_may_pause_at_once_again() -> None:
    paused = advance(PAUSING, at_stage(0), BAD, USERS, 0.2, NOW).state
    promoted = do(paused, Verb.PROMOTE, PAUSING).state
    assert place(advance(PAUSING, promoted, BAD, USERS, 0.2, NOW).state) == ("paused", "canary", 5_000)


def test_an_operators_own_pause_keeps_the_soak_and_the_gates_their_say() -> None:
    resumed = do(do(replace(at_stage(1), soaked=60.0), Verb.PAUSE, PAUSING).state, Verb.RESUME, PAUSING).state
    assert resumed.soaked == 60.0
    assert place(advance(PAUSING, resumed, BAD, USERS, 0.2, NOW).state) == ("paused", "canary", 5_000)


def test_an_inconclusive_gate_may_pause_what_has_soaked() -> None:
    assert advance(PAUSING, at_stage(1), UNDECIDED, USERS, HOUR - 1, NOW).event is None
    step = advance(PAUSING, at_stage(1), UNDECIDED, USERS, HOUR, NOW)
    assert moved(step) == ("pause", ("progressing", "canary", 5_000), ("paused", "canary", 5_000))
    assert step.state.reason.startswith("the stage has soaked, and is undecided: agreement: 100.00% of 80 pairs agree")
    resumed = do(step.state, Verb.RESUME, PAUSING).state
    assert advance(PAUSING, resumed, UNDECIDED, USERS, HOUR - 1, NOW).event is None


MANUAL = replace(PAUSING, stages=(STAGES[0], replace(STAGES[1], manual=True), *STAGES[2:]))
FROZEN = replace(PAUSING, freeze=Freeze((parse_window("2027-01-15 - 2027-01-16"),)))


@pytest.mark.parametrize("plan", [MANUAL, FROZEN])
def test_where_only_freeze_or_approval_is_missing_nothing_pauses(plan: Plan) -> None:
    step = advance(plan, at_stage(1), GOOD, USERS, HOUR, NOW)
    assert (step.event, step.state.phase) == (None, Phase.PROGRESSING)
    undecided = advance(plan, at_stage(1), UNDECIDED, USERS, HOUR, NOW)
    assert undecided.state.phase is Phase.PAUSED


def test_a_manual_stage_waits_for_promote_whose_event_carries_the_gates() -> None:
    waiting = advance(MANUAL, at_stage(1), GOOD, USERS, HOUR, NOW)
    step = command(MANUAL, waiting.state, Verb.PROMOTE, actor="ann", reason="go", now=NOW, gates=waiting.gates)
    assert moved(step) == ("promote", ("progressing", "canary", 5_000), ("progressing", "half", 50_000))
    assert step.event is not None
    assert step.event.gates == waiting.gates


def test_a_freeze_holds_what_passed_and_no_rollback() -> None:
    step = advance(FROZEN, at_stage(1), GOOD, USERS, HOUR, NOW)
    assert step.event is None
    assert advance(FROZEN, step.state, GOOD, USERS, 0.0, NOW + 2 * 86_400).state.stage_name == "half"
    thawed = replace(FROZEN, pause_on_failure=False)
    assert place(advance(thawed, step.state, BAD, USERS, 0.0, NOW).state) == ("degraded", "canary", 0)
    assert do(step.state, Verb.PROMOTE, FROZEN).state.stage_name == "half", "an operator still can"


def test_a_dry_run_gate_only_reports() -> None:
    plan = asking(agreement={"min": "95%", "dry_run": True})
    for evidence in (BAD, UNDECIDED):
        step = advance(plan, at_stage(1), evidence, USERS, HOUR, NOW)
        assert moved(step)[0] == "advance"
        (told,) = [gate for gate in step.gates if gate.name == "agreement"]
        assert (told.dry_run, told.verdict is Verdict.PASSED) == (True, False)


def test_a_split_that_is_not_the_one_asked_for_holds_and_never_rolls_back() -> None:
    step = advance(PLAN, at_stage(1), GOOD, HALVES, HOUR, NOW)
    assert (step.event, step.state.phase) == (None, Phase.PROGRESSING)


def test_the_guards_numbers_go_into_the_history() -> None:
    found = (GateResult("error_rate", Verdict.FAILED, 0.2, None, None, 100, "20%"),)
    step = rollback(PLAN, at_stage(1), "20%", NOW, found)
    assert step.event is not None
    assert step.event.gates == found


def test_with_a_holdback_the_last_stage_completes_too() -> None:
    plan = replace(PLAN, stages=(*STAGES[:3], PlanStage("full", 99_000, 0.0)))
    step = advance(plan, at_stage(2, plan), GOOD, HALVES, HOUR, NOW)
    assert moved(step) == ("complete", ("progressing", "half", 50_000), ("completed", "full", 99_000))
    assert place(do(at_stage(0, plan), Verb.PROMOTE, plan, full=True).state) == ("completed", "full", 99_000)


def with_stages(*stages: PlanStage) -> Plan:
    return replace(PLAN, stages=stages)


def test_the_same_configuration_replans_nothing() -> None:
    for state in (
        at_stage(1),
        at_stage(3),
        rollback(PLAN, at_stage(1), "", NOW).state,
        do(at_stage(1), Verb.PAUSE).state,
    ):
        assert replan(PLAN, state, NOW + 9) == Step(state)


def test_a_changed_weight_is_followed_at_once_and_what_was_seen_at_the_former_no_longer_counts() -> None:
    """Of an hour of which 59 minutes were at 5 percent, 60 are not at 8. And with a rate that moves for both arms, the
    sums over two weights blame the arm that had more traffic in the worse hour (Simpson's paradox)."""
    plan = with_stages(STAGES[0], PlanStage("canary", 8_000, HOUR), *STAGES[2:])
    before = replace(at_stage(1), soaked=60.0)
    step = replan(plan, before, NOW + 9)
    assert moved(step) == ("replan", ("progressing", "canary", 5_000), ("progressing", "canary", 8_000))
    assert (step.state.soaked, step.state.since, step.state.epoch) == (0.0, NOW + 9, before.epoch + 1)
    assert step.state.reason == "the configuration changed: what was seen so far no longer counts"


@pytest.mark.parametrize("other", [replace(PLAN, shadow=50_000), replace(PLAN, measured="otherwise")])
def test_what_is_measured_otherwise_begins_anew_in_every_phase_with_traffic(other: Plan) -> None:
    plan = replace(PLAN, measured="so")
    for state in (at_stage(1, plan), at_stage(3, plan), do(at_stage(1, plan), Verb.PAUSE, plan).state):
        before = replace(state, soaked=60.0, warned=True)
        after = replan(other, before, NOW + 9).state
        assert place(after) == place(before)
        assert (after.epoch, after.soaked, after.warned) == (before.epoch + 1, 0.0, False)
        assert replan(other, after, NOW + 10) == Step(after)


def test_a_plan_that_asks_otherwise_of_the_same_evidence_keeps_it() -> None:
    for plan in (with_stages(*STAGES[:3]), replace(PLAN, gates=replace(PLAN.gates, min_samples=9))):
        before = replace(at_stage(1), soaked=60.0)
        after = replan(plan, before, NOW + 9).state
        assert (after.epoch, after.soaked) == (before.epoch, 60.0)


def test_a_degraded_rollout_is_measured_anew_when_it_is_tried_again() -> None:
    down = rollback(replace(PLAN, measured="so"), at_stage(1, replace(PLAN, measured="so")), "", NOW).state
    other = replace(PLAN, measured="otherwise")
    assert replan(other, down, NOW) == Step(down)
    again = do(down, Verb.RETRY, other).state
    assert (again.measured, again.epoch) == ("otherwise", down.epoch + 1)


def test_how_it_was_measured_is_not_known_of_a_state_from_before() -> None:
    state = at_stage(1)
    assert replan(replace(PLAN, measured="so"), state, NOW) == Step(state)
    assert do(state, Verb.PROMOTE, replace(PLAN, measured="so")).state.measured == "so"


def test_a_stage_is_found_by_its_name_where_others_came_before_it() -> None:
    plan = with_stages(STAGES[0], PlanStage("one", 1_000, HOUR), *STAGES[1:])
    step = replan(plan, at_stage(1), NOW)
    assert (step.state.stage, place(step.state)) == (2, ("progressing", "canary", 5_000))


def test_a_stage_that_is_gone_becomes_an_earlier_one_with_no_more_weight() -> None:
    plan = with_stages(STAGES[0], PlanStage("two", 2_000, HOUR), PlanStage("nine", 9_000, HOUR), STAGES[3])
    step = replan(plan, replace(at_stage(1), soaked=60.0), NOW + 9)
    assert moved(step) == ("replan", ("progressing", "canary", 5_000), ("progressing", "two", 2_000))
    assert (step.state.soaked, step.state.since) == (0.0, NOW + 9)
    renamed = with_stages(STAGES[0], PlanStage("nine", 9_000, HOUR), STAGES[3])
    assert place(replan(renamed, at_stage(1), NOW).state) == ("progressing", "shadow", 0)


def test_a_plan_that_became_shorter_never_raises_the_weight() -> None:
    assert place(replan(with_stages(STAGES[0]), at_stage(2), NOW).state) == ("progressing", "shadow", 0)


def test_a_degraded_rollout_stays_at_nothing_whatever_the_plan() -> None:
    degraded = rollback(PLAN, at_stage(2), "down", NOW).state
    plan = with_stages(STAGES[0], PlanStage("half", 60_000, HOUR))
    assert replan(plan, degraded, NOW).state.weight == 0
    assert place(replan(FIXED, degraded, NOW).state) == ("degraded", "split", 0)


def test_a_completed_rollout_with_a_new_stage_behind_progresses_again() -> None:
    short = replace(PLAN, stages=STAGES[:2])
    completed = do(at_stage(1, short), Verb.PROMOTE, short).state
    assert place(completed) == ("completed", "canary", 5_000)
    assert place(replan(PLAN, completed, NOW).state) == ("progressing", "canary", 5_000)


def test_a_split_follows_its_configuration_and_stages_take_over_from_below() -> None:
    state = begin(FIXED, None, NOW).state
    wider = replan(replace(FIXED, split=Split(70_000, 10_000), shadow=10_000), state, NOW)
    assert (place(wider.state), wider.state.shadow) == (("progressing", "split", 70_000), 10_000)
    assert place(replan(PLAN, wider.state, NOW).state) == ("progressing", "shadow", 0)
    called_split = with_stages(STAGES[0], PlanStage("split", 90_000, HOUR))
    assert place(replan(called_split, state, NOW).state) == ("progressing", "shadow", 0)


def test_the_shadow_follows_the_configuration_in_every_phase() -> None:
    plan = replace(PLAN, shadow=50_000)
    for state in (at_stage(1), rollback(PLAN, at_stage(1), "down", NOW).state):
        assert replan(plan, state, NOW).state.shadow == 50_000
