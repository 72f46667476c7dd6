"""One request's way: decision, the arm that serves it, fallback, the answer; beside it the copy.

The rules of this file: the client gets exactly one answer; once a byte of an answer has left for the client, no other
arm can serve; the shadow never delays, fails or changes the answer; each request on a rollout's route counts one fate.
"""

from time import monotonic, time
from typing import Final

from proxy.gateway.answers import STATUS_LINES, error_answer
from proxy.gateway.connection import Connection, Taker
from proxy.gateway.fallback import PartialAnswer, too_unsure, why_not
from proxy.gateway.recording import Notes
from proxy.gateway.reply import Client, Reply
from proxy.gateway.request import REPLAY, Request
from proxy.gateway.shadow import ShadowCopy
from proxy.gateway.shared import Shared
from proxy.gateway.table import RolloutEntry, RouteEntry, Way
from proxy.model.errors import NoRouteError, RequestError, UpstreamError
from proxy.model.records import OutcomeFields
from proxy.model.words import Failure, Fate, Mode
from proxy.routing.decide import BUCKET_IN, NO_ROLLOUT, Decision, decide, sampled
from proxy.routing.identity import find_key
from proxy.telemetry.logs import access_line

_JOIN: Final = 32 << 10
"""A request up to this many bytes is joined into one write; of a larger one the body is written without a copy."""
_LAST_CHUNK: Final = b"0\r\n\r\n"


