"""What a worker reports of one recorded request: what each arm did with it.

A `Record` crosses the link as nested tuples (msgpack arrays, see `link`); field order is the format. `pack` and
`unpack` are each other's inverse. Times are Unix seconds, durations seconds.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """What one arm did. `status` is 0 where no answer came; `error` is a `Failure` word or empty.

    `headers` are the allow-listed ones as (lower-case name, value). `body` is None where none was kept; `truncated`
    says that it is a beginning only. `first_byte` is how long the answer's body took to begin, 0 where none came.
    """

    status: int
    duration: float
    error: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    truncated: bool = False
    first_byte: float = 0.0


OutcomeFields = tuple[int, float, str, tuple[tuple[str, str], ...], bytes | None, bool, float]
"""An `Outcome` as it crosses the link."""


class Record(NamedTuple):
    """One request on a rollout's route, with both arms' outcomes where both were asked.

    `arm` is who answered the user, `mode` the mode in which it answered. `key_hash` is the keyed hash of the targeting
    key (hex), never the key. `target` is the path without its query. `escalation` is (id, reason) after a fallback.
    """

    request_id: str
    trace_id: str
    route: str
    version: str
    stage: str
    epoch: int
    at: float
    method: str
    target: str
    key_hash: str
    bucket: int
    arm: str
    mode: str
    reason: str
    fate: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    truncated: bool = False
    legacy: Outcome | None = None
    agent: Outcome | None = None
    escalation: tuple[str, str] | None = None


def unpack(fields: Sequence[Any]) -> Record:
    """The record from its decoded fields (lists or tuples). Raises TypeError or ValueError on a wrong shape."""
    record = Record(*fields)
    return record._replace(
        headers=_pairs(record.headers),
        legacy=_outcome(record.legacy),
        agent=_outcome(record.agent),
        escalation=tuple(record.escalation) if record.escalation else None,  # type: ignore[arg-type]  # wire lists
    )


def _outcome(fields: Sequence[Any] | None) -> Outcome | None:
    if fields is None:
        return None
    outcome = Outcome(*fields)
    return outcome._replace(headers=_pairs(outcome.headers))


def _pairs(pairs: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in pairs)
