"""One request's way: decision, the arm that serves it, fallback, the answer; beside it the copy.

The rules of this file: the client gets exactly one answer; once a byte of an answer has left for the client, no other
arm can serve; the shadow never delays, fails or changes the answer; each request on a rollout's route counts one fate.
"""

from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final

from proxy.gateway.answers import STATUS_LINES, error_answer
from proxy.gateway.fallback import PartialAnswer, too_unsure, why_not
from proxy.gateway.recording import Excerpt, outcome, pack
from proxy.gateway.request import REPLAY, Request
from proxy.gateway.shadow import ShadowCopy
from proxy.model.errors import NoRouteError, RequestError, UpstreamError
from proxy.model.records import Outcome
from proxy.model.words import Arm, Failure, Fate, Mode
from proxy.routing.decide import BUCKET_IN, NO_ROLLOUT, Decision, decide, sampled
from proxy.routing.identity import find_key
from proxy.telemetry.logs import access_line

if TYPE_CHECKING:
    from proxy.gateway.downstream import Downstream
    from proxy.gateway.table import RolloutEntry, RouteEntry, Table, Way
    from proxy.gateway.upstream import Connection

_JOIN: Final = 32 << 10
"""Pieces up to this many bytes are joined into one write; larger ones are written without a copy."""
_LAST_CHUNK: Final = b"0\r\n\r\n"


