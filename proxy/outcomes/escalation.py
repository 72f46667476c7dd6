"""What was handed over to the human, in short: why, as one of a few words (a sentence makes no label and no filter),
and what a queue or a list shows of it.
"""

from typing import Any, Final

from proxy.model.records import Record
from proxy.model.words import Failure

CONFIDENCE: Final = "confidence"
"""The agent answered, and was too unsure."""

REASONS: Final = (*(failure.value for failure in Failure), CONFIDENCE)


def reason(record: Record) -> str:
    """Of a record that has an escalation: what kept the agent from completing."""
    error = record.agent.error if record.agent is not None else ""
    return _word(error, record.escalation[1] if record.escalation is not None else "")


def summary(route: str, escalation_id: str, pair: dict[str, Any]) -> dict[str, Any]:
    """What a list shows, from the pair's document.

    `reason` is one of REASONS, `detail` what was said of it, `at` when the request came, `duration` how long the agent
    took over it in seconds. Of a pair that does not open (its key is not there) little is known.
    """
    escalation, agent, request = (pair.get(name) or {} for name in ("escalation", "agent", "request"))
    detail = str(escalation.get("reason", ""))
    return {
        "id": escalation_id,
        "route": route,
        "pair_id": pair["id"],
        "at": pair.get("at"),
        "reason": _word(agent.get("error") or "", detail),
        "detail": detail or pair.get("unreadable", ""),
        "request_id": pair.get("request_id"),
        "trace_id": pair.get("trace_id"),
        "version": pair.get("version"),
        "stage": pair.get("stage"),
        "method": request.get("method"),
        "target": request.get("target"),
        "duration": agent.get("duration"),
    }


def _word(error: str, detail: str) -> str:
    if error not in REASONS:
        return Failure.ESCALATION.value
    if error == Failure.ESCALATION and detail.startswith(CONFIDENCE):
        return CONFIDENCE
    return error