class Exchange(Taker):
    """Carries `request` from its head to the answer's end. The serving arm's `Taker`."""

    __slots__ = (
        "_bucket",
        "_chunked",
        "_client",
        "_connection",
        "_decision",
        "_escalation",
        "_key",
        "_notes",
        "_over",
        "_reply",
        "_rollout",
        "_route",
        "_sent_at",
        "_shared",
        "_stale",
        "_status",
        "_table",
        "_tries",
        "_wants_copy",
        "_way",
        "request",
        "started",
    )  # fmt: skip

    _route: RouteEntry
    _way: Way
    _decision: Decision

    def __init__(self, client: Client, shared: Shared, request: Request) -> None:
        self._client = client
        self._shared = shared
        self._table = shared.table
        self._reply = Reply(client)
        self.request = request
        self.started = self._sent_at = monotonic()
        self._rollout: RolloutEntry | None = None
        self._notes: Notes | None = None
        self._connection: Connection | None = None
        self._key: bytes | None = None
        self._bucket: int | None = None
        self._escalation = b""
        self._status = self._tries = 0
        self._over = self._stale = self._wants_copy = self._chunked = False

    # --- decide

    def start(self) -> None:
        """The request is next in its connection's order: decide and send."""
        shared, request, table = self._shared, self.request, self._table
        shared.inflight += 1
        request.request_id = shared.request_id(request.request_id)
        place = table.matcher.find(request.method, request.host, request.path, request.noted)
        if place < 0:
            if request.target == b"*":
                self._answer_options()
            else:
                self._answer_error(NoRouteError("no route matches this host, path and method"))
            return
        request.trace = shared.trace(request.trace)
        request.journey = self
        self._route = route = table.routes[place]
        if route.rollout is None:
            self._decision = NO_ROLLOUT
            self._serve(route.legacy)
        else:
            self._decide(route, route.rollout)

    def _decide(self, route: RouteEntry, rollout: RolloutEntry) -> None:
        request, spec = self.request, rollout.spec
        self._rollout = rollout
        self._key = key = find_key(rollout.sources, request.noted, request.query, request.client_ip)
        if key is not None:
            self._bucket = rollout.bucket(key)
        self._decision = decision = decide(rollout.weight, self._bucket, tripped=rollout.tripped)
        self._shared.counters.decisions[route.reasons[decision.reason._value_]] += 1
        count = rollout.requests
        rollout.requests = count + 1
        if sampled(count, rollout.record_share):
            self._notes = Notes(spec, time())
        if decision is BUCKET_IN:
            request.keep_limit = max(REPLAY, spec.fallback.max_body)
            self._count_fate(rollout, Fate.SAMPLED_OUT)
            self._serve(rollout.canary)
            return
        if not sampled(count, rollout.shadow_share):
            self._count_fate(rollout, Fate.SAMPLED_OUT)
        elif max(request.length, request.size) > spec.shadow.max_body:
            self._count_fate(rollout, Fate.OVERSIZED)
        else:
            request.keep_limit = max(REPLAY, spec.shadow.max_body)
            self._wants_copy = True
        self._serve(rollout.legacy)
        if self._wants_copy and request.complete:
            self._copy(rollout)

    def _serve(self, way: Way) -> None:
        self._way = way
        way.tally.open += 1
        self._sent_at = monotonic()
        upstream = way.upstream
        if upstream.retries:
            upstream.earn_retry()
        self._ask(fresh=False)

    def _ask(self, *, fresh: bool) -> None:
        if not self.request.complete:
            self._client.hold_request(True)  # until there is a connection that the body can go to
        self._way.upstream.ask(self, fresh=fresh)

    # --- the copy

    def _copy(self, rollout: RolloutEntry) -> None:
        """Send the shadow its copy, within the bounds."""
        self._wants_copy = False
        spec, pending, size = rollout.spec.shadow, rollout.pending, self.request.size
        if size > spec.max_body:
            self._count_fate(rollout, Fate.OVERSIZED)
        elif len(pending.copies) >= spec.max_pending or pending.bytes + size > spec.max_pending_bytes:
            self._count_fate(rollout, Fate.DROPPED)
        else:
            if self._notes is not None:
                self._notes.parts += 1
            rollout.shadow.upstream.ask(
                ShadowCopy(self.request, rollout, self._copied, recording=self._notes is not None)
            )

    def _no_copy(self, fate: Fate) -> None:
        if self._wants_copy and self._rollout is not None:
            self._wants_copy = False
            self._count_fate(self._rollout, fate)

    def _copied(self, fate: Fate, agent: OutcomeFields | None) -> None:
        """The copy has met its fate."""
        assert self._rollout is not None  # only a rollout's request is copied
        self._count_fate(self._rollout, fate)
        if self._notes is not None:
            self._notes.agent = agent
            self._part_done(self._notes)

    def _count_fate(self, rollout: RolloutEntry, fate: Fate) -> None:
        word = fate._value_
        self._shared.counters.fates[rollout.fates[word]] += 1
        if self._notes is not None:
            self._notes.fate = word

    # --- the request goes out

    def connected(self, connection: Connection) -> None:
        way, request = self._way, self.request
        if self._over:
            way.upstream.release(connection, keep=True)
            return
        self._connection = connection
        self._chunked = chunked = request.length < 0 and not request.complete
        extra = self._escalation if way.mode is Mode.FALLBACK else b""
        pieces = [request.head(way, extra, chunked=chunked), *request.chunks]
        if chunked and request.chunks:
            pieces.insert(1, b"%x\r\n" % request.size)
            pieces.append(b"\r\n")
        if request.size <= _JOIN:
            pieces = [b"".join(pieces)]
        connection.send(pieces, head_only=request.method == b"HEAD", complete=request.complete)
        if not request.complete:
            self._client.hold_request(False)
            self._bound_body()

    def more(self, data: bytes) -> None:
        """More of the request's body has come."""
        if self._connection is not None:
            self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
            self._bound_body()

    def _bound_body(self) -> None:
        """A body over the limit is let go once it has been sent: it cannot be sent to a second arm."""
        request = self.request
        if request.size > request.keep_limit and request.whole:
            if self._notes is None:
                request.let_go(0)
            else:
                self._notes.first = request.let_go(self._notes.spec.record.max_body)
            self._no_copy(Fate.OVERSIZED)

    def all_there(self) -> None:
        """The request's body is whole."""
        if self._over:
            return
        if self._connection is not None:
            if self._chunked:
                self._connection.write(_LAST_CHUNK)
            self._connection.sent_all()
        if self._wants_copy and self._rollout is not None:
            self._copy(self._rollout)

    def hold(self, full: bool) -> None:
        self._client.hold_request(full and not self.request.complete)

    def hold_answer(self, full: bool) -> None:
        """The client does not take the answer as fast as it comes, or does again."""
        if self._connection is not None:
            self._connection.hold_reading(full)

    # --- the answer comes back

    def interim(self, connection: Connection) -> None:
        if not self.request.old and not self._way.agent:
            self._client.write(b"".join((STATUS_LINES[connection.status], *connection.lines, b"\r\n")))

    def answered(self, connection: Connection) -> None:
        status = connection.status
        if status == 503 and self._may_try_again("503"):
            connection.abandon()
            self._connection = None
            self._again("503")
            return
        if self._notes is not None:
            self._notes.answer(connection.noted)
        self._status = status
        request, reply, arm = self.request, self._reply, b"legacy"
        if self._way.agent and (rollout := self._rollout) is not None:
            if self._agent_cannot(connection, rollout):
                return
            arm = b"agent"
            if rollout.confidence is not None and status < 300:
                reply.judged = []
        if not request.complete:
            connection.spoil()  # the rest of the request will not be sent
        reply.head(request, connection, arm, draining=self._shared.draining)

    def body(self, data: bytes) -> None:
        if self._notes is not None:
            self._notes.body(data)
        self._reply.body(data)

    def flush(self) -> None:
        self._reply.flush()

    def ended(self) -> None:
        self._connection = None
        judged = self._reply.judged
        if judged is not None and self._too_unsure(b"".join(judged)):
            return
        self._reply.end()
        self._finish(self._status, failed=self._status >= 500)

    def lost(self, error: UpstreamError, *, stale: bool) -> None:
        self._connection = None
        if self._over:
            return
        failure = error.failure
        if self._reply.left:
            # An answer cut short must not look whole (RFC 9112, section 8): the client's connection goes down with it.
            self._finish(self._status, failed=True, error=failure, cut=True)
            return
        self._reply.forget()
        if self._notes is not None:
            self._notes.forget()
        if stale and not self._stale and self.request.whole:
            self._stale = True
            self._count_retry("stale")
            self._ask(fresh=True)
        elif failure is Failure.CONNECT_FAILURE and self._may_try_again(failure.value):
            self._again(failure.value)
        elif self._way.agent and self._can_fall_back(failure):
            self._fall_back(failure, failure.value)
        else:
            self._answer_error(error)

    # --- once more

    def _may_try_again(self, what: str) -> bool:
        upstream = self._way.upstream
        retry = upstream.spec.retry
        return self._tries < retry.attempts and what in retry.on and self.request.whole and upstream.may_retry()

    def _again(self, what: str) -> None:
        self._tries += 1
        self._count_retry(what)
        self._ask(fresh=True)

    def _count_retry(self, what: str) -> None:
        self._shared.counters.retries[(self._way.upstream.spec.name, what)] += 1

    # --- the agent cannot

    def _agent_cannot(self, connection: Connection, rollout: RolloutEntry) -> bool:
        """Whether the answer's head says that the agent could not, and legacy has taken over."""
        told = why_not(rollout, connection)
        if told is None:
            return False
        failure, reason = told
        if not self._can_fall_back(failure):
            return False
        self._connection = None
        if not self.request.complete:
            connection.spoil()
        if self._notes is not None:
            self._notes.parts += 1
            connection.taker = PartialAnswer(rollout, connection, self._attempted, failure.value, self._sent_at)
        else:
            connection.taker = None  # the rest is read and let go, so that the connection can be used again
        self._fall_back(failure, reason)
        return True

    def _too_unsure(self, body: bytes) -> bool:
        """Whether the agent's whole answer tells too little confidence, and legacy has taken over."""
        rollout = self._rollout
        if rollout is None or (reason := too_unsure(rollout, body)) is None:
            return False
        if not self._can_fall_back(Failure.ESCALATION):
            return False
        self._reply.forget()
        self._fall_back(Failure.ESCALATION, reason)
        return True

    def _can_fall_back(self, failure: Failure) -> bool:
        """Whether legacy can take over after this failure. Where it should but cannot, that is counted."""
        rollout = self._rollout
        if rollout is None or failure not in rollout.spec.fallback.on:
            return False
        if self.request.whole:
            return True
        self._shared.counters.missed[(self._route.name, "body_too_large")] += 1
        return False

    def _fall_back(self, failure: Failure, reason: str) -> None:
        """The same request goes to legacy, with the reason of the attempt's end."""
        rollout, shared = self._rollout, self._shared
        assert rollout is not None  # only a rollout has an agent
        shared.counters.fallbacks[(self._route.name, failure.value)] += 1
        duration = monotonic() - self._sent_at
        self._count_outcome(rollout, self._way, duration, failed=failure is not Failure.ESCALATION, error=failure)
        escalation = shared.new_request_id()
        self._escalation = b"x-crossfade-escalation: %b\r\nx-crossfade-escalation-reason: %b\r\n" % (
            escalation, reason.encode("latin-1", "replace"),
        )  # fmt: skip
        if self._notes is not None:
            self._notes.agent = self._notes.outcome(self._status, duration, failure.value)
            self._notes.forget()
            self._notes.escalation = (escalation.decode(), reason)
        self._tries = 0
        self._stale = False
        self._serve(rollout.fallback)

    def _attempted(self, agent: OutcomeFields) -> None:
        """What the agent tried before legacy took over has been read."""
        if self._notes is not None:
            self._notes.agent = agent
            self._part_done(self._notes)

    # --- the end

    def client_gone(self) -> None:
        """The client left: its upstream request is cancelled, and it counts for no arm."""
        if self._over:
            return
        self._shared.counters.gone[(self._route.name,)] += 1
        self._shared.inflight -= 1
        self._over = True
        self.request.journey = None
        self._end_early()

    def cut_short(self, error: RequestError) -> None:
        """The rest of the request's body will not come, or not in time, or is too large."""
        if self._over:
            return
        self._end_early()
        if self._reply.left:
            self._shared.counters.refused(error.error)
            self._close(error.status, cut=True)
        else:
            self._reply.forget()
            self._answer_error(error)

    def _end_early(self) -> None:
        """No arm's outcome: nothing is counted for one, nothing recorded."""
        self._way.tally.open -= 1
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None
        self._notes = None
        self._no_copy(Fate.DROPPED)

    def _answer_error(self, error: RequestError) -> None:
        """No arm has answered: the client hears it from us."""
        request = self.request
        if not request.complete or request.old or self._shared.draining:
            request.keep_alive = False
        self._client.write(
            error_answer(error.status, error.error, error.detail, request.request_id,
                         close=not request.keep_alive, head=request.method == b"HEAD")
        )  # fmt: skip
        if isinstance(error, UpstreamError):
            self._finish(error.status, failed=True, error=error.failure)
        else:
            self._shared.counters.refused(error.error)
            self._close(error.status)

    def _answer_options(self) -> None:
        """`OPTIONS *` asks about us (RFC 9110, section 9.3.7)."""
        self._client.write(STATUS_LINES[204] + b"x-request-id: " + self.request.request_id + b"\r\n\r\n")
        self._close(204)

    def _finish(self, status: int, *, failed: bool, error: Failure | None = None, cut: bool = False) -> None:
        """The serving arm is done: count, record, go on."""
        now = monotonic()
        way, rollout, notes = self._way, self._rollout, self._notes
        way.tally.answered(status, now - self.started)
        if rollout is None:
            way.tally.open -= 1
        else:
            self._count_outcome(rollout, way, now - self._sent_at, failed=failed, error=error)
        self._close(status, cut=cut)
        if notes is not None:
            told = notes.outcome(status, now - self._sent_at, error.value if error is not None else "")
            if way.agent:
                notes.agent = told
            else:
                notes.legacy = told
            self._part_done(notes)

    def _count_outcome(
        self, rollout: RolloutEntry, way: Way, duration: float, *, failed: bool, error: Failure | None
    ) -> None:
        limit = rollout.slower_than
        way.tally.outcome(failed=failed, slow=limit > 0 and duration > limit)
        way.tally.open -= 1
        if way.agent:
            self._shared.agent_did(self._route.name, rollout, failed=failed, error=error)

    def _close(self, status: int, *, cut: bool = False) -> None:
        self._over = True
        self._shared.inflight -= 1
        if self._table.access_log:
            self._log_access(status)
        self.request.journey = None  # no circle is left: what is done goes at once, not by the collector
        if not self.request.complete:
            self._no_copy(Fate.DROPPED)
        if cut:
            self._client.abort()
        else:
            self._client.finished(keep_alive=self.request.keep_alive)

    def _part_done(self, notes: Notes) -> None:
        """One of serving, copy and partial answer is done; after the last one the record is made."""
        notes.parts -= 1
        if notes.parts or self._rollout is None:
            return
        served = (self._way.arm.value, self._way.mode.value, self._decision.reason.value)
        key_hash = self._rollout.key_hash(self._key) if self._key is not None else ""
        fields, size = notes.pack(self.request, self._route.name, key_hash, self._bucket, served)
        self._shared.counters.record(self._route.name, fields, size)

    def _log_access(self, status: int) -> None:
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
            sent=self._reply.sent,
        )
