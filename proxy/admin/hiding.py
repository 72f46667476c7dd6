"""No anchoring: of a pair whose human has not decided yet nothing is shown that the agent said.

Whoever looks may be the one who decides, or talk to them; a decision made with the agent's answer in sight would agree
with it, and the agreement would say nothing. So what is shown of an open pair is what is on a list, and whatever else a
pair may come to hold is left out of it.
"""

from typing import Any, Final

from proxy.model.words import Match

WHY: Final = "the human has not decided yet"

SHOWN: Final = frozenset({
    "id", "request_id", "trace_id", "route", "version", "stage", "epoch", "at", "key_hash", "bucket", "arm", "mode",
    "reason", "shadow_fate", "segment", "verdict", "verdict_reason", "request", "legacy", "escalation",
})  # fmt: skip
"""`escalation` because it was told to the human already."""


def is_open(pair: dict[str, Any]) -> bool:
    return pair.get("verdict") == Match.PENDING


def hidden(pair: dict[str, Any]) -> dict[str, Any]:
    """The pair with the same members, those that are not shown empty, and `hidden`, which says why."""
    if not is_open(pair):
        return pair
    shown = {name: value if name in SHOWN else _empty(value) for name, value in pair.items()}
    if "pending" in pair:
        shown["pending"] = {"until": pair["pending"].get("until")}
    return {**shown, "hidden": WHY}


def _empty(value: Any) -> Any:
    return [] if isinstance(value, list) else None