class Exchange:
    """Carries `request` from its head to the answer's end. The serving arm's `Taker`."""

    __slots__ = (
        "_agent", "_answer_left", "_bucket", "_chunked_in", "_chunked_out", "_connection", "_decision", "_down",
        "_escalation", "_excerpt", "_fate", "_first", "_judged", "_key", "_legacy", "_noted", "_out", "_out_size",
        "_over", "_parts", "_recording", "_rollout", "_route", "_sent", "_sent_at", "_stale", "_status", "_table",
        "_tries", "_wants_shadow", "_way", "_worker", "at", "request", "started",
    )  # fmt: skip

    _route: "RouteEntry"
    _way: "Way"
    _decision: Decision
    request: Request

    def __init__(self, down: "Downstream", table: "Table", request: Request) -> None:
        self._down = down
        self._worker = down.worker
        self._table = table
        self.request = request
        self.started = self._sent_at = monotonic()
        self.at = 0.0
        self._rollout: RolloutEntry | None = None
        self._connection: Connection | None = None
        self._key: bytes | None = None
        self._bucket: int | None = None
        self._status = self._tries = self._out_size = self._sent = 0
        self._out: list[bytes] = []
        self._over = self._answer_left = self._stale = self._recording = self._wants_shadow = False
        self._chunked_in = self._chunked_out = False
        self._judged: list[bytes] | None = None
        self._excerpt: Excerpt | None = None

    # --- decide

    def start(self) -> None:
        """The request is next in its connection's order: decide and send."""
        worker, request, table = self._worker, self.request, self._table
        worker.inflight += 1
        request.request_id = worker.request_id(request.request_id)
        index = table.matcher.find(request.method, request.host, request.path, request.noted)
        if index < 0:
            if request.target == b"*":
                self._answer_options()
            else:
                self._answer_error(NoRouteError("no route matches this host, path and method"))
            return
        request.trace = worker.new_trace(request.trace)
        request.journey = self
        self._route = route = table.routes[index]
        if route.rollout is None:
            self._decision = NO_ROLLOUT
            self._serve(route.legacy)
        else:
            self._decide(route, route.rollout)

    def _decide(self, route: "RouteEntry", rollout: "RolloutEntry") -> None:
        request, spec = self.request, rollout.spec
        self._rollout = rollout
        self._key = key = find_key(rollout.sources, request.noted, request.query, request.client_ip)
        if key is not None:
            self._bucket = rollout.bucket(key)
        self._decision = decision = decide(spec.weight, self._bucket, tripped=rollout.tripped)
        self._worker.counters.decisions[route.reasons[decision.reason._value_]] += 1
        count = rollout.requests
        rollout.requests = count + 1
        if sampled(count, spec.record.share):
            self._start_recording()
        if decision is BUCKET_IN:
            request.keep_limit = max(REPLAY, spec.fallback.max_body)
            self._count_fate(Fate.SAMPLED_OUT)
            self._serve(rollout.canary)
            return
        if not sampled(count, spec.shadow.share):
            self._count_fate(Fate.SAMPLED_OUT)
        elif max(request.length, request.size) > spec.shadow.max_body:
            self._count_fate(Fate.OVERSIZED)
        else:
            request.keep_limit = max(REPLAY, spec.shadow.max_body)
            self._wants_shadow = True
        self._serve(rollout.legacy)
        if self._wants_shadow and request.complete:
            self._copy(rollout)

    def _start_recording(self) -> None:
        self._recording = True
        self.at = time()
        self._first = b""
        self._fate = ""
        self._parts = 1
        self._agent: Outcome | None = None
        self._legacy: Outcome | None = None
        self._escalation: tuple[str, str] | None = None

    def _serve(self, way: "Way") -> None:
        self._way = way
        way.tally.open += 1
        self._sent_at = monotonic()
        upstream = way.upstream
        if upstream.spec.retry.attempts:
            upstream.earn_retry()
        self._ask(fresh=False)

    def _ask(self, *, fresh: bool) -> None:
        if not self.request.complete:
            self._down.hold_request(True)  # until there is a connection that the body can go to
        self._way.upstream.ask(self, fresh=fresh)

    # --- the copy

    def _copy(self, rollout: "RolloutEntry") -> None:
        """Send the shadow its copy, within the bounds."""
        self._wants_shadow = False
        spec, pending, size = rollout.spec.shadow, rollout.pending, self.request.size
        if size > spec.max_body:
            self._count_fate(Fate.OVERSIZED)
        elif len(pending.copies) >= spec.max_pending or pending.bytes + size > spec.max_pending_bytes:
            self._count_fate(Fate.DROPPED)
        else:
            if self._recording:
                self._parts += 1
            rollout.shadow.upstream.ask(ShadowCopy(self, rollout, recording=self._recording))

    def _no_copy(self, fate: Fate) -> None:
        self._wants_shadow = False
        self._count_fate(fate)

    def copied(self, fate: Fate, agent: Outcome | None) -> None:
        """The copy has met its fate."""
        self._count_fate(fate)
        if self._recording:
            self._agent = agent
            self._part_done()

    def _count_fate(self, fate: Fate) -> None:
        rollout = self._rollout
        assert rollout is not None  # only a rollout's route has fates
        word = fate._value_
        self._worker.counters.fates[rollout.fates[word]] += 1
        if self._recording:
            self._fate = word

    # --- the request goes out

    def connected(self, connection: "Connection") -> None:
        way, request = self._way, self.request
        if self._over:
            way.upstream.release(connection, keep=True)
            return
        self._connection = connection
        self._chunked_out = chunked = request.length < 0 and not request.complete
        head = request.head(way, self._escalation_lines(way), chunked=chunked)
        pieces = [head, *request.chunks]
        if chunked and request.chunks:
            pieces = [head, b"%x\r\n" % request.size, *request.chunks, b"\r\n"]
        if request.size <= _JOIN:
            pieces = [b"".join(pieces)]
        connection.send(pieces, head_only=request.method == b"HEAD", complete=request.complete)
        if not request.complete:
            self._down.hold_request(False)
            self._bound_body()

    def _escalation_lines(self, way: "Way") -> bytes:
        if way.mode is not Mode.FALLBACK or self._escalation is None:
            return b""
        escalation, reason = self._escalation
        line = f"x-crossfade-escalation: {escalation}\r\nx-crossfade-escalation-reason: {reason}\r\n"
        return line.encode("latin-1", "replace")

    def more(self, data: bytes) -> None:
        """More of the request's body has come."""
        if self._connection is not None:
            self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked_out else data)
            if self.request.whole:
                self._bound_body()

    def _bound_body(self) -> None:
        """A body over the limit is let go once it has been sent: it cannot be sent to a second arm."""
        request = self.request
        if request.size > request.keep_limit and request.whole:
            first = request.let_go(self._rollout.spec.record.max_body if self._recording and self._rollout else 0)
            if self._recording:
                self._first = first
            if self._wants_shadow:
                self._no_copy(Fate.OVERSIZED)

    def all_there(self) -> None:
        """The request's body is whole."""
        if self._over:
            return
        if self._connection is not None:
            if self._chunked_out:
                self._connection.write(_LAST_CHUNK)
            self._connection.sent_all()
        if self._wants_shadow and self._rollout is not None:
            self._copy(self._rollout)

    def hold(self, full: bool) -> None:
        self._down.hold_request(full and not self.request.complete)

    def hold_answer(self, full: bool) -> None:
        """The client does not take the answer as fast as it comes, or does again."""
        if self._connection is not None:
            self._connection.hold_reading(full)

    # --- the answer comes back

    def interim(self, connection: "Connection") -> None:
        if not self.request.old and self._way.arm is Arm.LEGACY:
            self._down.write(b"".join((STATUS_LINES[connection.status], *connection.lines, b"\r\n")))

    def answered(self, connection: "Connection") -> None:
        status = connection.status
        if status == 503 and self._may_try_again("503"):
            connection.abandon()
            self._connection = None
            self._again("503")
            return
        agent = self._way.arm is Arm.AGENT
        if agent and self._agent_cannot(connection):
            return
        self._status = status
        self._out.append(self._answer_head(connection, agent=agent))
        if self._recording:
            assert self._rollout is not None  # only a rollout's route is recorded
            self._noted = connection.noted
            self._excerpt = Excerpt(self._rollout.spec.record.max_body)
        if agent and self._rollout is not None and self._rollout.confidence is not None and status < 300:
            self._judged = []

    def _answer_head(self, connection: "Connection", *, agent: bool) -> bytes:
        request, length = self.request, connection.length
        if connection.bodiless:
            framing = b"content-length: %b\r\n" % length if length and connection.status != 204 else b""
        elif length:
            framing = b"content-length: %b\r\n" % length
        elif request.old:
            framing = b""
            request.keep_alive = False
        else:
            framing = b"transfer-encoding: chunked\r\n"
            self._chunked_in = True
        if not request.complete:
            connection.spoil()  # the rest of the request will not be sent
            request.keep_alive = False
        if self._worker.draining:
            request.keep_alive = False
        last = b"connection: keep-alive\r\n\r\n" if request.old else b"\r\n"
        return b"".join(
            (
                STATUS_LINES[connection.status], *connection.lines, framing, b"x-request-id: ", request.request_id,
                b"\r\nx-crossfade-arm: agent\r\n" if agent else b"\r\nx-crossfade-arm: legacy\r\n",
                last if request.keep_alive else b"connection: close\r\n\r\n",
            )
        )  # fmt: skip

    def body(self, data: bytes) -> None:
        if self._excerpt is not None:
            self._excerpt.add(data)
        if self._judged is not None:
            self._judged.append(data)
        self._out_size += len(data)
        self._sent += len(data)
        if self._chunked_in:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def flush(self) -> None:
        if self._judged is not None:
            if self._out_size <= REPLAY:
                return  # held back until it is whole and its confidence known
            self._judged = None  # too large for that: it goes as it is
        out = self._out
        if not out or self._over:
            return
        self._answer_left = True
        down = self._down
        if len(out) > 1 and self._out_size <= _JOIN:
            down.write(b"".join(out))
        else:
            for piece in out:
                down.write(piece)
        self._out = []
        self._out_size = 0

    def ended(self) -> None:
        self._connection = None
        if self._judged is not None and self._too_unsure(b"".join(self._judged)):
            return
        self._judged = None
        if self._chunked_in:
            self._out.append(_LAST_CHUNK)
        self.flush()
        self._finish(self._status, failed=self._status >= 500)

    def lost(self, error: UpstreamError, *, stale: bool) -> None:
        self._connection = None
        if self._over:
            return
        if self._answer_left:
            # An answer cut short must not look whole (RFC 9112, section 8): the client's connection goes down with it.
            self._finish(self._status, failed=True, error=error.failure, cut=True)
            return
        self._forget_answer()
        failure = error.failure
        if stale and not self._stale and self.request.whole:
            self._stale = True
            self._count_retry("stale")
            self._ask(fresh=True)
        elif failure is Failure.CONNECT_FAILURE and self._may_try_again(failure):
            self._again(failure)
        elif self._way.arm is Arm.AGENT and self._can_fall_back(failure):
            if self._recording and self._rollout is not None:
                self._agent = Outcome(0, monotonic() - self._sent_at, failure.value)
            self._fall_back(failure, failure.value)
        else:
            self._answer_error(error)

    def _forget_answer(self) -> None:
        self._out = []
        self._out_size = 0
        self._chunked_in = False
        self._judged = None
        self._excerpt = None

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
        self._worker.counters.retries[(self._way.upstream.spec.name, what)] += 1

    # --- the agent cannot

    def _agent_cannot(self, connection: "Connection") -> bool:
        """Whether the answer's head says that the agent could not, and legacy has taken over."""
        rollout = self._rollout
        if rollout is None or (told := why_not(rollout, connection)) is None:
            return False
        failure, reason = told
        if not self._can_fall_back(failure):
            return False
        self._connection = None
        if self._recording:
            self._parts += 1
            connection.taker = PartialAnswer(self, rollout, connection, failure.value, self._sent_at)
        else:
            connection.taker = None  # the rest is read and let go, so that the connection can be used again
        if not self.request.complete:
            connection.spoil()
        self._fall_back(failure, reason)
        return True

    def _too_unsure(self, body: bytes) -> bool:
        """Whether the agent's whole answer tells too little confidence, and legacy has taken over."""
        rollout = self._rollout
        if rollout is None or (reason := too_unsure(rollout, body)) is None:
            return False
        if not self._can_fall_back(Failure.ESCALATION):
            return False
        if self._recording:
            duration, excerpt = monotonic() - self._sent_at, self._excerpt
            word = Failure.ESCALATION.value
            self._agent = outcome(rollout.spec.record, self._status, duration, word, self._noted, excerpt)
        self._forget_answer()
        self._fall_back(Failure.ESCALATION, reason)
        return True

    def _can_fall_back(self, failure: Failure) -> bool:
        """Whether legacy can take over after this failure. Where it should but cannot, that is counted."""
        rollout = self._rollout
        if rollout is None or failure not in rollout.spec.fallback.on:
            return False
        if self.request.whole:
            return True
        self._worker.counters.missed[(self._route.name, "body_too_large")] += 1
        return False

    def _fall_back(self, failure: Failure, reason: str) -> None:
        """The same request goes to legacy, with the reason of the attempt's end."""
        rollout, worker = self._rollout, self._worker
        assert rollout is not None  # only a rollout has an agent
        worker.counters.fallbacks[(self._route.name, failure._value_)] += 1
        escalated = failure is Failure.ESCALATION
        self._count_outcome(rollout, self._way, monotonic() - self._sent_at, failed=not escalated, error=failure)
        self._escalation = (worker.new_request_id().decode(), reason)
        self._tries = 0
        self._stale = False
        self._serve(rollout.fallback)

    def attempted(self, agent: Outcome) -> None:
        """What the agent tried before legacy took over has been read."""
        self._agent = agent
        self._part_done()

    # --- the end

    def client_gone(self) -> None:
        """The client left: its upstream request is cancelled, and it counts for no arm."""
        if self._over:
            return
        self._over = True
        self._worker.inflight -= 1
        self._worker.counters.gone[(self._route.name,)] += 1
        self._way.tally.open -= 1
        self._let_connection_go()
        self._end_early()

    def cut_short(self, error: RequestError) -> None:
        """The rest of the request's body will not come, or not in time, or is too large."""
        if self._over:
            return
        self._way.tally.open -= 1
        self._let_connection_go()
        if self._answer_left:
            self._worker.counters.refused(error.error)
            self._close(error.status, cut=True)
        else:
            self._answer_error(error)
        self._end_early()

    def _let_connection_go(self) -> None:
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None

    def _end_early(self) -> None:
        self._recording = False
        if self._wants_shadow:
            self._no_copy(Fate.DROPPED)

    def _answer_error(self, error: RequestError) -> None:
        """No arm has answered: the client hears it from us."""
        request = self.request
        if not request.complete or self._worker.draining:
            request.keep_alive = False
        self._answer_left = True
        self._down.write(
            error_answer(error.status, error.error, error.detail, request.request_id,
                         close=not request.keep_alive, head=request.method == b"HEAD")
        )  # fmt: skip
        if isinstance(error, UpstreamError):
            self._finish(error.status, failed=True, error=error.failure)
        else:
            self._worker.counters.refused(error.error)
            self._close(error.status)

    def _answer_options(self) -> None:
        """`OPTIONS *` asks about us (RFC 9110, section 9.3.7)."""
        self._down.write(STATUS_LINES[204] + b"x-request-id: " + self.request.request_id + b"\r\n\r\n")
        self._close(204)

    def _finish(self, status: int, *, failed: bool, error: Failure | None = None, cut: bool = False) -> None:
        """The serving arm is done: count, record, go on."""
        now = monotonic()
        way, rollout = self._way, self._rollout
        way.tally.answered(status, now - self.started)
        if rollout is None:
            way.tally.open -= 1
        else:
            duration = now - self._sent_at
            self._count_outcome(rollout, way, duration, failed=failed, error=error)
            if self._recording:
                answered = error is None or cut
                told = outcome(rollout.spec.record, status if answered else 0, duration, error.value if error else "",
                               self._noted if answered else [], self._excerpt)  # fmt: skip
                if way.arm is Arm.AGENT:
                    self._agent = told
                else:
                    self._legacy = told
        self._close(status, cut=cut)
        if self._recording:
            self._part_done()

    def _count_outcome(
        self, rollout: "RolloutEntry", way: "Way", duration: float, *, failed: bool, error: Failure | None
    ) -> None:
        limit = rollout.spec.slower_than
        way.tally.outcome(failed=failed, slow=bool(limit) and duration > limit)
        way.tally.open -= 1
        if way.arm is Arm.AGENT:
            self._worker.agent_did(self._route.name, rollout, failed=failed, error=error)

    def _close(self, status: int, *, cut: bool = False) -> None:
        self._over = True
        worker, down = self._worker, self._down
        worker.inflight -= 1
        if self._table.access_log:
            self._log_access(status)
        if self._wants_shadow and not self.request.complete:
            self._no_copy(Fate.DROPPED)
        if cut:
            down.abort()
        else:
            down.finished(keep_alive=self.request.keep_alive)

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
            sent=self._sent,
        )

    def _part_done(self) -> None:
        """One of serving, copy and partial answer is done; after the last one the record is made."""
        self._parts -= 1
        if self._parts or not self._recording or self._rollout is None:
            return
        rollout = self._rollout
        told: dict[str, Any] = {
            "at": self.at,
            "arm": self._way.arm.value,
            "mode": self._way.mode.value,
            "reason": self._decision.reason.value,
            "fate": self._fate,
            "legacy": self._legacy,
            "agent": self._agent,
            "escalation": self._escalation,
        }
        key_hash = rollout.key_hash(self._key) if self._key is not None else ""
        fields, size = pack(self.request, self._route.name, rollout.spec, key_hash, self._bucket, self._first, told)
        self._worker.counters.record(self._route.name, fields, size)
