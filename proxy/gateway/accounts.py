"""What is counted, recorded and logged of one request.

A base class of the exchange and not a part of it: one more object for each request would cost a twentieth of its time.
"""

from time import monotonic, time
from typing import Final

from proxy.gateway.connection import Taker
from proxy.gateway.recording import Draft, Notes
from proxy.gateway.request import Request
from proxy.gateway.shared import Shared
from proxy.gateway.table import RolloutEntry, RouteEntry, Way
from proxy.model.snapshot import CallbackSpec
from proxy.model.words import Failure, Fate, Reason
from proxy.routing.decide import sampled
from proxy.telemetry.logs import access_line

PATIENCE: Final = 1.0


class Accounts(Taker):
    """`_way` is the arm, in its mode, that is asked now. `started` is when the request was begun, `_sent_at` when this
    arm was asked, `_first_byte` how long after that its answer's body began, 0 before (seconds, monotonic). `_slot` is
    that in which the request arrived at this arm. `_unasked`: what failed was not even tried, since the arm is known to
    be down. `_callback`: the request may bring a human's late decision, which is read in passing."""

    __slots__ = (
        "_bucket", "_callback", "_first_byte", "_key", "_notes", "_reason", "_rollout", "_route", "_sent_at",
        "_shared", "_slot", "_unasked", "_way", "request", "started",
    )  # fmt: skip

    _route: RouteEntry
    _way: Way

    def __init__(self, shared: Shared, request: Request) -> None:
        self._shared = shared
        self.request = request
        self.started = self._sent_at = monotonic()
        self._first_byte = 0.0
        self._rollout: RolloutEntry | None = None
        self._notes: Notes | None = None
        self._key: bytes | None = None
        self._bucket: int | None = None
        self._slot = 0
        self._unasked = False
        self._callback: CallbackSpec | None = None
        self._reason = Reason.NO_ROLLOUT

    def _drawn(self, rollout: RolloutEntry, reason: Reason) -> int:
        """The request's arm is decided, for this reason: count it. Its number on the route, for sampling."""
        self._reason = reason
        self._shared.counters.decisions[self._route.reasons[reason._value_]] += 1
        count = rollout.requests
        rollout.requests = count + 1
        if sampled(count, rollout.record_share):
            self._notes = Notes(rollout, time())
        return count

    def _note_user(self, rollout: RolloutEntry) -> None:
        """Whom which arm serves: whether the split that comes about is the one asked for."""
        bucket = self._bucket
        if bucket is None:
            rollout.legacy.tally.no_key += 1
        elif rollout.splits:
            (rollout.agents_users if self._reason is Reason.BUCKET_IN else rollout.legacys_users).note(bucket)

    def _count_fate(self, rollout: RolloutEntry, fate: Fate) -> None:
        word = fate._value_
        self._shared.counters.fates[rollout.fates[word]] += 1
        if self._notes is not None:
            self._notes.fate = word

    def _count_retry(self, what: str) -> None:
        self._shared.counters.retries[(self._way.upstream.spec.name, what)] += 1

    def _count_missed(self, why: str) -> None:
        """A failure that legacy did not take over."""
        self._shared.counters.missed[(self._route.name, why)] += 1

    def _count_outcome(self, way: Way, duration: float, *, failed: bool, error: Failure | None) -> None:
        """What an arm did. On a rollout it is evidence, unless nobody drew it, there was no room to ask the arm, or the
        user has had too many bad ones."""
        tally = way.tally
        tally.open -= 1
        rollout = self._rollout
        if rollout is None:
            return
        if self._reason is Reason.OVERRIDE or error is Failure.OVERLOAD:
            tally.withdraw(self._slot)
            return
        limit = rollout.slower_than
        slow = limit > 0 and duration > limit
        if (failed or slow) and rollout.caps(self._bucket, way.agent, connect=error is Failure.CONNECT_FAILURE):
            tally.withdraw(self._slot)
            return
        tally.outcome(self._slot, failed=failed, slow=slow)
        if not failed:
            tally.seconds += duration
        if way.agent:
            if error is Failure.ESCALATION:
                tally.escalated += 1
            connect = error is Failure.CONNECT_FAILURE
            self._shared.agent_did(
                self._route.name, rollout, self._slot, failed=failed, connect=connect, unasked=self._unasked
            )

    def _count_answer(self, status: int, *, failed: bool, error: Failure | None) -> float:
        """The serving arm is done; the seconds it took."""
        now = monotonic()
        duration = now - self._sent_at
        self._way.tally.answered(status, now - self.started, self._first_byte)
        self._count_outcome(self._way, duration, failed=failed, error=error)
        return duration

    def _record(self, status: int, duration: float, error: Failure | None) -> None:
        """Put down what the serving arm did."""
        notes = self._notes
        if notes is None:
            return
        notes.rollout.due.one()
        told = notes.outcome(status, duration, error._value_ if error is not None else "", self._first_byte)
        if self._way.agent:
            notes.agent = told
        else:
            notes.legacy = told
            if notes.escalation:
                self._shared.handed.discard(self)
        self._part_done(notes)

    def _attempted(self, agent: Draft) -> None:
        """What the agent tried before legacy took over has been read."""
        if self._notes is not None:
            self._notes.agent = agent
            self._part_done(self._notes)

    def _part_done(self, notes: Notes) -> None:
        """One of serving, copies and partial answer is done; after the last one the record is made."""
        notes.parts -= 1
        if not notes.parts and self._rollout is not None:
            self._make_record(notes, self._rollout)

    def _make_record(self, notes: Notes, rollout: RolloutEntry) -> None:
        way = self._way
        served = (way.arm._value_, way.mode._value_, self._reason._value_)
        key_hash = rollout.key_hash(self._key) if self._key is not None else b""
        fields, bodies = notes.fields(self.request, self._route.name, key_hash, self._bucket, served)
        self._shared.counters.record(self._route.name, fields, bodies)

    def hand_over(self, now: float) -> bool:
        """Legacy took over and is at it yet: tell already what the agent tried, for the human who decides meanwhile.
        While more of that is coming it is waited for, PATIENCE seconds at most. Whether it was told."""
        notes, rollout = self._notes, self._rollout
        if notes is None or rollout is None:
            return True
        if notes.parts > 1 and now - self._sent_at < PATIENCE:
            return False
        rollout.due.one()
        self._make_record(notes, rollout)
        return True

    def _tell_callback(self, spec: CallbackSpec, status: int) -> None:
        """The request has brought a late decision, and its upstream has answered: only what it took is one."""
        request, counters = self.request, self._shared.counters
        if status >= 400:
            result = "refused"
        elif not request.whole or request.size > spec.max_body:
            result = "too_large"
        else:
            result = "read"
            counters.due(spec.route).one()
            body = b"".join(request.chunks)
            counters.record(spec.route, (spec.route, time(), request.request_id, body), len(body))
        counters.callbacks[(spec.route, result)] += 1

    def _log_access(self, status: int, sent: int) -> None:
        request, duration = self.request, monotonic() - self.started
        way = self._way if request.journey is not None else None
        access_line(
            at=time() - duration,
            request_id=request.request_id.decode("latin-1"),
            client=request.client_ip.decode("latin-1"),
            method=request.method.decode("latin-1"),
            target=request.path.decode("latin-1"),
            route=self._route.name if way is not None else "",
            arm=way.arm.value if way is not None else "",
            mode=way.mode.value if way is not None else "",
            status=status,
            duration=duration,
            received=request.size,
            sent=sent,
        )
