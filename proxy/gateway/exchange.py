"""One request's way: decision, the arm that serves it, fallback, the answer; beside it the copy.

The rules of this file: the client gets exactly one answer; once a byte of an answer has left for the client, no other
arm can serve; the shadow never delays, fails or changes the answer; each request on a rollout's route counts one fate.
"""

from math import inf
from time import time
from typing import Final

from proxy.gateway.answers import STATUS_LINES, error_answer
from proxy.gateway.connection import Connection
from proxy.gateway.copies import Copies
from proxy.gateway.fallback import may_be_unsure
from proxy.gateway.reply import Client
from proxy.gateway.request import REPLAY, Request
from proxy.gateway.shared import Shared
from proxy.gateway.table import RolloutEntry
from proxy.gateway.tunnel import Tunnel
from proxy.model.errors import NoRouteError, NotAskedError, RequestError, UpstreamError
from proxy.model.words import Arm, Failure, Fate, Mode, Reason
from proxy.routing.decide import BUCKET_IN, decide, sampled
from proxy.routing.identity import find_key
from proxy.routing.override import verify

_JOIN: Final = 32 << 10
"""A request up to this many bytes is joined into one write; of a larger one the body is written without a copy."""
_LAST_CHUNK: Final = b"0\r\n\r\n"


