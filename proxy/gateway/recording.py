"""What is kept of a request for its record: beginnings of bodies, allow-listed headers, never more than the bound."""

from typing import TYPE_CHECKING, Any

from proxy.model.records import Outcome, Record

if TYPE_CHECKING:
    from proxy.gateway.request import Request
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
    spec: "RecordSpec", status: int, duration: float, error: str, noted: Noted, excerpt: Excerpt | None
) -> Outcome:
    """What one arm did. `status` 0, no headers and no excerpt where no answer came."""
    if excerpt is None:
        return Outcome(status, duration, error)
    return Outcome(status, duration, error, allowed(spec, noted), excerpt.body(), excerpt.truncated)


def allowed(spec: "RecordSpec", noted: Noted) -> tuple[tuple[str, str], ...]:
    """The headers that may be recorded."""
    return tuple(
        (name, value.decode("latin-1")) for raw, value in noted if (name := raw.decode("latin-1")) in spec.headers
    )


def pack(
    request: "Request",
    route: str,
    spec: "RolloutSpec",
    key_hash: str,
    bucket: int | None,
    first: bytes,
    told: dict[str, Any],
) -> tuple[tuple[Any, ...], int]:
    """The record's fields for the wire, and about how many bytes they take. `first` is the beginning of a request body
    that was not kept whole; `told` are the fields that the exchange knows."""
    limit = spec.record.max_body
    body = b"".join(request.chunks) if request.whole else first
    truncated = not request.whole or len(body) > limit
    fields = Record(
        request_id=request.request_id.decode("latin-1"),
        trace_id=request.trace[3:35].decode("latin-1"),
        route=route,
        version=spec.version,
        stage=spec.stage,
        epoch=spec.epoch,
        method=request.method.decode("latin-1"),
        target=request.path.decode("latin-1"),
        key_hash=key_hash,
        bucket=-1 if bucket is None else bucket,
        headers=allowed(spec.record, request.noted),
        body=body[:limit] if truncated else body,
        truncated=truncated,
        **told,
    )
    size = 400 + len(fields.body or b"")
    for arm in (fields.legacy, fields.agent):
        size += len(arm.body or b"") if arm is not None else 0
    return fields, size
