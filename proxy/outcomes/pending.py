"""Answers of legacy that are none yet: when a pair is open, by what it is found again, and how long it waits.

The case is looked for in the answer as it came, since only a keyed digest of it is kept. In the clear it is nowhere but
in the recorded body, where `record` leaves it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from proxy.config.late_schema import Pending
from proxy.model.records import Callback, Outcome, Record
from proxy.outcomes import body
from proxy.outcomes.body import Body, Kind
from proxy.outcomes.decision import MISSING, compile_path, plain_parts
from proxy.outcomes.late import LateOutcome, ref

MAX_CASE: Final = 256
"""Characters of a case; a longer value is none."""
MAX_DECISION: Final = 4096
"""Bytes of a decision as JSON."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What one rollout says of decisions that come later. Made once per configuration."""

    salt: str
    pending: Pending
    decision: str
    """Where both arms' answers have the decision, as an operator writes it."""
    members: tuple[str, ...]
    """The way to it where it leads through members of the body alone, else empty."""
    case: Callable[[Any], Any]
    """Finds the case in legacy's answer."""
    callback_case: Callable[[Any], Any] | None = None
    callback_decision: Callable[[Any], Any] | None = None


class UnreadableError(ValueError):
    """Holds no late decision. The sentence quotes nothing of it."""


class Opened(NamedTuple):
    """An open pair: `refs` by which a decision finds it, until when (Unix seconds), and what it waits for."""

    refs: tuple[str, ...]
    until: float
    reason: str


def waiting(pending: Pending, salt: str, decision: Any) -> Waiting:
    """`decision` is `compare.decision`. Raises ValueError, with the setting's name, where a path is no JSONPath."""
    compiled: list[Callable[[Any], Any]] = []
    paths = [("pending.key", pending.key)]
    if (callback := pending.callback) is not None:
        paths += [("pending.callback.key", callback.key), ("pending.callback.decision", callback.decision)]
    for setting, path in paths:
        try:
            compiled.append(compile_path(path))
        except ValueError as error:
            raise ValueError(f"{setting}: {error}") from None
    place, members = place_of(decision)
    return Waiting(salt, pending, place, members, *compiled)


def place_of(decision: Any) -> tuple[str, tuple[str, ...]]:
    """What `Waiting` says of where the decision is."""
    if not isinstance(decision, str):
        return str(getattr(decision, "header", "status")), ()
    parts = (plain_parts(decision) or ()) if decision.startswith("$") else ()
    members = tuple(part for part in parts if isinstance(part, str))
    return decision, members if len(members) == len(parts) else ()


def opened(record: Record, legacy: Body, rules: Waiting | None) -> Opened | None:
    """None where legacy's answer is one, or there is none. `legacy` is its body, unmasked."""
    if rules is None or record.legacy is None or not _waits(record.legacy, rules):
        return None
    refs = [ref(rules.salt, "request", record.request_id)]
    reason = "the human has not decided yet"
    case = case_text(rules.case(legacy.value)) if legacy.kind is Kind.JSON else None
    if case is None:
        reason += f"; legacy's answer names no case at {rules.pending.key}, so only the request's id finds this pair"
    else:
        refs.append(ref(rules.salt, "case", case))
    return Opened(tuple(refs), record.at + rules.pending.expires, reason)


def _waits(outcome: Outcome, rules: Waiting) -> bool:
    return not outcome.error and outcome.status in rules.pending.status


def case_text(value: Any) -> str | None:
    """A case as it is digested: a text, or a whole number as it is written. None where it is no case."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and 0 < len(value) <= MAX_CASE else None


def whole(decision: Any) -> bool:
    """Whether this may be a decision: it is neither too large nor nested deeper than an answer may be."""
    try:
        data = orjson.dumps(decision)
    except orjson.JSONEncodeError:
        return False  # a number beyond 64 bits, or deeper than even that goes
    return len(data) <= MAX_DECISION and body.read(data, truncated=False).kind is Kind.JSON


def read_callback(callback: Callback, rules: Waiting) -> LateOutcome:
    """The decision in a request that passed through. Raises UnreadableError."""
    if rules.callback_case is None or rules.callback_decision is None:
        raise UnreadableError("the route has no callback")
    content = body.read(callback.body, truncated=False)
    if content.kind is not Kind.JSON:
        raise UnreadableError("it is not JSON")
    case, decision = case_text(rules.callback_case(content.value)), rules.callback_decision(content.value)
    if case is None:
        raise UnreadableError("it names no case at pending.callback.key")
    if decision is MISSING:
        raise UnreadableError("it has nothing at pending.callback.decision")
    if not whole(decision):
        raise UnreadableError(f"its decision takes more than {MAX_DECISION} bytes, or is nested too deep")
    at = callback.at
    return LateOutcome(ref(rules.salt, "case", case), decision, at, at, "", "callback")
