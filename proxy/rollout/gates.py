"""The conditions to leave a stage, each with its numbers and a sentence that says what is missing.

The list of them, and where each stands. A gate that cannot be judged at a stage is not listed there. What makes it pass
or fail is with its subject: `waiting` (time, samples, calendar, operator), `pairs` (agreement), `rates` (errors,
slowness, fallbacks, escalations), `drawing` (whether the split is sound).

An inconclusive gate holds the stage, a failed one moves as `on_failure` says; one that is `dry_run` only reports. None
passes without data.
"""

from collections.abc import Iterator
from dataclasses import replace

from proxy.model.rollouts import Evidence, GateResult, RolloutState, Users
from proxy.model.words import Phase
from proxy.rollout import drawing, pairs, rates, waiting
from proxy.rollout.plan import Plan


def evaluate(plan: Plan, state: RolloutState, evidence: Evidence, users: Users, now: float) -> tuple[GateResult, ...]:
    """The gates of the stage that `state` is at, judged on what was seen there, at `now` (Unix seconds).

    A fixed split is left by no gate: all that can be measured there is a report. There are no gates at a stage that the
    plan does not have.
    """
    if plan.split is not None:
        return tuple(replace(result, dry_run=True) for result in _measured(plan, state, evidence, users))
    if state.stage >= len(plan.stages):
        return ()
    results = [
        waiting.soak(plan, state, now),
        waiting.min_samples(plan, state, evidence),
        *_measured(plan, state, evidence, users),
    ]
    if state.phase is not Phase.COMPLETED:  # there is nowhere to go from there
        if plan.freeze.windows:
            results.append(waiting.freeze(plan, now))
        if plan.stages[state.stage].manual:
            results.append(waiting.approval(plan, results))
    return tuple(results)


def _measured(plan: Plan, state: RolloutState, evidence: Evidence, users: Users) -> Iterator[GateResult]:
    gates, least = plan.gates, plan.gates.min_samples
    if pairs.paired(plan, state):
        yield pairs.agreement(gates.agreement, evidence, least)
        if gates.segments is not None:
            yield pairs.segments(gates.segments, evidence)
        if gates.direction is not None:
            yield pairs.direction(gates.direction, evidence, least)
        if gates.kappa is not None:
            yield pairs.kappa(gates.kappa, evidence, least)
    if (errors := rates.error_rate(gates.error_rate, state, evidence, least)) is not None:
        yield errors
    if gates.latency is not None and (slow := rates.latency(gates.latency, state, evidence, least)) is not None:
        yield slow
    if gates.fallback_rate is not None and state.weight > 0:
        yield rates.fallback_rate(gates.fallback_rate, evidence, least)
    if gates.escalation_rate is not None:
        yield rates.escalation_rate(gates.escalation_rate, evidence, least)
    yield drawing.key_coverage(gates.key_coverage, evidence)
    if (ratio := drawing.sample_ratio(gates.sample_ratio, state, users)) is not None:
        yield ratio
