"""What late decisions make of an open pair.

The rule: the end depends on which decisions came, not on the order in which they came. The one that was decided last
counts, all are kept; of two that were decided at the same moment, the one that we received last. A pair is expired when
no decision was received in time, however long one then waited to be joined.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from proxy.model.words import Arm, Match
from proxy.outcomes.body import Body, Kind
from proxy.outcomes.decision import MISSING
from proxy.outcomes.late import LateOutcome
from proxy.outcomes.pairing import Pair, Rules, counted_pair, mask
from proxy.outcomes.redact import MASK

MAX_REVISIONS: Final = 50
"""Decisions that are kept of one pair; the earliest go first."""

DUPLICATE: Final = "duplicate"
REVISED: Final = "revised"
EXPIRED: Final = "expired"
KEPT: Final = "kept"
OVER_LIMIT: Final = "over_limit"
"""What became of a decision, beside the verdicts: it says what was known; it came after another one; it came too late;
it is the only answer, since the agent was not asked; the pair has more than are kept."""


class Settled(NamedTuple):
    """`state` is what is kept of a closed pair (see `proxy.storage.late`), None where nothing has changed. `before` and
    `after` are the pair as it was counted and is to be counted; None where it is not. `verdict` is set where it has
    become another one."""

    result: str
    state: dict[str, Any] | None = None
    before: Pair | None = None
    after: Pair | None = None
    verdict: str | None = None


def settle(document: dict[str, Any], state: dict[str, Any] | None, outcome: LateOutcome, rules: Rules) -> Settled:
    """What the pair becomes with one more decision. Raises ValueError where it never was open."""
    return share(document, state, [_revision(outcome, rules)], rules)


def share(
    document: dict[str, Any], state: dict[str, Any] | None, revisions: Sequence[dict[str, Any]], rules: Rules
) -> Settled:
    """What the pair becomes with revisions of another one of the same case. Raises ValueError as `settle` does."""
    if "pending" not in document:
        raise ValueError("it is no pair that waits for a decision")
    before = state["revisions"] if state is not None else []
    fresh = [each for each in revisions if not any(_same(each, known) for known in before)]
    if not fresh:
        return Settled(DUPLICATE)
    kept = sorted([*before, *fresh], key=_order)[-MAX_REVISIONS:]
    if not any(each in kept for each in fresh):
        return Settled(OVER_LIMIT)
    in_time = any(each["received_at"] <= document["pending"]["until"] for each in fresh)  # all of one form
    if not in_time and (state is None or state["expired"]):
        return _settled(EXPIRED, document, state, _expired(document, kept), None)
    counts = kept[-1]["decision"]
    closed, after = _close(document, counts, kept, rules)
    if state is None or state["expired"]:
        result = closed["verdict"] or KEPT
    else:
        confirmed = all(each["decision"] == counts for each in fresh) and counts == state["legacy_decision"]
        result = DUPLICATE if confirmed else REVISED
    return _settled(result, document, state, closed, after)


def expire(document: dict[str, Any], state: dict[str, Any] | None) -> Settled:
    """What a pair becomes when its time is over; nothing new where a decision came."""
    if state is not None:
        return Settled(EXPIRED)
    return _settled(EXPIRED, document, None, _expired(document, []), None)


def merged(document: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    """The pair's document with what late decisions made of it."""
    shown = {name: state[name] for name in ("verdict", "verdict_reason", "differences", "revisions")}
    legacy = document["legacy"]
    if legacy is not None:
        legacy = {**legacy, "decision": state["legacy_decision"]}
    return {**document, **shown, "more_differences": 0, "legacy": legacy}


def _close(
    document: dict[str, Any], decision: Any, revisions: list[dict[str, Any]], rules: Rules
) -> tuple[dict[str, Any], Pair | None]:
    agent, unfit = document["agent"], document["pending"]["unfit"]
    if document["verdict"] is None:
        return _state(None, "only one arm was asked", decision, revisions), None
    theirs = agent["decision"]
    if unfit or MASK in (decision, theirs):
        reason = unfit or "the decision is hidden by record, so it cannot be compared later"
        state = _state(Match.INCOMPARABLE, reason, decision, revisions)
        return state, Pair(Match.INCOMPARABLE, {})
    verdict = rules.comparer.judge(decision, theirs)
    after = counted_pair(verdict, {}, document["segment"], decision, theirs, rules)
    state = _state(verdict, "", decision, revisions)
    if verdict is Match.MISMATCHED:
        place = rules.waiting.decision if rules.waiting is not None else ""
        state["differences"] = [{"path": place, Arm.LEGACY.value: decision, Arm.AGENT.value: theirs}]
    state["counted"] = [after.segment, after.direction, after.decisions]
    return state, after


def _settled(
    result: str, document: dict[str, Any], state: dict[str, Any] | None, closed: dict[str, Any], after: Pair | None
) -> Settled:
    first = document["verdict"] if state is None else state["verdict"]
    verdict = closed["verdict"] if closed["verdict"] != first else None
    return Settled(result, closed, _counted(state), after, verdict)


def _state(verdict: Match | str | None, reason: str, decision: Any, revisions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "verdict_reason": reason,
        "legacy_decision": decision,
        "differences": [],
        "revisions": revisions,
        "expired": False,
        "counted": [None, None, None],
    }


def _expired(document: dict[str, Any], revisions: list[dict[str, Any]]) -> dict[str, Any]:
    """A pair of which one arm alone was asked has no verdict, whatever comes or does not."""
    verdict = Match.EXPIRED.value if document["verdict"] is not None else None
    state = _state(verdict, "the human's decision did not come in time", None, revisions)
    return {**state, "expired": True}


def _counted(state: dict[str, Any] | None) -> Pair | None:
    """The pair as its evidence was counted."""
    if state is None or state["expired"] or state["verdict"] is None:
        return None
    segment, direction, decisions = state["counted"]
    return Pair(Match(state["verdict"]), {}, segment, direction, tuple(decisions) if decisions else None)


def _revision(outcome: LateOutcome, rules: Rules) -> dict[str, Any]:
    return {
        "decision": as_recorded(outcome.decision, rules),
        "decided_at": _text(outcome.decided_at),
        "by": rules.redactor.text(outcome.by),
        "via": outcome.via,
        "received_at": _text(outcome.received_at),
    }


def as_recorded(decision: Any, rules: Rules) -> Any:
    """A decision as it would be kept had legacy's answer held it: by its label, and hidden where that would be."""
    members, place = (rules.waiting.members, rules.waiting.decision) if rules.waiting is not None else ((), "")
    if not members:
        if place.startswith("$") and rules.chooser.covers(place):
            return MASK
        return rules.redactor.value(rules.comparer.name(decision))
    answer = decision
    for member in reversed(members):
        answer = {member: answer}
    found = mask(Body(Kind.JSON, answer, orjson.dumps(answer)), rules).decision
    return MASK if found is MISSING else found


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one[name] == other[name] for name in ("decided_at", "decision"))


def _order(revision: dict[str, Any]) -> tuple[str, str, bytes]:
    decision = orjson.dumps(revision["decision"], option=orjson.OPT_SORT_KEYS)
    return revision["decided_at"], revision["received_at"], decision


def _text(at: float) -> str:
    """All of one length, so that they sort as times do."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
