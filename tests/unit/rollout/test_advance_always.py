"""What holds for every sequence of ticks, verbs, faults, reloads and restarts."""

from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.model.errors import CommandError
from proxy.model.rollouts import ArmCount, Event, Evidence
from proxy.model.words import Phase, Verb, Verdict
from proxy.rollout import codec
from proxy.rollout.advance import Step, advance, begin, checkpoint, command, replan, rollback
from proxy.rollout.machine import allowed
from proxy.rollout.plan import Plan, PlanStage, Split
from tests.unit.rollout.examples import GATES, GOOD, NOW, USERS

WEIGHTS = st.sampled_from([0, 1, 1_000, 5_000, 50_000, 100_000])
SOAKS = st.sampled_from([0.0, 1.0, 60.0])
COUNTS = st.builds(lambda requests, bad: ArmCount(requests + bad, bad), st.integers(0, 2_000), st.integers(0, 40))
EVIDENCE = st.just(GOOD) | st.builds(
    Evidence, legacy=COUNTS, agent=COUNTS, matched=st.integers(0, 2_000), mismatched=st.integers(0, 40)
)


@st.composite
def plans(draw: st.DrawFn, version: str = "v1") -> Plan:
    shadow = draw(WEIGHTS)
    if draw(st.integers(0, 4)) == 0:
        return Plan("r", version, (), GATES, shadow, Split(draw(WEIGHTS), shadow))
    weights = sorted(draw(st.lists(WEIGHTS, min_size=1, max_size=5)))
    names = draw(st.permutations(["shadow", "canary", "half", "full", "split"]))
    stages = tuple(PlanStage(name, weight, draw(SOAKS)) for name, weight in zip(names, weights, strict=False))
    return Plan("r", version, stages, GATES, shadow)


class Rollout(RuleBasedStateMachine):
    """One rollout under everything that can happen to it. `time` is when it happens, `held` the time that passed at the
    stage while it progressed."""

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

    @rule(evidence=EVIDENCE, elapsed=st.sampled_from([0.0, 0.2, 1.0, 30.0, 60.0]))
    def tick(self, evidence: Evidence, elapsed: float) -> None:
        before = self.state
        self.time += elapsed
        if before.phase is Phase.PROGRESSING:
            self.held += elapsed
        held = self.held
        step = advance(self.plan, before, evidence, USERS, elapsed, self.time)
        event = self.take(step)
        if event is None:
            assert self.state.weight == before.weight
            return
        assert before.phase is Phase.PROGRESSING
        assert step.gates
        assert all(gate.verdict is Verdict.PASSED for gate in step.gates)
        assert held >= self.plan.stages[before.stage].soak
        assert self.state.stage in (before.stage, before.stage + 1)

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
    def the_weight_is_the_plans(self) -> None:
        weight: Any = self.plan.split.weight if self.plan.split else self.plan.stages[self.state.stage].weight
        assert self.state.weight == (0 if self.state.phase is Phase.DEGRADED else weight)

    @invariant()
    def it_has_soaked_no_longer_than_it_progressed(self) -> None:
        assert self.state.soaked <= self.held + 1e-6


TestRollout = Rollout.TestCase
TestRollout.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
