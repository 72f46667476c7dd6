"""What is kept of a request for its record: beginnings of bodies, allow-listed headers, never more than the bound."""

from typing import Any

from proxy.gateway.request import Request
from proxy.model.records import OutcomeFields
from proxy.model.snapshot import RecordSpec, RolloutSpec

Noted = list[tuple[bytes, bytes]]


class Excerpt:
    """The first `limit` bytes of a body."""

    __slots__ = ("_chunks", "_limit", "_size", "truncated")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._chunks: list[bytes] = []
        self.truncated = False

    def add(self, data: bytes) -> None:
        room = self._limit - self._size
        if len(data) > room:
            self.truncated = True
            data = data[:room]
        if data:
            self._size += len(data)
            self._chunks.append(data)

    def body(self) -> bytes:
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)


def outcome(
    spec: RecordSpec,
    status: int,
    duration: float,
    error: str,
    noted: Noted,
    excerpt: Excerpt | None,
    first_byte: float,
) -> OutcomeFields:
    """What one arm did, in the order of `proxy.model.records.Outcome`: a plain tuple, since one is made for each arm of
    each request. `status` 0, no headers and no excerpt where no answer came."""
    if excerpt is None:
        return (status, duration, error, (), None, False, 0.0)
    return (status, duration, error, allowed(spec, noted), excerpt.body(), excerpt.truncated, first_byte)


def allowed(spec: RecordSpec, noted: Noted) -> tuple[tuple[str, str], ...]:
    """The headers that may be recorded."""
    if not noted:
        return ()
    names = spec.headers
    return tuple([(name, value.decode("latin-1")) for raw, value in noted if (name := raw.decode("latin-1")) in names])


class Notes:
    """What is being kept of one request until all its parts are done: serving, the copy, a partial answer.

    `at` is Unix seconds. `first` is the beginning of a request body that was not kept whole. `parts` counts what is
    not done yet.
    """

    __slots__ = ("_excerpt", "_noted", "agent", "at", "escalation", "fate", "first", "legacy", "parts", "spec")

    def __init__(self, spec: RolloutSpec, at: float) -> None:
        self.spec = spec
        self.at = at
        self.first = b""
        self.fate = ""
        self.parts = 1
        self.legacy: OutcomeFields | None = None
        self.agent: OutcomeFields | None = None
        self.escalation: tuple[str, str] | None = None
        self._noted: Noted = []
        self._excerpt: Excerpt | None = None

    def answer(self, noted: Noted) -> None:
        """The serving arm's answer has begun."""
        self._noted = noted
        self._excerpt = Excerpt(self.spec.record.max_body)

    def body(self, data: bytes) -> None:
        if self._excerpt is not None:
            self._excerpt.add(data)

    def forget(self) -> None:
        """That answer is not given."""
        self._noted = []
        self._excerpt = None

    def outcome(self, status: int, duration: float, error: str, first_byte: float) -> OutcomeFields:
        """What the serving arm did, with as much of its answer as came."""
        status = status if self._excerpt else 0
        return outcome(self.spec.record, status, duration, error, self._noted, self._excerpt, first_byte)

    def pack(self, request: Request, route: str, key_hash: str, bucket: int | None, served: tuple[str, str, str]) -> (
        tuple[tuple[Any, ...], int]
    ):  # fmt: skip
        """The record's fields in the order of `proxy.model.records.Record`, and about how many bytes they take.
        `served` is (arm, mode, reason)."""
        spec, limit, legacy, agent = self.spec, self.spec.record.max_body, self.legacy, self.agent
        body = b"".join(request.chunks) if request.whole else self.first
        truncated = not request.whole or len(body) > limit
        if truncated:
            body = body[:limit]
        arm, mode, reason = served
        fields = (
            request.request_id.decode("latin-1"), request.trace[3:35].decode("latin-1"), route, spec.version,
            spec.stage, spec.epoch, self.at, request.method.decode("latin-1"), request.path.decode("latin-1"), key_hash,
            -1 if bucket is None else bucket, arm, mode, reason, self.fate, allowed(spec.record, request.noted),
            body, truncated, legacy, agent, self.escalation,
        )  # fmt: skip
        size = 400 + len(body)
        if legacy is not None:
            size += len(legacy[4] or b"")
        if agent is not None:
            size += len(agent[4] or b"")
        return fields, size
