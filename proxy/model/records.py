"""What a worker reports of one recorded request: what each arm did with it.

A record crosses the link packed, and nobody unpacks it before the recorder: parcels of records are bytes in ticks,
queues and spools. Packed it is a msgpack array of FIELDS values:

- those of `Record` from `request_id` to `truncated`, in their order;
- the escalation's id and reason, both empty without one;
- those of `Outcome`, in their order, for legacy and then for the agent; `status` NOT_ASKED for an arm that was not;
- the same fields as one array for the agent's answer to the same request asked again, nil where it was not.

A callback, read while it passed through, is an array of CALLBACK_FIELDS values: those of `Callback`.

Flat, and with bytes for what was bytes, so that it costs the worker the least: texts that came over HTTP, all latin-1;
headers as lines, `name: value\\r\\n` each; for the trace its whole `traceparent`; the key's hash. A body that there is
none of is empty. Times are Unix seconds, durations seconds.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import msgpack

NOT_ASKED: Final = -1
"""A packed outcome's status where there is no outcome."""


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
    repeat: Outcome | None = None
    """What the agent said to the same request once more; how far it differs from itself is its own noise."""


class Callback(NamedTuple):
    """A human's late decision as it passed through on its way to whoever waits for it: the body of a request below the
    callback's path of `route`, which its upstream took. `request_id` is of the request that brought it."""

    route: str
    at: float
    request_id: str
    body: bytes


class Decided(NamedTuple):
    """A human's late decision as somebody tells it. `name` is the case, or with `kind` `request` the id of the request.
    `decided_at` (Unix seconds) is None where it was not told; `by` is who decided, as far as is known."""

    route: str
    kind: Literal["case", "request"]
    name: str
    decision: Any
    decided_at: float | None = None
    by: str = ""


CALLBACK_FIELDS: Final = len(Callback._fields)
_LEGACY: Final = Record._fields.index("legacy") + 2
_AGENT: Final = _LEGACY + len(Outcome._fields)
_REPEAT: Final = _AGENT + len(Outcome._fields)
FIELDS: Final = _REPEAT + 1
_TRACE_ID: Final = slice(3, 35)


class Parcel(NamedTuple):
    """Packed records, and how many there are of each route."""

    records: list[bytes]
    counts: dict[str, int]


def split(data: bytes) -> Iterator[Any]:
    """The records that were packed one after the other, each for `unpack`. Raises ValueError where that is not so, or
    the last one is not whole."""
    unpacker = msgpack.Unpacker(use_list=False, max_buffer_size=len(data))
    end = 0
    try:
        unpacker.feed(data)
        for fields in unpacker:
            end = unpacker.tell()
            yield fields
    except (ValueError, msgpack.UnpackException) as error:
        raise ValueError(f"the records are no msgpack: {error}") from error
    if end != len(data):
        raise ValueError("the records end within one")


def is_callback(fields: Sequence[Any]) -> bool:
    return isinstance(fields, tuple) and len(fields) == CALLBACK_FIELDS


def unpack_callback(fields: Sequence[Any]) -> Callback:
    """The callback from its values. Raises TypeError or ValueError on a wrong shape."""
    route, at, request_id, body = fields
    return Callback(route, at, str(request_id, "latin-1"), body)


def unpack(fields: Sequence[Any]) -> Record:
    """The record from its FIELDS values. Raises TypeError or ValueError on a wrong shape."""
    if not isinstance(fields, tuple) or len(fields) != FIELDS:
        raise TypeError(f"a record is not of {FIELDS} fields")
    (
        request_id, trace, route, version, stage, epoch, at, method, target, key_hash, bucket, arm, mode, reason,
        fate, headers, body, truncated, escalation, why,
    ) = fields[:_LEGACY]  # fmt: skip
    return Record(
        str(request_id, "latin-1"), str(trace[_TRACE_ID], "latin-1"), route, version, stage, epoch, at,
        str(method, "latin-1"), str(target, "latin-1"), bytes.hex(key_hash), bucket, arm, mode, reason, fate,
        _headers(headers), body or None, truncated,
        _outcome(fields[_LEGACY:_AGENT]), _outcome(fields[_AGENT:_REPEAT]),
        (str(escalation, "latin-1"), why) if escalation else None,
        _outcome(fields[_REPEAT]) if fields[_REPEAT] is not None else None,
    )  # fmt: skip


def _outcome(fields: Sequence[Any]) -> Outcome | None:
    status, duration, error, headers, body, truncated, first_byte = fields
    if status == NOT_ASKED:
        return None
    return Outcome(status, duration, error, _headers(headers), body or None, truncated, first_byte)


@lru_cache(maxsize=256)
def _headers(lines: bytes) -> tuple[tuple[str, str], ...]:
    """From `name: value` lines, of which most records have the same few. A value has no line's end in it: the head's
    parser lets none through."""
    if not lines:
        return ()
    found = [line.partition(": ") for line in str(lines, "latin-1").split("\r\n")[:-1]]
    return tuple((name, value) for name, _, value in found)
