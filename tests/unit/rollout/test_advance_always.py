"""What holds for every sequence of ticks, verbs, faults, reloads and restarts."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.config.freeze import Freeze, parse_window
from proxy.model.errors import CommandError
from proxy.model.rollouts import ArmCount, Event, Evidence, GateResult, RolloutState, Users
from proxy.model.words import Phase, Verb, Verdict
from proxy.rollout import codec
from proxy.rollout.advance import Step, advance, begin, checkpoint, command, replan, rollback
from proxy.rollout.machine import allowed
from proxy.rollout.plan import GateSpec, Plan, PlanStage, Split
from tests.unit.rollout.examples import GATES, GOOD, NOW, USERS, gates

WEIGHTS = st.sampled_from([0, 1, 1_000, 5_000, 50_000, 100_000])
SOAKS = st.sampled_from([0.0, 1.0, 60.0])
COUNTS = st.builds(lambda requests, bad: ArmCount(requests + bad, bad), st.integers(0, 2_000), st.integers(0, 40))
EVIDENCE = st.just(GOOD) | st.builds(
    Evidence, legacy=COUNTS, agent=COUNTS, matched=st.integers(0, 2_000), mismatched=st.integers(0, 200),
    escalated=st.integers(0, 40), drawn=st.integers(0, 4_000), no_key=st.integers(0, 40), served=st.integers(0, 2_000),
    fallbacks=st.integers(0, 40), agent_yes=st.integers(0, 40), agent_no=st.integers(0, 40),
)  # fmt: skip
SEEN = st.builds(Users, st.integers(0, 2_000), st.integers(0, 2_000)) | st.just(USERS)
REPORTING = gates(
    agreement={"min": "95%", "dry_run": True},
    error_rate={"margin": "0.2%", "max": "1%", "dry_run": True},
    latency={"margin": "0.2%", "dry_run": True},
    segments={"by": "$.type", "dry_run": True},
    direction={"yes": ["y"], "dry_run": True},
    kappa={"min": "50%", "dry_run": True},
    fallback_rate={"max": "1%", "dry_run": True},
    escalation_rate={"max": "1%", "dry_run": True},
    key_coverage={"min": "99%", "dry_run": True},
    sample_ratio={"dry_run": True},
)
DEMANDING = gates(
    direction={"yes": ["y"]}, fallback_rate={"max": "5%"}, escalation_rate={"max": "5%"}, key_coverage={"min": "50%"}
)
SPECS = st.sampled_from([GATES, REPORTING, DEMANDING])
FREEZES = st.sampled_from(
    [Freeze(), *(Freeze((parse_window(text),)) for text in ("Fri 08:00 - Fri 08:02", "18:00 - 08:00"))]
)
"""NOW is a Friday, eight o'clock."""


@st.composite
def plans(draw: st.DrawFn, specs: st.SearchStrategy[GateSpec] = SPECS) -> Plan:
    shadow, spec = draw(WEIGHTS), draw(specs)
    if draw(st.integers(0, 4)) == 0:
        return Plan("r", "v1", (), spec, shadow, Split(draw(WEIGHTS), shadow))
    weights = sorted(draw(st.lists(WEIGHTS, min_size=1, max_size=5)))
    names = draw(st.permutations(["shadow", "canary", "half", "full", "split"]))
    stages = tuple(
        PlanStage(name, weight, draw(SOAKS), draw(st.integers(0, 5)) == 0)
        for name, weight in zip(names, weights, strict=False)
    )
    pauses = draw(st.tuples(st.booleans(), st.booleans()))
    return Plan("r", "v1", stages, spec, shadow, None, *pauses, draw(FREEZES))


def binding(results: tuple[GateResult, ...], *verdicts: Verdict) -> list[str]:
    """Names of the gates with one of these verdicts that hold a stage."""
    return [result.name for result in results if result.verdict in verdicts and not result.dry_run]