class Exchange(Copies):
    """Carries `request` from its head to the answer's end. The serving arm's `Taker`."""

    __slots__ = ("_chunked", "_full", "_table")

    def __init__(self, client: Client, shared: Shared, request: Request) -> None:
        super().__init__(client, shared, request)
        self._table = shared.table
        self._chunked = self._full = False

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
        if request.upgrade and request.upgrade not in route.upgrades:
            request.upgrade = b""  # it is served as the request that it is without
        if table.callbacks:
            callback = table.callback_matcher.find(request.method, request.host, request.path, request.noted)
            if callback >= 0:
                self._callback = table.callbacks[callback]
                request.keep_limit = max(REPLAY, self._callback.max_body)
        if route.rollout is None:
            self._serve(route.legacy)
        else:
            self._decide(route.rollout)

    def _decide(self, rollout: RolloutEntry) -> None:
        request, spec = self.request, rollout.spec
        self._rollout = rollout
        self._key = key = find_key(rollout.sources, request.noted, request.query, request.client_ip)
        if key is not None:
            self._bucket = rollout.bucket(key)
        if request.override and (forced := self._forced()) is not None:
            self._drawn(rollout, Reason.OVERRIDE)
            self._serve_one(rollout, agent=forced is Arm.AGENT, audits=False)
            self._way.tally.unasked += 1
            return
        decision = decide(rollout.weight, self._bucket, tripped=rollout.tripped)
        count = self._drawn(rollout, decision.reason)
        self._note_user(rollout)
        if decision is BUCKET_IN or request.upgrade:
            self._serve_one(rollout, agent=decision is BUCKET_IN, audits=sampled(count, rollout.audit_share))
            return
        if not sampled(count, rollout.shadow_share):
            self._count_fate(rollout, Fate.SAMPLED_OUT)
        elif max(request.length, request.size) > spec.shadow.max_body:
            self._count_fate(rollout, Fate.OVERSIZED)
        else:
            request.keep_limit = max(request.keep_limit, spec.shadow.max_body)
            self._wants_copy = True
        self._serve(rollout.legacy)
        if self._wants_copy and request.complete:
            self._copy(rollout, rollout.shadow)

    def _forced(self) -> Arm | None:
        """The arm that a tester's signed header asks for."""
        secret = self._table.override_secret
        if not secret:
            return None
        arm, result = verify(secret, self._route.name, self.request.override, time())
        self._shared.counters.overrides[(result,)] += 1
        return arm

    def _serve_one(self, rollout: RolloutEntry, *, agent: bool, audits: bool) -> None:
        """One arm serves, and the other gets no copy meanwhile. `audits`: legacy gets one when the agent has served, if
        that is recorded."""
        if audits and agent and self._notes is not None and not self.request.upgrade:
            self._audits = True
        else:
            self._count_fate(rollout, Fate.UPGRADED if self.request.upgrade else Fate.SAMPLED_OUT)
        if agent:
            self.request.keep_limit = max(self.request.keep_limit, rollout.spec.fallback.max_body)
            self._serve(rollout.canary)
        else:
            self._serve(rollout.legacy)

    # --- the request goes out

    def connected(self, connection: Connection) -> None:
        way, request = self._way, self.request
        if self._over:
            way.upstream.release(connection, keep=True)
            return
        self._connection = connection
        self._chunked = chunked = request.length < 0 and not request.complete
        extra = self._escalation if way.mode is Mode.FALLBACK else b""
        if request.upgrade:
            extra += b"connection: upgrade\r\nupgrade: %b\r\n" % request.upgrade
        pieces = [request.head(way, extra, chunked=chunked), *request.chunks]
        if chunked and request.chunks:
            pieces.insert(1, b"%x\r\n" % request.size)
            pieces.append(b"\r\n")
        if request.size <= _JOIN:
            pieces = [b"".join(pieces)]
        if not request.complete:
            self._client.hold_request(False)  # first: what is sent now may be more than the upstream can take
        connection.send(pieces, head_only=request.method == b"HEAD", complete=request.complete, upgrade=request.upgrade)
        if self._full:
            connection.hold_reading(True)  # by answers before this one
        if not request.complete:
            self._bound_body()

    def wanted(self) -> bool:
        return not self._over

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
                self._notes.first = request.let_go(self._notes.rollout.spec.record.max_body)
            self._no_copy(Fate.OVERSIZED)

    def all_there(self) -> None:
        """The request's body is whole."""
        if self._over:
            return
        self._client.hold_request(False)  # there is nothing more of it to hold
        if self._connection is not None:
            if self._chunked:
                self._connection.write(_LAST_CHUNK)
            self._connection.sent_all()
        if self._wants_copy and self._rollout is not None:
            self._copy(self._rollout, self._rollout.shadow)

    def hold(self, full: bool) -> None:
        self._client.hold_request(full and not self.request.complete)

    def hold_answer(self, full: bool) -> None:
        """The client does not take the answer as fast as it comes, or does again."""
        self._full = full
        if self._connection is not None:
            self._connection.hold_reading(full)

    # --- the answer comes back

    def interim(self, connection: Connection) -> None:
        if not self.request.old and not self._way.agent:
            self._client.write(b"".join((STATUS_LINES[connection.status], *connection.lines, b"\r\n")))

    def answered(self, connection: Connection) -> None:
        status = connection.status
        if status == 503 and self.request.repeatable and self._may_try_again("503"):
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
            if rollout.confidence is not None and may_be_unsure(connection):
                reply.judged = []
        if not request.complete:
            connection.spoil()  # the rest of the request will not be sent
        reply.head(request, connection, arm, draining=self._shared.draining)

    def body(self, data: bytes) -> None:
        if not self._first_byte and self._connection is not None:
            self._first_byte = self._connection.now - self._sent_at
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
        self._unasked = isinstance(error, NotAskedError)
        if self._reply.left:
            # An answer cut short must not look whole (RFC 9112, section 8): the client's connection goes down with it.
            self._finish(self._status, failed=True, error=failure, cut=True)
            return
        self._reply.forget()
        if self._notes is not None:
            self._notes.forget()
        if stale and not self._stale and self._may_send_again(error):
            self._stale = True
            self._count_retry("stale")
            self._ask(fresh=True)
        elif self._may_send_again(error) and self._may_try_again(failure._value_):
            self._again(failure._value_)
        elif self._way.agent and self._can_fall_back(failure):
            self._fall_back(failure, failure.value)
        else:
            self._answer_error(error)

    # --- the protocol changes

    def switched(self, connection: Connection, rest: bytes) -> None:
        """The arm agreed. From here on bytes go through, until one side ends: the request is answered."""
        self._connection = None
        if self._over:
            connection.abort()
            return
        way, request, shared = self._way, self.request, self._shared
        arm = way.arm._value_
        self._client.write(
            b"".join(
                (
                    STATUS_LINES[101], *connection.lines, b"connection: upgrade\r\nupgrade: ", request.upgrade,
                    b"\r\nx-request-id: ", request.request_id, b"\r\nx-crossfade-arm: ", arm.encode(), b"\r\n\r\n",
                )
            )
        )  # fmt: skip
        self._status = 101
        if self._notes is not None:
            self._notes.answer(connection.noted)
        duration = self._count_answer(101, failed=False, error=None)
        tunnel = Tunnel(
            self._client, connection, way.upstream.spec.timeouts.tunnel, (self._route.name, arm), shared.tunnels
        )
        connection.tunnel = tunnel
        self._end(101)
        self._client.tunnelled(tunnel)
        if rest:
            tunnel.carry(rest, connection)
        self._record(101, duration, None)

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
        tally = self._way.tally
        tally.open -= 1
        tally.withdraw(self._slot)
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None
        if self in self._shared.handed:
            self._shared.handed.discard(self)
            self.hand_over(inf)  # there is no answer to wait for
        self._notes = None
        self._no_copy(Fate.DROPPED)

    def _answer_error(self, error: RequestError) -> None:
        """No arm has answered: the client hears it from us."""
        request = self.request
        if not request.complete or request.old or self._shared.draining:
            request.keep_alive = False
        answer = error_answer(
            error.status, error.error, error.detail, request.request_id,
            close=not request.keep_alive, head=request.method == b"HEAD",
        )  # fmt: skip
        self._reply.sent = len(answer.partition(b"\r\n\r\n")[2])
        self._client.write(answer)
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
        duration = self._count_answer(status, failed=failed, error=error)
        self._close(status, cut=cut)
        self._audit(served=self._way.agent and not failed)
        self._record(status, duration, error)
        if self._callback is not None:
            self._tell_callback(self._callback, status)

    def _end(self, status: int) -> None:
        self._over = True
        self._shared.inflight -= 1
        if self._table.access_log:
            self._log_access(status, self._reply.sent)
        self.request.journey = None  # no circle is left: what is done goes at once, not by the collector

    def _close(self, status: int, *, cut: bool = False) -> None:
        self._end(status)
        if not self.request.complete:
            self._no_copy(Fate.DROPPED)
        if cut:
            self._client.abort()
        else:
            self._client.finished(keep_alive=self.request.keep_alive)
