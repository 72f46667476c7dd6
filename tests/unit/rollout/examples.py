"""A plan and evidence that the tests of this package share."""

from proxy.model.rollouts import ArmCount, Evidence, RolloutState, Users
from proxy.model.snapshot import BUCKETS
from proxy.model.words import Verb
from proxy.rollout.advance import begin, command
from proxy.rollout.plan import GateSpec, Plan, PlanStage, Split

NOW = 1_800_000_000.0
HOUR = 3600.0
GATES = GateSpec(min_samples=500, agreement=0.95, error_margin=0.002)

STAGES = (
    PlanStage("shadow", 0, 24 * HOUR),
    PlanStage("canary", 5_000, HOUR),
    PlanStage("half", 50_000, HOUR),
    PlanStage("full", 100_000, 0.0),
)
PLAN = Plan("refunds", "v1", STAGES, GATES, shadow=BUCKETS)
FIXED = Plan("refunds", "v1", (), GATES, shadow=20_000, split=Split(weight=5_000, shadow=20_000))

GOOD = Evidence(
    ArmCount(requests=10_000, failed=100), ArmCount(requests=10_000, failed=90), matched=9_900, mismatched=100
)
"""Passes every gate but the soak."""
USERS = Users(legacy=950, agent=50)


def at_stage(stage: int, plan: Plan = PLAN) -> RolloutState:
    """A rollout that an operator has just promoted to `stage`."""
    state = begin(plan, None, NOW).state
    for _ in range(stage):
        state = command(plan, state, Verb.PROMOTE, actor="ann", reason="", now=NOW).state
    return state
