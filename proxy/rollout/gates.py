"""The conditions to leave a stage, each with its numbers and a sentence that says what is missing.

Which gates a stage has:
- `soak` and `min_samples` always. In a shadow stage (weight 0) samples are comparable pairs; in a serving stage they
  are the agent's requests, served or mirrored.
- `agreement` wherever pairs can arise: not at full weight or without shadow copies, where legacy and agent no longer
  see the same request. A shadow stage without copies keeps it and stays inconclusive: nothing was shown.
- `error_rate`, and `latency` where the guard has a limit for it, wherever legacy still serves enough to compare with.

An inconclusive or failed gate holds the stage. Rolling back is the guard's work, not theirs.
"""

from datetime import UTC, datetime
from math import sqrt
from typing import Final

from proxy.analysis import agreement
from proxy.model.rollouts import Evidence, GateResult, RolloutState, Users
from proxy.model.snapshot import BUCKETS
from proxy.model.words import Phase, Verdict
from proxy.rollout.plan import Plan

ALPHA: Final = 0.05
"""Chance that the agreement gate passes wrongly, or that a gate fails wrongly, however often it is looked at."""

MIN_LEGACY: Final = 100
"""Fewer legacy requests than this (or than `min_samples`, where that is less) say nothing about legacy's own rate."""


def evaluate(plan: Plan, state: RolloutState, evidence: Evidence, users: Users, now: float) -> tuple[GateResult, ...]:
    """The gates of the stage that `state` is at, judged on what was seen there. There are none under a fixed split, nor
    at a stage that the plan does not have.

    `now` (Unix seconds) is only for the sentences: nothing passes by the clock.
    """
    if state.stage >= len(plan.stages):
        return ()
    results = [_soak(plan, state, now), _min_samples(plan, state, evidence)]
    if state.weight == 0 or (0 < state.weight < BUCKETS and plan.shadow > 0):
        results.append(_agreement(plan, evidence))
    if state.weight < BUCKETS:
        results.append(_share("error_rate", "failed", plan, evidence, plan.gates.error_margin))
        if plan.gates.slow_margin is not None:
            results.append(_share("latency", "slow", plan, evidence, plan.gates.slow_margin))
    return tuple(results)


def _soak(plan: Plan, state: RolloutState, now: float) -> GateResult:
    soak = plan.stages[state.stage].soak
    missing = soak - state.soaked
    if missing <= 0:
        verdict, reason = Verdict.PASSED, f"held {_span(state.soaked)} of {_span(soak)}"
    else:
        verdict = Verdict.INCONCLUSIVE
        moves = state.phase is Phase.PROGRESSING
        until = f"until {_clock(now + missing)}" if moves else f"but not while {state.phase}"
        reason = f"held {_span(state.soaked)} of {_span(soak)}, {_span(missing)} to go, {until}"
    return GateResult("soak", verdict, state.soaked, None, soak, 0, reason)


def _min_samples(plan: Plan, state: RolloutState, evidence: Evidence) -> GateResult:
    least = plan.gates.min_samples
    if state.weight == 0:
        samples, what = evidence.matched + evidence.mismatched, "comparable pairs"
    else:
        samples, what = evidence.agent.requests, "agent requests"
    reason = f"{samples} of {least} {what}"
    if samples < least:
        reason += f", {least - samples} to go"
        if state.weight == 0 and plan.shadow == 0:
            reason += "; none can come: shadow.percent is 0"
        elif state.weight == 0 and evidence.incomparable > samples:
            reason += f"; {evidence.incomparable} pairs could not be compared"
    verdict = Verdict.PASSED if samples >= least else Verdict.INCONCLUSIVE
    return GateResult("min_samples", verdict, float(samples), None, float(least), samples, reason)


def _agreement(plan: Plan, evidence: Evidence) -> GateResult:
    floor, ok, bad = plan.gates.agreement, evidence.matched, evidence.mismatched
    samples = ok + bad
    verdict = agreement.verdict(ok, bad, floor, ALPHA)
    bound = agreement.lower_bound(ok, bad, ALPHA)
    value = ok / samples if samples else None
    if floor <= 0:
        reason = "no agreement is asked for"
    elif value is None:
        lost = f", {evidence.incomparable} could not be compared" if evidence.incomparable else ""
        reason = f"no comparable pairs yet{lost}; {floor:.2%} must surely agree"
    elif verdict is Verdict.PASSED:
        reason = f"{value:.2%} of {samples} pairs agree, surely more than {floor:.2%}"
    elif verdict is Verdict.FAILED:
        reason = f"{value:.2%} of {samples} pairs agree, surely fewer than {floor:.2%}"
    else:
        reason = f"{value:.2%} of {samples} pairs agree, surely {bound:.2%}; more than {floor:.2%} must be sure"
        if floor >= 1:
            reason += ", which no number of pairs can show: lower gates.agreement"
    return GateResult("agreement", verdict, value, bound, floor, samples, reason)


def _share(name: str, word: str, plan: Plan, evidence: Evidence, margin: float) -> GateResult:
    """The agent's share of bad outcomes against legacy's plus `margin`.

    Passed where it is not above. Failed where it is above even when legacy's rate is taken two standard errors higher
    (as the guard does) and chance is counted in. Between the two, and without enough data, inconclusive.
    """
    agent, legacy, min_samples = evidence.agent, evidence.legacy, plan.gates.min_samples
    bad, peers_bad = (agent.failed, legacy.failed) if word == "failed" else (agent.slow, legacy.slow)
    value = bad / agent.requests if agent.requests else None
    min_legacy = min(MIN_LEGACY, min_samples)
    if value is None or agent.requests < min_samples or legacy.requests < min_legacy:
        reason = (
            f"too few requests to compare: the agent had {agent.requests} of {min_samples},"
            f" legacy {legacy.requests} of {min_legacy}"
        )
        return GateResult(name, Verdict.INCONCLUSIVE, value, None, None, agent.requests, reason)
    threshold = peers_bad / legacy.requests + margin
    smoothed = (peers_bad + 1) / (legacy.requests + 20)
    bound = smoothed + margin + 2 * sqrt(smoothed / (legacy.requests + 20))
    seen = f"{value:.2%} of {agent.requests} agent requests {word}, legacy's {peers_bad / legacy.requests:.2%}"
    if value <= threshold:
        verdict, reason = Verdict.PASSED, f"{seen} plus the margin of {margin:.2%} allows it"
    elif agreement.exceeds(bad, agent.requests - bad, bound, ALPHA):
        verdict, reason = Verdict.FAILED, f"{seen}: surely more than the margin of {margin:.2%} worse"
    else:
        verdict, reason = Verdict.INCONCLUSIVE, f"{seen}: over the margin of {margin:.2%}, but it may be chance"
    return GateResult(name, verdict, value, bound, threshold, agent.requests, reason)


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _span(seconds: float) -> str:
    """`45s`, `12m 30s`, `1h 5m`, `2d 3h`: two units are enough for an operator."""
    rest = round(seconds) if seconds >= 10 else round(seconds, 1)
    for unit, smaller, size, small in (("d", "h", 86_400, 3_600), ("h", "m", 3_600, 60), ("m", "s", 60, 1)):
        if rest >= size:
            big, left = int(rest // size), int(rest % size // small)
            return f"{big}{unit} {left}{smaller}" if left else f"{big}{unit}"
    return f"{rest:g}s"