class Rollout(RuleBasedStateMachine):
    """One rollout under everything that can happen to it. `time` is when it happens, `held` the time that passed at the
    stage while it progressed and since gates last paused it."""

    def __init__(self) -> None:
        super().__init__()
        self.time = NOW
        self.versions = 1
        self.held = 0.0
        self.plan = Plan("r", "v1", (PlanStage("shadow", 0, 1.0), PlanStage("full", 100_000, 0.0)), GATES, 100_000)
        self.state = begin(self.plan, None, NOW).state
        self.stored = self.state

    def take(self, step: Step) -> Event | None:
        """Store what a step gave, as the control process does."""
        before, self.state = self.state, step.state
        if step.event is None:
            assert replace(step.state, soaked=before.soaked) == before
            return None
        assert step.state.revision == before.revision + 1
        assert step.event.before == (before.phase.value, before.stage_name, before.weight)
        assert step.event.after == (step.state.phase.value, step.state.stage_name, step.state.weight)
        if step.state.soaked == 0.0:
            self.held = 0.0
        self.stored = self.state
        return step.event

    @rule(evidence=EVIDENCE, users=SEEN, elapsed=st.sampled_from([0.0, 0.2, 1.0, 30.0, 60.0]))
    def tick(self, evidence: Evidence, users: Users, elapsed: float) -> None:
        before, plan = self.state, self.plan
        self.time += elapsed
        if before.phase is Phase.PROGRESSING:
            self.held += elapsed
        held = self.held
        step = advance(plan, before, evidence, users, elapsed, self.time)
        event = self.take(step)
        if event is None:
            assert self.state.weight == before.weight
            return
        assert (event.actor, event.gates, plan.split) == ("gates", step.gates, None)
        soaked = held >= plan.stages[before.stage].soak
        match event.kind:
            case "advance" | "complete":
                assert before.phase is Phase.PROGRESSING
                assert step.gates
                assert binding(step.gates, Verdict.FAILED, Verdict.INCONCLUSIVE) == []
                assert soaked
                assert plan.freeze.at(self.time) is None
                assert not plan.stages[before.stage].manual
                assert self.state.stage in (before.stage, before.stage + 1)
            case "rollback":
                assert binding(step.gates, Verdict.FAILED)
                assert not plan.pause_on_failure
                assert (self.state.phase, self.state.weight) == (Phase.DEGRADED, 0)
            case kind:
                assert kind == "pause"
                failed = plan.pause_on_failure and bool(binding(step.gates, Verdict.FAILED))
                unknown = set(binding(step.gates, Verdict.INCONCLUSIVE)) - {"freeze", "approval"}
                assert failed or (plan.pause_on_inconclusive and soaked and unknown)
                assert soaked or not before.warned
                assert (self.state.phase, self.state.weight) == (Phase.PAUSED, before.weight)

    @rule(verb=st.sampled_from(Verb), full=st.booleans())
    def operate(self, verb: Verb, full: bool) -> None:
        before = self.state
        try:
            step = command(self.plan, before, verb, actor="ann", reason="", now=self.time, full=full)
        except CommandError as refused:
            assert verb.value not in refused.allowed
            assert verb.value not in allowed(before.phase) or self.plan.split is not None
            return
        self.take(step)
        if verb not in (Verb.PROMOTE, Verb.RETRY):
            assert self.state.weight <= before.weight

    @rule()
    def fault(self) -> None:
        self.take(rollback(self.plan, self.state, "down", self.time))
        assert (self.state.phase, self.state.weight) == (Phase.DEGRADED, 0)

    @rule(plan=plans())
    def reload(self, plan: Plan) -> None:
        before, names = self.state, [stage.name for stage in plan.stages]
        self.plan = replace(plan, version=self.plan.version)
        self.take(replan(self.plan, before, self.time))
        if plan.split is None and before.stage_name not in names:
            lowest = plan.stages[0].weight
            assert self.state.weight <= max(before.weight, lowest)

    @rule(plan=plans())
    def release(self, plan: Plan) -> None:
        self.versions += 1
        self.plan = replace(plan, version=f"v{self.versions}")
        self.take(begin(self.plan, self.state, self.time))
        assert (self.state.phase, self.state.stage, self.state.soaked) == (Phase.PROGRESSING, 0, 0.0)

    @rule()
    def save(self) -> None:
        self.state = self.stored = checkpoint(self.state)

    @rule(down=st.floats(0, 1e6))
    def restart(self, down: float) -> None:
        """What was not saved is lost, time has passed, and nothing moves by that."""
        before = self.stored
        self.time += down
        self.state = codec.decode_state("k", codec.encode_state(self.stored))
        assert self.state == before
        self.held = min(self.held, self.state.soaked)
        self.take(replan(self.plan, self.state, self.time))
        assert self.state == before

    @precondition(lambda self: self.state.phase in (Phase.PROGRESSING, Phase.PAUSED, Phase.COMPLETED))
    @rule()
    def can_always_be_taken_back(self) -> None:
        for step in (
            rollback(self.plan, self.state, "down", self.time),
            command(self.plan, self.state, Verb.ABORT, actor="ann", reason="", now=self.time),
        ):
            assert (step.state.phase, step.state.weight, step.state.shadow) == (Phase.DEGRADED, 0, self.plan.shadow)

    @invariant()
    def the_store_gives_back_what_it_was_given(self) -> None:
        assert codec.decode_state("k", codec.encode_state(self.state)) == self.state

    @invariant()
    def the_weight_is_the_plans(self) -> None:
        weight: Any = self.plan.split.weight if self.plan.split else self.plan.stages[self.state.stage].weight
        assert self.state.weight == (0 if self.state.phase is Phase.DEGRADED else weight)

    @invariant()
    def it_has_soaked_no_longer_than_it_progressed(self) -> None:
        assert self.state.soaked <= self.held + 1e-6


