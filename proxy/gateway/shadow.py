"""The copy of a request that goes to the arm that does not serve, or to the agent once more. It can do nothing to the
answer.

Bounded by `max_pending`, `max_pending_bytes` and `timeout`; whatever becomes of it ends in exactly one fate.
"""

from collections.abc import Callable
from time import monotonic

from proxy.gateway.connection import Connection, Taker
from proxy.gateway.fallback import escalated, too_unsure
from proxy.gateway.recording import Draft, allowed
from proxy.gateway.request import Request
from proxy.gateway.table import RolloutEntry, Way
from proxy.model.errors import UpstreamError
from proxy.model.words import Failure, Fate


class ShadowCopy(Taker):
    """A `Taker` that keeps the beginning of the answer for the record and lets the rest go."""

    __slots__ = (
        "_bucket", "_connection", "_done", "_draft", "_first_byte", "_noted", "_over", "_request", "_rollout",
        "_sent_at", "_size", "_slot", "_stale", "_status", "_way", "deadline",
    )  # fmt: skip

    def __init__(
        self,
        request: Request,
        rollout: RolloutEntry,
        way: Way,
        bucket: int | None,
        done: Callable[[Fate, Draft | None], None],
        *,
        recording: bool,
    ) -> None:
        """It goes the `way`. `done` is called once, with the fate and, where `recording`, with what the arm did."""
        self._request = request
        self._done = done
        self._rollout = rollout
        self._way = way
        self._bucket = bucket
        self._connection: Connection | None = None
        self._draft = Draft(rollout.spec.record.max_body) if recording else None
        self._noted: list[tuple[bytes, bytes]] = []
        self._over = self._stale = False
        self._status = 0
        self._size = request.size
        self._first_byte = 0.0
        self._sent_at = monotonic()
        self.deadline = self._sent_at + rollout.spec.shadow.timeout
        rollout.pending.copies.add(self)
        rollout.pending.bytes += self._size
        self._slot = way.tally.begin()

    def connected(self, connection: Connection) -> None:
        way = self._way
        if self._over:
            way.upstream.release(connection, keep=True)
            return
        self._connection = connection
        request = self._request
        head = request.head(way)
        connection.send([b"".join((head, *request.chunks))], head_only=request.method == b"HEAD", complete=True)

    def answered(self, connection: Connection) -> None:
        self._status = connection.status
        self._noted = connection.noted
        if self._draft is not None:
            self._draft.headers = allowed(self._rollout, connection.noted)

    def interim(self, connection: Connection) -> None:
        pass  # nobody to pass it on to

    def body(self, data: bytes) -> None:
        if not self._first_byte and self._connection is not None:
            self._first_byte = self._connection.now - self._sent_at
        if self._draft is not None:
            self._draft.add(data)

    def flush(self) -> None:
        pass

    def wanted(self) -> bool:
        return not self._over

    def hold(self, full: bool) -> None:
        pass  # the copy is one write, within `max_pending_bytes`

    def ended(self) -> None:
        """An agent that would have handed the request on has no decision that could be compared."""
        word = Failure.ESCALATION.value if self._hands_on() else ""
        self._end(Fate.MIRRORED, word, failed=self._status >= 500 and not word)

    def _hands_on(self) -> bool:
        rollout, draft = self._rollout, self._draft
        if not self._way.agent:
            return False
        if escalated(rollout, self._noted) is not None:
            return True
        if rollout.confidence is None or draft is None or draft.truncated or self._status >= 300:
            return False
        return too_unsure(rollout, draft.body()) is not None

    def lost(self, error: UpstreamError, *, stale: bool) -> None:
        if self._over:
            return
        if stale and not self._stale and (not error.sent or self._request.repeatable):
            self._stale = True
            self._way.upstream.ask(self, fresh=True)
        elif error.failure is Failure.OVERLOAD:
            self.drop()
        elif error.failure is Failure.TIMEOUT:
            self._end(Fate.TIMED_OUT, error.failure.value, failed=True)
        else:
            self._end(Fate.FAILED, error.failure.value, failed=True)

    def time_out(self) -> None:
        """The deadline has passed; called by the sweep."""
        if self._connection is not None:
            self._connection.abandon()
        self._end(Fate.TIMED_OUT, Failure.TIMEOUT.value, failed=True)

    def drop(self) -> None:
        """There was no room for it, or the worker ends: what it would have come to says nothing of the agent."""
        if self._connection is not None:
            self._connection.abandon()
        self._leave()
        self._way.tally.withdraw(self._slot)
        self._done(Fate.DROPPED, None)

    def _leave(self) -> None:
        self._over = True
        self._connection = None
        rollout = self._rollout
        rollout.pending.copies.discard(self)
        rollout.pending.bytes -= self._size
        self._way.tally.open -= 1

    def _end(self, fate: Fate, error: str, *, failed: bool) -> None:
        self._leave()
        rollout = self._rollout
        duration = monotonic() - self._sent_at
        tally = self._way.tally
        if self._status:
            tally.answered(self._status, duration, self._first_byte)
        counts = tally.evidence is not None
        limit = rollout.slower_than
        slow = limit > 0 and duration > limit
        if error == Failure.ESCALATION.value:
            tally.escalated += 1
        connect = error == Failure.CONNECT_FAILURE.value
        if counts and (failed or slow) and rollout.caps(self._bucket, True, connect=connect):
            tally.withdraw(self._slot)
        else:
            tally.outcome(self._slot, failed=failed, slow=slow)
        if self._draft is not None:
            self._draft.finish(self._status, duration, error, self._first_byte)
        self._done(fate, self._draft)
