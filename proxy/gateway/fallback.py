"""When the agent cannot: how its answer says so, and what becomes of the rest of that answer."""

from collections.abc import Callable
from time import monotonic
from typing import Final

import orjson

from proxy.gateway.connection import Connection, Taker
from proxy.gateway.recording import Draft, begun
from proxy.gateway.table import RolloutEntry
from proxy.model.errors import UpstreamError
from proxy.model.words import Failure

_LONGEST_REASON: Final = 200


def escalated(rollout: RolloutEntry, noted: list[tuple[bytes, bytes]]) -> str | None:
    """The reason that an answer's headers tell for handing the request to a human, or None."""
    for name, value in noted:
        if name == rollout.escalate:
            return value.decode("latin-1")[:_LONGEST_REASON] or "unspecified"
    return None


def why_not(rollout: RolloutEntry, connection: Connection) -> tuple[Failure, str] | None:
    """The failure and its reason that an answer's head tells, or None where the agent served."""
    reason = escalated(rollout, connection.noted)
    if reason is not None:
        return Failure.ESCALATION, reason
    if connection.status >= 500:
        return Failure.SERVER_ERROR, f"status {connection.status}"
    return None


def may_be_unsure(connection: Connection) -> bool:
    """Whether an answer's body may tell a confidence, so that the client has to wait for its end. JSON may, and what
    does not say what it is; a stream of events or of lines of JSON does not."""
    if connection.status >= 300:
        return False
    for name, value in connection.noted:
        if name == b"content-type":
            return value.partition(b";")[0].strip().lower().endswith((b"/json", b"+json"))
    return True


def too_unsure(rollout: RolloutEntry, body: bytes) -> str | None:
    """The reason where an answer's confidence is below the limit. An answer that tells none is taken as it is."""
    if rollout.confidence is None:
        return None
    try:
        value = rollout.confidence(orjson.loads(body))
    except orjson.JSONDecodeError:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return f"confidence {value:g}" if value < rollout.spec.escalate.confidence_below else None


class PartialAnswer(Taker):
    """A `Taker` that reads the rest of an answer which nobody gets, for the record: what the agent tried.

    It reads up to the record's limit; past it the connection is closed.
    """

    __slots__ = (
        "_connection", "_done", "_draft", "_error", "_first_byte", "_sent_at", "_status",
    )  # fmt: skip

    def __init__(
        self,
        rollout: RolloutEntry,
        connection: Connection,
        done: Callable[[Draft], None],
        error: str,
        sent_at: float,
    ) -> None:
        self._done = done
        self._connection = connection
        self._status = connection.status
        self._error = error
        self._sent_at = sent_at
        self._first_byte = 0.0
        self._draft = begun(rollout, connection.noted)

    def connected(self, connection: Connection) -> None:  # noqa: ARG002  # the port has it
        raise AssertionError("it takes over a connection that is under way")

    def answered(self, connection: Connection) -> None:  # the port has it
        pass  # it was made of the head

    def interim(self, connection: Connection) -> None:
        pass

    def body(self, data: bytes) -> None:
        if not self._first_byte:
            self._first_byte = self._connection.now - self._sent_at
        self._draft.add(data)

    def flush(self) -> None:
        if self._draft.truncated:
            self._connection.abandon()
            self.ended()

    def hold(self, full: bool) -> None:
        pass  # the request was sent

    def ended(self) -> None:
        duration = monotonic() - self._sent_at
        self._done(self._draft.finish(self._status, duration, self._error, self._first_byte))

    def lost(self, error: UpstreamError, *, stale: bool) -> None:  # noqa: ARG002  # the port has them
        self.ended()
