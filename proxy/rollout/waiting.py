"""What a stage waits for: time, samples, the calendar, an operator.

None of these gates fails, for none of them says anything of the agent: they are passed, or what is missing comes with
time. Freeze and approval are no question to the evidence at all, see `UNDECIDED_BY_EVIDENCE`.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from proxy.model.rollouts import Evidence, GateResult, RolloutState
from proxy.model.words import Phase, Verdict
from proxy.rollout.plan import Plan

FREEZE: Final = "freeze"
APPROVAL: Final = "approval"
UNDECIDED_BY_EVIDENCE: Final = frozenset({FREEZE, APPROVAL})
"""While only these are missing, there is nothing to be found out: `on_inconclusive: pause` leaves the stage alone."""


def soak(plan: Plan, state: RolloutState, now: float) -> GateResult:
    """Passed when the stage has held as long as it shall. The clock runs while the rollout progresses, has traffic and
    its store, so the end that the reason tells is the earliest one."""
    whole = plan.stages[state.stage].soak
    missing = whole - state.soaked
    if missing <= 0:
        verdict, reason = Verdict.PASSED, f"held {span(state.soaked)} of {span(whole)}"
    else:
        verdict = Verdict.INCONCLUSIVE
        moves = state.phase is Phase.PROGRESSING
        until = f"not before {_clock(now + missing)}" if moves else f"but not while {state.phase}"
        reason = f"held {span(state.soaked)} of {span(whole)}, {span(missing)} to go, {until}"
    return GateResult("soak", verdict, state.soaked, None, whole, 0, reason)


def min_samples(plan: Plan, state: RolloutState, evidence: Evidence) -> GateResult:
    """In a shadow stage (weight 0) samples are comparable pairs; in a serving stage the agent's requests, served or
    mirrored."""
    least = plan.gates.min_samples
    if state.weight == 0:
        samples, what = evidence.matched + evidence.mismatched, "comparable pairs"
    else:
        samples, what = evidence.agent.requests, "agent requests"
    reason = f"{samples} {what}, {least} are asked for"
    if samples < least:
        reason = f"{samples} of {least} {what}, {least - samples} to go"
        if state.weight == 0 and plan.shadow == 0:
            reason += "; none can come: shadow.percent is 0"
        elif state.weight == 0 and evidence.incomparable > samples:
            reason += f"; {evidence.incomparable} pairs could not be compared"
    verdict = Verdict.PASSED if samples >= least else Verdict.INCONCLUSIVE
    return GateResult("min_samples", verdict, float(samples), None, float(least), samples, reason)


def freeze(plan: Plan, now: float) -> GateResult:
    """Inconclusive within a window. It holds what moves by itself; an operator's verbs and rollbacks do not ask it."""
    frozen = plan.freeze.at(now)
    if frozen is None:
        return GateResult(FREEZE, Verdict.PASSED, None, None, None, 0, "no window of it is open")
    reason = f"stands still until {plan.freeze.clock(frozen.until)} ({frozen.text})"
    return GateResult(FREEZE, Verdict.INCONCLUSIVE, None, None, None, 0, reason)


def approval(plan: Plan, others: Iterable[GateResult]) -> GateResult:
    """Inconclusive until an operator promotes: that leaves the stage, so it never passes. `others` are the gates of the
    same stage."""
    missing = [result.name for result in others if result.verdict is not Verdict.PASSED and not result.dry_run]
    if missing:
        reason = f"once {_listed(missing)} passed, an operator's promote is needed"
    else:
        reason = f"all else passed; waits for an operator: crossfade promote {plan.route}"
    return GateResult(APPROVAL, Verdict.INCONCLUSIVE, None, None, None, 0, reason)


def _listed(names: list[str]) -> str:
    if len(names) == 1:
        return f"{names[0]} has"
    return f"{', '.join(names[:-1])} and {names[-1]} have"


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(seconds: float) -> str:
    """`45s`, `12m 30s`, `1h 5m`, `2d 3h`: two units are enough for an operator."""
    rest = round(seconds) if seconds >= 10 else round(seconds, 1)
    for unit, smaller, size, small in (("d", "h", 86_400, 3_600), ("h", "m", 3_600, 60), ("m", "s", 60, 1)):
        if rest >= size:
            big, left = int(rest // size), int(rest % size // small)
            return f"{big}{unit} {left}{smaller}" if left else f"{big}{unit}"
    return f"{rest:g}s"
