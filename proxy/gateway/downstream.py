"""One client's connection: requests in, answers out in the same order.

The rules of this file: one request is under way at a time; while it is, at most one read's worth of those behind it
(pipelining) is held, then reading stops; none is begun while the client has not taken the answers before; after a
request that was refused the connection is closed, in a way that lets the client read why.
"""

import asyncio
import socket
import struct
from time import monotonic
from typing import Final

from proxy.gateway import tls
from proxy.gateway.admission import ADMITTED, TURNED_AWAY
from proxy.gateway.answers import CONTINUE, error_answer
from proxy.gateway.exchange import Exchange
from proxy.gateway.reader import RequestReader
from proxy.gateway.reply import Client
from proxy.gateway.request import Request
from proxy.gateway.shared import Shared
from proxy.gateway.tunnel import Tunnel
from proxy.model.errors import ConnectionsError, RequestError, RequestTimeoutError

_WRITE_HIGH: Final = 128 << 10
_SMALL_BODY: Final = 64 << 10
"""A body up to this size is waited for, so that head and body leave in one write."""
_LINGER: Final = 5.0
_LAST_WORD: Final = 1.0
"""Seconds between two looks whether a client has taken the end of its TLS."""
_LAST_CALL: Final = 0.5
"""Seconds that a client has to begin one more request in where we are draining."""
_ASK: Final = 1.0
"""Seconds until a client that ended its side is asked whether it is there still, and until its answer is looked at."""
_ASK_AGAIN: Final = 15.0
"""Seconds between two such questions."""
_FOREVER: Final = float("inf")
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: on, for no time."""

_HOLD_QUEUE: Final = 1
_HOLD_UPSTREAM: Final = 2

_IDLE: Final = 0
_HEAD: Final = 1
_BODY: Final = 2


class Downstream(Client):
    """From `address`, admitted with that `standing` (see Admission). `deadline` is when the sweep has to look
    (monotonic seconds); what it means depends on what is awaited. `met`: the connection is there."""

    __slots__ = (
        "_address", "_asked", "_awaited", "_body_since", "_clients", "_due", "_half_closed", "_held", "_held_since",
        "_left", "_lingering", "_reader", "_secure", "_served", "_shared", "_stalled", "_standing", "_tunnel",
        "active", "closing", "deadline", "met",
    )  # fmt: skip

    def __init__(self, shared: Shared, clients: set["Downstream"], address: bytes, standing: int) -> None:
        super().__init__(shared.turn)
        self._shared = shared
        self._clients = clients
        self.active: Exchange | None = None
        self.closing = False
        self.deadline = _FOREVER
        self._half_closed = self._lingering = self._stalled = self._due = self._asked = False
        self._held = self._left = self._served = 0
        self._body_since = self._held_since = 0.0
        self._awaited = _IDLE
        self._tunnel: Tunnel | None = None
        self._address = address
        self._standing = standing
        self._secure = self.met = False

    # --- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write_to(transport)  # type: ignore[arg-type]  # a stream transport, as for any TCP protocol
        self.transport.set_write_buffer_limits(high=_WRITE_HIGH)
        shared = self._shared
        self._secure = transport.get_extra_info("ssl_object") is not None
        subject = b""
        if self._secure:
            tls.hold_ends(transport)
            subject = tls.subject(transport)
        self._reader = RequestReader(shared, self._address, secure=self._secure, subject=subject)
        self.met = True
        self._clients.add(self)
        self.deadline = monotonic() + shared.table.limits.header_timeout
        if self._standing != ADMITTED:
            self._turn_away()
        elif shared.draining:
            self.drain()

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.carry(data, self)
        elif not self._lingering:
            self._reader.feed(data)
            self._pump()

    def eof_received(self) -> bool:
        """A client that half-closes still gets its answers (RFC 9112, section 9.6). One that has gone ends its side in
        the same way, so it is asked after a while (see `_probe`)."""
        if self._tunnel is not None:
            return self._tunnel.end_of(self)
        if self._secure:
            return False  # uvloop ends both ways of TLS at once, as TLS 1.2 says; so does what was under way
        requests = self._reader.requests
        last = requests[-1] if requests else self.active.request if self.active is not None else None
        if last is None or not last.complete:
            self.write_out()  # an answer that was written in this very turn
            return False  # nothing to answer, or a request that can never become whole
        self._half_closed = True
        if not self._stalled:
            self.deadline = monotonic() + _ASK
        return True

    def connection_lost(self, _error: Exception | None) -> None:
        self.closing = True
        self._clients.discard(self)
        self._shared.admission.leave(self._address, self._standing)
        if self._tunnel is not None:
            self._tunnel.lost(self)
        self._reader.requests.clear()
        active, self.active = self.active, None
        if active is not None:
            active.client_gone()

    def pause_writing(self) -> None:
        """The client reads too slowly; one that takes nothing at all for `idle_timeout` is let go by the sweep."""
        if self._tunnel is not None:
            self._tunnel.hold(True, self)
            return
        self._stalled = True
        self._left = self.transport.get_write_buffer_size()
        self.deadline = monotonic() + self._shared.table.limits.idle_timeout
        if self.active is not None:
            self.active.hold_answer(True)

    def resume_writing(self) -> None:
        if self._tunnel is not None:
            self._tunnel.hold(False, self)
            return
        self._stalled = False
        if self.active is not None:
            self._await_body(self.active.request)
            self.active.hold_answer(False)
        else:
            self._next()

    # --- one after the other

    def _pump(self) -> None:
        """Go on with what has come: start the next request if none is under way."""
        reader = self._reader
        if self._stalled and self.active is None:
            self._hold(_HOLD_QUEUE)  # until it has taken the answers that are waiting for it
            return
        if reader.refusal is not None:
            self._refused(reader.refusal)
        elif self.active is None:
            requests = reader.requests
            if not requests:
                if reader.in_head:
                    self._await_head()
            elif requests[0].complete or self._goes_before_its_end(requests[0]):
                self._start(requests.popleft())
            else:
                if self._awaited != _BODY:
                    self._awaited = _BODY
                    self._body_since = monotonic()
                self._await_body(requests[0])
        elif not self._stalled:
            self._await_body(self.active.request)
        if (self.active is not None or self._due) and (reader.requests or reader.refusal is not None or reader.held):
            self._hold(_HOLD_QUEUE)
        elif self._held & _HOLD_QUEUE:
            self._release(_HOLD_QUEUE)

    def _start(self, request: Request) -> None:
        if not request.complete and self._awaited != _BODY:
            self._body_since = monotonic()
        self._awaited = _IDLE
        self._await_body(request)
        self._served += 1
        if self._served == self._shared.table.limits.max_requests:
            request.keep_alive = False
        self.active = exchange = Exchange(self, self._shared, request)
        exchange.start()

    def _await_head(self) -> None:
        """A part of a head has come: from its first byte on there is a time for the rest."""
        if self._awaited != _HEAD:
            self._awaited = _HEAD
            self.deadline = monotonic() + self._shared.table.limits.header_timeout

    def _await_body(self, request: Request) -> None:
        """The next piece of a body has its time, and all of them together theirs: once `body_timeout` has passed, the
        average must not fall below `min_body_rate`. Once the body is whole nothing is awaited of the client."""
        if request.complete:
            self.deadline = monotonic() + _ASK if self._half_closed else _FOREVER
            return
        limits = self._shared.table.limits
        self.deadline = monotonic() + limits.body_timeout
        if limits.min_body_rate:
            slowest = self._body_since + limits.body_timeout + request.size / limits.min_body_rate
            self.deadline = min(self.deadline, slowest)

    def _goes_before_its_end(self, request: Request) -> bool:
        if request.expects:
            request.expects = False
            self.write(CONTINUE)
        return request.length < 0 or request.length > _SMALL_BODY

    def _refused(self, error: RequestError) -> None:
        """In its turn, answer with the error, then close."""
        reader = self._reader
        broken, reader.broken = reader.broken, None
        if broken is not None and self.active is not None and self.active.request is broken:
            self.active.cut_short(error)
            return
        if broken is not None:
            reader.requests.remove(broken)
        if self.active is not None or self._lingering:
            return
        if reader.requests:
            self._start(reader.requests.popleft())
            return
        shared = self._shared
        shared.counters.refused(error.error)
        self.write(error_answer(error.status, error.error, error.detail, shared.new_request_id(), close=True))
        self._linger()

    def finished(self, *, keep_alive: bool) -> None:
        """The active request has been answered."""
        exchange, self.active = self.active, None
        reader = self._reader
        if (reader.offered or reader.held) and not reader.requests:
            reader.go_on()  # those before what was held are through, and the protocol stays
        if exchange is not None and not exchange.request.complete:
            self._linger()
        elif not keep_alive or self._shared.draining:
            if reader.requests or reader.refusal is not None or reader.in_head or self._held:
                self._linger()  # it has sent more than is read
            else:
                self.close()
        elif reader.requests or reader.refusal is not None:
            # Not from within: many pipelined requests must not nest.
            self._due = True
            asyncio.get_running_loop().call_soon(self._next)
        elif self._half_closed:
            self.close()
        else:
            limits = self._shared.table.limits
            self._awaited = _HEAD if reader.in_head else _IDLE
            self.deadline = monotonic() + (limits.header_timeout if reader.in_head else limits.idle_timeout)
            if self._held & _HOLD_QUEUE and not self._stalled:
                self._release(_HOLD_QUEUE)  # what was held was no whole request

    def tunnelled(self, tunnel: Tunnel) -> None:
        self.active = None
        self._tunnel = tunnel
        self.deadline = _FOREVER
        if self._held:
            self._held = 0
            self.transport.resume_reading()  # first: what was held may fill the other side
        reader = self._reader
        held, reader.held = reader.held, b""
        if held:
            tunnel.carry(held, self)
        if self._stalled:
            tunnel.hold(True, self)
        if self._half_closed and not tunnel.end_of(self):
            self.transport.close()

    def _next(self) -> None:
        self._due = False
        if not self.closing and not self._lingering:
            self._pump()

    # --- ends

    def _linger(self) -> None:
        """Close so that the client can read the answer first: a reset would take it away (RFC 9112, section 9.6)."""
        self._lingering = True
        if self._held:
            self._held = 0
            self.transport.resume_reading()
        self.deadline = monotonic() + _LINGER
        self.write_out()
        if self._secure:
            self.transport.close()  # says so to the client, then reads on into the void until the client has ended too
        else:
            self.transport.write_eof()

    def _turn_away(self) -> None:
        """There are too many connections. Most clients that come then are told so; past that work is saved."""
        if self._standing == TURNED_AWAY:
            self.abort()
            return
        error = ConnectionsError("as many connections are open, in all or from your address, as may be")
        request_id = self._shared.new_request_id()
        self.write(error_answer(error.status, error.error, error.detail, request_id, close=True))
        self._linger()

    def close(self) -> None:
        """As soon as the client has taken what was written; it is looked after meanwhile."""
        self.write_out()
        self.closing = True
        self._left = self.transport.get_write_buffer_size()
        self.deadline = monotonic() + (_LAST_WORD if self._secure else self._shared.table.limits.idle_timeout)
        self.transport.close()

    def drain(self) -> None:
        """No request is served after the one under way or the one that comes next. Who rests may have sent that one
        already: to close at once would leave them to guess what became of a request that must not be sent twice."""
        reader = self._reader
        if self.closing or self._lingering or self._tunnel is not None or self.active is not None:
            return
        if not reader.requests and not reader.in_head:
            self.deadline = min(self.deadline, monotonic() + _LAST_CALL)

    def abort(self) -> None:
        """At once. To HTTP/1.0 an answer's end may be the connection's: only a reset says that it is not whole."""
        self.closing = True
        sock = self.transport.get_extra_info("socket")
        if self.active is not None and self.active.request.old and sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def sweep(self, now: float) -> None:
        """The deadline has passed: a slow head or body is answered with 408, an idle connection is closed."""
        reader = self._reader
        if self._stalled or self.closing:
            self._sweep_unread(now)
        elif self._lingering:
            self.close()
        elif self._half_closed:
            self._probe(now)
        elif self._held & _HOLD_UPSTREAM:
            self.deadline = now + self._shared.table.limits.body_timeout  # it is we who do not read
        elif self.active is not None or self._awaited == _BODY:
            reader.refuse(RequestTimeoutError("the request's body did not come in time"))
            self._pump()
        elif self._awaited == _HEAD:
            reader.refuse(RequestTimeoutError("the request's head did not come in time"))
            self._pump()
        else:
            self.close()

    def _probe(self, now: float) -> None:
        """A client that has gone, not only ended its side, answers whatever is sent with a reset. 100 Continue is what
        every client of HTTP/1.1 must bear before an answer (RFC 9110, section 15.2). The loop reads no more from a side
        that has ended, so it is the socket that is asked about the reset."""
        active = self.active
        if self._asked and self.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.abort()
        elif self._asked or active is None or not active.silent or active.request.old:
            self._asked = False
            self.deadline = now + _ASK_AGAIN
        else:
            self._asked = True
            self.deadline = now + _ASK
            self.write(CONTINUE)

    def _sweep_unread(self, now: float) -> None:
        """What was written waits for the client. Slowly is well, but not for nothing at all."""
        if self._secure and self.closing:
            # It need not answer our end of TLS, and many do not as long as they rest. The listener's
            # ssl_shutdown_timeout is for those that do not even take what was written.
            if tls.taken(self.transport):
                self.abort()
            else:
                self.deadline = now + _LAST_WORD
            return
        left = self.transport.get_write_buffer_size()
        if left < self._left:
            self._left = left
            self.deadline = now + self._shared.table.limits.idle_timeout
        else:
            self.abort()

    # --- reading, held for one reason or another

    def hold_request(self, full: bool) -> None:
        """The upstream cannot take more of the request's body, or can again."""
        if full:
            if not self._held & _HOLD_UPSTREAM:
                self._held_since = monotonic()
            self._hold(_HOLD_UPSTREAM)
        elif self._held & _HOLD_UPSTREAM:
            self._body_since += monotonic() - self._held_since
            self._release(_HOLD_UPSTREAM)
            if self.active is not None and not self._stalled:
                self._await_body(self.active.request)  # its next piece could not come meanwhile

    def _hold(self, why: int) -> None:
        if not self._held and not self.closing:
            self.transport.pause_reading()
        self._held |= why

    def _release(self, why: int) -> None:
        held, self._held = self._held, self._held & ~why
        if held and not self._held and not self.closing:
            self.transport.resume_reading()
