"""Where a rollout goes next, and in one sentence what it waits for: the first thing that an operator asks.

Nothing is decided here. What is missing is read from the gates as they stand; their own reasons say more of each.
"""

from typing import Final

from proxy.model.rollouts import GateResult, RolloutState
from proxy.model.words import Phase, Verdict
from proxy.rollout.plan import Plan, PlanStage
from proxy.rollout.waiting import span

_FLOORS: Final = frozenset({"agreement", "key_coverage"})
_CEILINGS: Final = frozenset({"error_rate", "latency", "fallback_rate", "escalation_rate"})
"""Gates that ask for at least, and for at most, a share."""


def following(plan: Plan, state: RolloutState) -> PlanStage | None:
    """The stage after this one. None at the last one, under a fixed split, of a version that the plan left, and after a
    rollback, from which no way leads on."""
    if state.version != plan.version or state.phase in (Phase.COMPLETED, Phase.DEGRADED):
        return None
    return next(iter(plan.stages[state.stage + 1 :]), None)


def waits_for(plan: Plan, state: RolloutState, gates: tuple[GateResult, ...]) -> str:
    """Such as `soak (12m to go), agreement (surely 93.10%, more than 95.00% must be sure)`. Empty where the rollout is
    at its end."""
    if state.version != plan.version:
        return (
            f"version {plan.version} to begin; what is rolled out is {state.version}: all replicas need the same"
            " configuration"
        )
    match state.phase:
        case Phase.COMPLETED:
            return ""
        case Phase.DEGRADED:
            return "an operator (retry), or a new version"
        case Phase.PAUSED:
            return "an operator (resume, or promote)"
    if not plan.stages:
        return "an operator (split.weight in the configuration)"
    missing = [gate for gate in gates if gate.verdict is not Verdict.PASSED and not gate.dry_run]
    if not missing:
        return "nothing: it moves with the next look" if gates else "the first look at its gates"
    lacks: dict[str, list[str]] = {}
    for gate in missing:
        lacks.setdefault(_lacks(gate), []).append(gate.name)
    return ", ".join(f"{', '.join(names)} ({lack})" for lack, names in lacks.items())


def _lacks(gate: GateResult) -> str:
    """In a few words; the gate's own reason says more."""
    if gate.verdict is Verdict.FAILED:
        return f"failed: {gate.reason}"
    match gate:
        case GateResult(name="soak", value=float(held), threshold=float(whole)):
            return f"{span(whole - held)} to go"
        case GateResult(name="min_samples", value=float(seen), threshold=float(least)):
            return f"{least - seen:,.0f} to go"
        case GateResult(name="approval"):
            return "an operator must promote"
        case GateResult(name="freeze"):
            return gate.reason
        case GateResult(name="sample_ratio"):
            return "the split is not the one asked for"
        case GateResult(name="kappa", bound=float(bound), threshold=float(floor)) if bound <= floor:
            return f"surely {bound:.3f}, more than {floor:.3f} must be sure"
        case GateResult(name="segments", bound=float(bound), threshold=float(floor)) if bound <= floor:
            return f"the worst surely {bound:.2%}, more than {floor:.2%} must be sure"
        case GateResult(bound=float(bound), threshold=float(asked)) if gate.name in _FLOORS and bound <= asked:
            return f"surely {bound:.2%}, more than {asked:.2%} must be sure"
        case GateResult(bound=float(bound), threshold=float(asked)) if gate.name in _CEILINGS and bound > asked:
            return f"surely at most {bound:.2%}, at most {asked:.2%} must be sure"
        case GateResult(value=float(value), threshold=float(asked), bound=None) if gate.name in _CEILINGS:
            return f"{value:.2%}, at most {asked:.2%} is allowed"
    return "too little was seen to tell" if gate.samples else "nothing was seen yet"
