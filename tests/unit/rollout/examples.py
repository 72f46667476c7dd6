"""A plan and evidence that the tests of this package share."""

from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from proxy.config.gates_schema import Allowance, Ceiling, Direction, Floor, SampleRatio, Segments
from proxy.model.rollouts import ArmCount, Evidence, RolloutState, Users
from proxy.model.snapshot import BUCKETS
from proxy.model.words import Verb
from proxy.rollout.advance import begin, command
from proxy.rollout.plan import GateSpec, Plan, PlanStage, Split

NOW = 1_800_000_000.0
HOUR = 3600.0
GATES = GateSpec(
    min_samples=500,
    agreement=Floor.model_validate({"min": "95%"}),
    error_rate=Allowance.model_validate({"margin": "0.2%"}),
)

STAGES = (
    PlanStage("shadow", 0, 24 * HOUR),
    PlanStage("canary", 5_000, HOUR),
    PlanStage("half", 50_000, HOUR),
    PlanStage("full", 100_000, 0.0),
)
PLAN = Plan("refunds", "v1", STAGES, GATES, shadow=BUCKETS)
FIXED = Plan("refunds", "v1", (), GATES, shadow=20_000, split=Split(weight=5_000, shadow=20_000))

GOOD = Evidence(
    ArmCount(requests=10_000, failed=100),
    ArmCount(requests=10_000, failed=90),
    matched=9_900,
    mismatched=100,
    drawn=20_000,
    served=10_000,
)
"""Passes every gate but the soak."""
USERS = Users(legacy=950, agent=50)
"""As many as a canary of 5 percent should have with the agent."""
HALVES = Users(legacy=500, agent=500)


def at_stage(stage: int, plan: Plan = PLAN) -> RolloutState:
    """A rollout that an operator has just promoted to `stage`."""
    state = begin(plan, None, NOW).state
    for _ in range(stage):
        state = command(plan, state, Verb.PROMOTE, actor="ann", reason="", now=NOW).state
    return state


def gates(**more: dict[str, object]) -> GateSpec:
    """The gates of PLAN, and more of them, each as it may stand in a configuration."""
    kinds: dict[str, type[BaseModel]] = {
        "agreement": Floor, "kappa": Floor, "key_coverage": Floor, "error_rate": Allowance, "latency": Allowance,
        "segments": Segments, "direction": Direction, "fallback_rate": Ceiling, "escalation_rate": Ceiling,
        "sample_ratio": SampleRatio,
    }  # fmt: skip
    made: dict[str, Any] = {name: kinds[name].model_validate(value) for name, value in more.items()}
    return replace(GATES, **made)


def asking(**more: dict[str, object]) -> Plan:
    """PLAN with more gates."""
    return replace(PLAN, gates=gates(**more))
