"""What is kept of a request for its record: beginnings of bodies, allow-listed headers, never more than the bound."""

from typing import Any, Final

from proxy.gateway.request import Request
from proxy.gateway.table import RolloutEntry
from proxy.model.records import NOT_ASKED

Noted = list[tuple[bytes, bytes]]


class Draft:
    """One arm's outcome in the making: a `proxy.model.records.Outcome` with its headers as lines. Of its body there are
    the first `limit` bytes, `size` so far."""

    __slots__ = (
        "_first", "_limit", "_pieces", "duration", "error", "first_byte", "headers", "size", "status", "truncated",
    )  # fmt: skip

    def __init__(self, limit: int) -> None:
        self.status = 0
        self.duration = self.first_byte = 0.0
        self.error = ""
        self.headers = b""
        self.truncated = False
        self.size = 0
        self._limit = limit
        self._first = b""
        self._pieces: list[bytes] | None = None  # most bodies come in one piece, and need no list

    def add(self, data: bytes) -> None:
        """More of the body."""
        room = self._limit - self.size
        if len(data) > room:
            self.truncated = True
            data = data[:room]
        if not data:
            return
        self.size += len(data)
        if not self._first:
            self._first = data
        elif self._pieces is None:
            self._pieces = [self._first, data]
        else:
            self._pieces.append(data)

    def body(self) -> bytes:
        return self._first if self._pieces is None else b"".join(self._pieces)

    def fields(self) -> tuple[Any, ...]:
        """As an outcome is packed."""
        return (
            self.status, self.duration, self.error, self.headers, self.body(), self.truncated, self.first_byte,
        )  # fmt: skip

    def finish(self, status: int, duration: float, error: str, first_byte: float) -> "Draft":
        """The rest of the outcome is known; `status` is 0 where no answer came."""
        self.status = status
        self.duration = duration
        self.error = error
        self.first_byte = first_byte
        return self


def begun(rollout: RolloutEntry, noted: Noted) -> Draft:
    """The outcome of an arm whose answer begins with these headers; those that may be recorded are kept."""
    draft = Draft(rollout.spec.record.max_body)
    draft.headers = allowed(rollout, noted)
    return draft


def allowed(rollout: RolloutEntry, noted: Noted) -> bytes:
    """The headers that may be recorded, as lines."""
    lines = b""
    for name, value in noted:
        start = rollout.recorded.get(name)
        if start is not None:
            lines = b"".join((lines, start, value, b"\r\n"))
    return lines


_NOBODY: Final = Draft(0).finish(NOT_ASKED, 0.0, "", 0.0)


class Notes:
    """What is being kept of one request until all its parts are done: serving, copies, a partial answer.

    `at` is Unix seconds. `first` is the beginning of a request body that was not kept whole. `parts` counts what is
    not done yet. After a fallback `escalation` is its id and `why` its reason.
    """

    __slots__ = ("_answer", "agent", "at", "escalation", "fate", "first", "legacy", "parts", "repeat", "rollout", "why")

    def __init__(self, rollout: RolloutEntry, at: float) -> None:
        self.rollout = rollout
        self.at = at
        self.first = self.escalation = b""
        self.fate = self.why = ""
        self.parts = 1
        self.legacy = self.agent = _NOBODY
        self.repeat: Draft | None = None
        self._answer: Draft | None = None

    def answer(self, noted: Noted) -> None:
        """The serving arm's answer has begun."""
        self._answer = begun(self.rollout, noted)

    def body(self, data: bytes) -> None:
        if self._answer is not None:
            self._answer.add(data)

    def forget(self) -> None:
        """That answer is not given."""
        self._answer = None

    def outcome(self, status: int, duration: float, error: str, first_byte: float) -> Draft:
        """What the serving arm did, with as much of its answer as came."""
        if self._answer is None:
            return Draft(0).finish(0, duration, error, 0.0)
        return self._answer.finish(status, duration, error, first_byte)

    def fields(
        self, request: Request, route: str, key_hash: bytes, bucket: int | None, served: tuple[str, str, str]
    ) -> tuple[tuple[Any, ...], int]:
        """The record's fields as they are packed (see `proxy.model.records`), and how many bytes its bodies have.
        `served` is (arm, mode, reason)."""
        spec, limit, legacy, agent = self.rollout.spec, self.rollout.spec.record.max_body, self.legacy, self.agent
        if request.whole:
            chunks = request.chunks
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        else:
            body = self.first
        truncated = not request.whole or len(body) > limit
        if truncated:
            body = body[:limit]
        fields = (
            request.request_id, request.trace, route, spec.version, spec.stage, spec.epoch, self.at,
            request.method, request.path, key_hash, -1 if bucket is None else bucket, served[0], served[1], served[2],
            self.fate, allowed(self.rollout, request.noted), body, truncated, self.escalation, self.why,
            legacy.status, legacy.duration, legacy.error, legacy.headers, legacy.body(), legacy.truncated,
            legacy.first_byte,
            agent.status, agent.duration, agent.error, agent.headers, agent.body(), agent.truncated, agent.first_byte,
            self.repeat.fields() if self.repeat is not None else None,
        )  # fmt: skip
        again = self.repeat.size if self.repeat is not None else 0
        return fields, len(body) + legacy.size + agent.size + again