TestRollout = Rollout.TestCase
TestRollout.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


STAGES = tuple(PlanStage(name, weight, 1.0) for name, weight in (("dark", 0), ("some", 5_000), ("most", 90_000)))


def standing(plan: Plan, stage: int, phase: Phase = Phase.PROGRESSING) -> RolloutState:
    at = plan.stages[stage]
    return RolloutState("r", "v1", phase, stage, at.name, at.weight, 100_000, 1, 1, NOW, soaked=1.0)


@given(evidence=EVIDENCE, users=SEEN, stage=st.integers(0, 2), pauses=st.tuples(st.booleans(), st.booleans()))
def test_gates_that_only_report_change_nothing(
    evidence: Evidence, users: Users, stage: int, pauses: tuple[bool, bool]
) -> None:
    plan = Plan("r", "v1", STAGES, REPORTING, 100_000, None, *pauses)
    evidence = replace(
        evidence,
        agent=ArmCount(evidence.agent.requests + 500, evidence.agent.failed),
        matched=evidence.matched + 500,
    )
    step = advance(plan, standing(plan, stage), evidence, users, 0.2, NOW)
    assert step.event is not None
    assert step.event.kind == ("complete" if stage == 2 else "advance")


@given(evidence=EVIDENCE, stage=st.integers(0, 2), phase=st.sampled_from([Phase.PROGRESSING, Phase.PAUSED]), spec=SPECS)
def test_a_freeze_only_keeps_from_going_on(evidence: Evidence, stage: int, phase: Phase, spec: GateSpec) -> None:
    free = Plan("r", "v1", STAGES, spec, 100_000)
    frozen = replace(free, freeze=Freeze((parse_window("2027-01-15 - 2027-01-15"),)))
    state = standing(free, stage, phase)
    without, within = (advance(plan, state, evidence, USERS, 0.2, NOW) for plan in (free, frozen))
    if without.state.phase is Phase.DEGRADED:
        assert within.state == without.state
    else:
        assert (within.event, within.state.weight) == (None, state.weight)
    assert rollback(frozen, state, "down", NOW).state.weight == 0
    assert command(frozen, state, Verb.ABORT, actor="ann", reason="", now=NOW).state.weight == 0
