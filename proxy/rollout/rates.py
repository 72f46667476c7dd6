"""How often the agent fails, is slow, falls back or hands over: against legacy's own rate, against a ceiling, or both.

Against a ceiling both ways take proof, as `shares` says. Against legacy they cannot be alike: to prove that two rates
near 1 % differ by less than 0.2 % takes tens of thousands of requests. So the gate passes where the agent's rate, as it
was seen in enough requests, is not above legacy's and the margin; that it does not get worse is the guard's work. It
fails on proof: where the agent's rate is surely above the most that legacy's can surely be, and the margin.
"""

from typing import Final, NamedTuple

from proxy.analysis.agreement import exceeds, lower_bound
from proxy.config.gates_schema import Allowance, Ceiling
from proxy.model.rollouts import Evidence, GateResult, RolloutState
from proxy.model.snapshot import BUCKETS
from proxy.model.words import Verdict
from proxy.rollout.shares import FALSE_FAILURE, Share, at_most, to_go

MIN_LEGACY: Final = 100
"""Fewer legacy requests than this (or than `min_samples`, where that is less) say nothing about legacy's own rate."""

_WORST_FIRST: Final = (Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED)


class _Bad(NamedTuple):
    """Both arms' requests, and which of them were bad, in a word."""

    word: str
    agent: int
    agent_bad: int
    legacy: int
    legacy_bad: int
    legacy_open: int


class _Judged(NamedTuple):
    verdict: Verdict
    threshold: float | None
    bound: float | None
    reason: str


def error_rate(allowed: Allowance, state: RolloutState, evidence: Evidence, min_samples: int) -> GateResult | None:
    """None where there is nothing to hold it against: at full weight, without a `max`."""
    bad = _bad("failed", evidence, evidence.agent.failed, evidence.legacy.failed)
    return _allowed("error_rate", allowed, bad, state, min_samples)


def latency(allowed: Allowance, state: RolloutState, evidence: Evidence, min_samples: int) -> GateResult | None:
    """Of requests that took longer than the guard's `slower_than`; as `error_rate`."""
    bad = _bad("slow", evidence, evidence.agent.slow, evidence.legacy.slow)
    return _allowed("latency", allowed, bad, state, min_samples)


def fallback_rate(most: Ceiling, evidence: Evidence, min_samples: int) -> GateResult:
    """Of the requests that the agent was to serve, those that legacy had to finish. (For serving stages only.)"""
    return _ceiling(
        "fallback_rate", most, evidence.fallbacks, evidence.served, "served requests fell back", min_samples
    )


def escalation_rate(most: Ceiling, evidence: Evidence, min_samples: int) -> GateResult:
    """Of the agent's requests, copies too, those that it handed over."""
    return _ceiling(
        "escalation_rate", most, evidence.escalated, evidence.agent.requests, "agent requests escalated", min_samples
    )


def _ceiling(name: str, most: Ceiling, bad: int, total: int, what: str, least: int) -> GateResult:
    bad = min(bad, total)  # what is counted in two places may arrive one after the other
    share = at_most(bad, total - bad, most.max, least)
    reason = _of_ceiling(share, bad, most.max, what)
    return GateResult(name, share.verdict, share.value, share.bound, most.max, share.samples, reason, most.dry_run)


def _of_ceiling(share: Share, bad: int, most: float, what: str) -> str:
    if share.value is None:
        return f"no requests yet; surely at most {most:.2%} may be bad"
    seen = f"{share.value:.2%} of {share.samples} {what}"
    if share.verdict is Verdict.PASSED:
        return f"{seen}, surely at most {most:.2%}"
    if share.verdict is Verdict.FAILED:
        return f"{seen}, surely more than {most:.2%}"
    more = to_go(share.samples - bad, bad, 1 - most, "requests")
    return f"{seen}, surely at most {share.bound:.2%}; at most {most:.2%} must be sure{more}"


def _allowed(name: str, allowed: Allowance, bad: _Bad, state: RolloutState, min_samples: int) -> GateResult | None:
    """Both comparisons, where both are asked for: the worse verdict counts, and both reasons are told."""
    judged = []
    if allowed.margin is not None and state.weight < BUCKETS:
        judged.append(_against_legacy(bad, allowed.margin, min_samples))
    if allowed.max is not None:
        share = at_most(bad.agent_bad, bad.agent - bad.agent_bad, allowed.max, min_samples)
        reason = _of_ceiling(share, bad.agent_bad, allowed.max, f"agent requests {bad.word}")
        judged.append(_Judged(share.verdict, allowed.max, share.bound, reason))
    if not judged:
        return None
    judged.sort(key=lambda one: _WORST_FIRST.index(one.verdict))
    worst, value = judged[0], bad.agent_bad / bad.agent if bad.agent else None
    reason = "; ".join(one.reason for one in judged)
    return GateResult(name, worst.verdict, value, worst.bound, worst.threshold, bad.agent, reason, allowed.dry_run)


def _against_legacy(bad: _Bad, margin: float, min_samples: int) -> _Judged:
    min_legacy = min(MIN_LEGACY, min_samples)
    if bad.agent < min_samples or bad.legacy < min_legacy:
        reason = (
            f"too few requests to compare: the agent had {bad.agent} of {min_samples},"
            f" legacy {bad.legacy} of {min_legacy}"
        )
        return _Judged(Verdict.INCONCLUSIVE, None, None, reason)
    value, peers = bad.agent_bad / bad.agent, bad.legacy_bad / bad.legacy
    threshold = peers + margin
    seen = f"{value:.2%} of {bad.agent} agent requests {bad.word}, legacy's {peers:.2%}"
    if value <= threshold:
        return _Judged(Verdict.PASSED, threshold, None, f"{seen} plus the margin of {margin:.2%} allows it")
    if _surely_worse(bad, margin):
        return _Judged(Verdict.FAILED, threshold, None, f"{seen}: surely more than the margin of {margin:.2%} worse")
    reason = f"{seen}: over the margin of {margin:.2%}, which may be chance; it must come down to {threshold:.2%}"
    return _Judged(Verdict.INCONCLUSIVE, threshold, None, reason)


def _surely_worse(bad: _Bad, margin: float) -> bool:
    """The agent's rate is surely above all that legacy's may be; half of the chance of a false claim goes to each arm.

    As in the guard, what legacy has not answered yet counts as bad: in an outage of both arms the one that fails at
    once is not to blame for the one that hangs.
    """
    peers = bad.legacy + bad.legacy_open
    most = 1 - lower_bound(bad.legacy - bad.legacy_bad, bad.legacy_bad + peers - bad.legacy, FALSE_FAILURE / 2)
    return exceeds(bad.agent_bad, bad.agent - bad.agent_bad, most + margin, FALSE_FAILURE / 2)


def _bad(word: str, evidence: Evidence, agent_bad: int, legacy_bad: int) -> _Bad:
    """Legacy's open requests were drawn and have not ended (or were withdrawn, which is not told apart here)."""
    agent, legacy = evidence.agent.requests, evidence.legacy.requests
    still_open = max(0, evidence.drawn - evidence.served - legacy)
    return _Bad(word, agent, min(agent_bad, agent), legacy, min(legacy_bad, legacy), still_open)
