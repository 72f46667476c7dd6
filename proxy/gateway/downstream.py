"""One client's connection: requests in, answers out in the same order.

The rules of this file: a request is forwarded only when its head was parsed whole and found unambiguous; after a
request that was refused nothing more is parsed and the connection is closed; while a request is served at most one
read's worth of those behind it (pipelining) is held, then reading stops.
"""

import asyncio
import socket
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

import httptools

from proxy.gateway.answers import CONTINUE, error_answer
from proxy.gateway.exchange import Exchange
from proxy.gateway.headers import (
    CODING,
    CONNECTION,
    EXPECT,
    HOST,
    LENGTH,
    NOTE,
    PASS,
    REQUEST_ID,
    TRACE,
    nominated,
    without,
)  # fmt: skip
from proxy.gateway.request import Request
from proxy.gateway.turn import Writer
from proxy.model import errors

if TYPE_CHECKING:
    from proxy.gateway.worker import Worker

_WRITE_HIGH: Final = 128 << 10
_SMALL_BODY: Final = 64 << 10
"""A body up to this size is waited for, so that head and body leave in one write."""
_LINGER: Final = 5.0
_FOREVER: Final = float("inf")
_METHODS: Final = frozenset(
    (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND", b"PROPPATCH", b"MKCOL", b"COPY",
     b"MOVE", b"LOCK", b"UNLOCK", b"SEARCH", b"REPORT", b"QUERY", b"PURGE")
)  # fmt: skip
_HOLD_QUEUE: Final = 1
_HOLD_UPSTREAM: Final = 2


class Downstream(Writer, asyncio.Protocol):
    __slots__ = (
        "_coding", "_connection", "_continue", "_expect", "_fed", "_fields", "_held", "_hosts", "_in_head", "_kinds",
        "_length", "_lines", "_lingering", "_noted", "_parser", "_parsing", "_queue", "_refusal", "_request_id",
        "_stalled", "_table", "_target", "_trace", "active", "client_ip", "closing", "deadline", "forwarded",
        "half_closed", "worker",
    )  # fmt: skip

    def __init__(self, worker: "Worker") -> None:
        super().__init__(worker.turn)
        self.worker = worker
        self.active: Exchange | None = None
        self.closing = False
        self.half_closed = False
        self.deadline = _FOREVER
        self._queue: deque[Request] = deque()
        self._parser = httptools.HttpRequestParser(self)
        self._parsing: Request | None = None
        self._refusal: errors.RequestError | None = None
        self._in_head = False
        self._lingering = False
        self._stalled = False
        self._held = 0
        self._fed = 0

    # --- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream transport, as for any TCP protocol
        self.transport.set_write_buffer_limits(high=_WRITE_HIGH)
        peer = transport.get_extra_info("peername")
        ip = str(peer[0]) if isinstance(peer, tuple) else "127.0.0.1"
        self.client_ip = ip.encode()
        self.forwarded = b"x-forwarded-for: %b\r\nx-forwarded-proto: http\r\nvia: 1.1 crossfade\r\n" % self.client_ip
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.worker.clients.add(self)
        self.deadline = monotonic() + self.worker.table.limits.header_timeout

    def data_received(self, data: bytes) -> None:
        if self._lingering or self._refusal is not None:
            return
        self._fed = self._fed + len(data) if self._in_head else len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # No upgrade is offered, so what follows is HTTP still.
            rest = data[upgrade.args[0] :]
            self._parser = httptools.HttpRequestParser(self)
            if rest and self._refusal is None:
                self._pump()
                self.data_received(rest)
                return
        except httptools.HttpParserError as error:
            self._not_http(error)
        if self._in_head:
            self._check_unfinished_head()
        self._pump()

    def eof_received(self) -> bool:
        """A client that half-closes still gets its answers (RFC 9112, section 9.6)."""
        if self.active is None and not self._queue:
            return False
        if self._parsing is not None and not self._parsing.complete:
            return False  # its request can never become whole
        self.half_closed = True
        return True

    def connection_lost(self, _error: Exception | None) -> None:
        self.closing = True
        self.worker.clients.discard(self)
        self._queue.clear()
        self._parsing = None
        active, self.active = self.active, None
        if active is not None:
            active.client_gone()

    def pause_writing(self) -> None:
        """The client reads too slowly; one that takes nothing at all for `idle_timeout` is let go by the sweep."""
        self._stalled = True
        self.deadline = monotonic() + self.worker.table.limits.idle_timeout
        if self.active is not None:
            self.active.hold_answer(True)

    def resume_writing(self) -> None:
        self._stalled = False
        if self.active is not None:
            self.deadline = _FOREVER
            self.active.hold_answer(False)

    # --- the parser's side

    def on_message_begin(self) -> None:
        self._table = table = self.worker.table
        self._kinds = table.request_names.kinds
        self._in_head = True
        self._target = b""
        self._lines: list[bytes] = []
        self._noted: list[tuple[bytes, bytes]] = []
        self._hosts: list[bytes] = []
        self._length = self._coding = self._connection = self._expect = self._request_id = self._trace = b""
        self._fields = 0
        self._parsing = None
        if self.active is None:
            self.deadline = monotonic() + table.limits.header_timeout

    def on_url(self, url: bytes) -> None:
        self._target = self._target + url if self._target else url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: none is known to be safe to pass on
        kind = self._kinds.get(name)
        if kind is None:
            kind = self._table.request_names.classify(name)
        if kind == PASS:
            self._lines.append(b"%b: %b\r\n" % (name, value))
        elif kind == NOTE:
            self._noted.append((name.lower(), value))
        else:
            self._special(kind, value)

    def _special(self, kind: int, value: bytes) -> None:
        if kind == HOST:
            self._hosts.append(value)
        elif kind == LENGTH:
            self._length = value
        elif kind == CODING:
            self._coding = self._coding + b"," + value if self._coding else value
        elif kind == CONNECTION:
            self._connection = self._connection + b"," + value if self._connection else value
        elif kind == REQUEST_ID:
            self._request_id = value
        elif kind == TRACE:
            self._trace = value
        elif kind == EXPECT:
            self._expect = value
        else:
            self._fields += 1  # dropped, and counted all the same

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._refusal is not None:
            return
        method = self._parser.get_method()
        keep_alive = self._parser.should_keep_alive()
        old = False
        try:
            version = self._parser.get_http_version()
            if version != "1.1":
                old = self._check_version(version)
            host = self._check_host(method)
            self._check_framing(old=old)
            lines = self._lines
            if self._fed > self._table.limits.max_header_bytes or len(lines) > self._table.limits.max_headers:
                self._check_head_size()
            if self._connection and self._connection not in (b"keep-alive", b"close", b"Keep-Alive"):
                names = nominated(self._connection)
                lines = without(lines, names)
                self._noted = [(name, value) for name, value in self._noted if name not in names]
        except errors.RequestError as error:
            self._refuse(error)
            return
        length = -1 if self._coding else int(self._length) if self._length else 0
        self._parsing = request = Request(
            method, self._target, host, lines, self._noted, length, self.client_ip, self.forwarded
        )
        request.request_id = self._request_id
        request.trace = self._trace
        request.keep_alive = keep_alive
        request.old = old
        self._continue = bool(self._expect)
        self._queue.append(request)
        if length and self.active is None:
            self.deadline = monotonic() + self._table.limits.body_timeout

    def on_body(self, data: bytes) -> None:
        request = self._parsing
        if request is None:
            return
        limit = self._table.limits.max_body
        if limit and request.size + len(data) > limit:
            self._refuse_parsing(errors.BodyTooLargeError(f"the body is over {limit} bytes"))
            return
        request.take(data)

    def on_message_complete(self) -> None:
        request, self._parsing = self._parsing, None
        if request is not None:
            request.finish()

    # --- what is refused

    def _check_version(self, version: str) -> bool:
        if version == "1.0":
            return True
        if version.startswith("1."):
            return False
        if version == "0.9":
            raise errors.ClientError("HTTP/0.9 is not served")
        raise errors.VersionError("only HTTP/1.1 and HTTP/1.0 are served")

    def _check_host(self, method: bytes) -> bytes:
        """The one Host (RFC 9112, section 3.2), which an absolute-form target may say as well."""
        if method in (b"CONNECT", b"TRACE") or method not in _METHODS:
            raise errors.MethodError(f"{method.decode('latin-1')} is not served")
        hosts = self._hosts
        if len(hosts) != 1:
            if hosts or self._parser.get_http_version() != "1.0":
                raise errors.ClientError("one Host header is needed")
            hosts = [b"localhost"]
        host = hosts[0]
        if not host or b"@" in host or b"/" in host or b"," in host or b" " in host:
            raise errors.ClientError("the Host header is not a host")
        target = self._target
        if target[:1] != b"/":
            if target == b"*" and method == b"OPTIONS":
                return host
            self._absolute(host)
        if len(target) > self._table.limits.max_target:
            raise errors.TargetTooLongError(f"the target is over {self._table.limits.max_target} bytes")
        return host

    def _absolute(self, host: bytes) -> None:
        scheme, slashes, rest = self._target.partition(b"://")
        authority, slash, path = rest.partition(b"/")
        if scheme.lower() not in (b"http", b"https") or not slashes or b"?" in authority:
            raise errors.ClientError("the target is neither a path nor an http URL")
        if authority.lower() != host.lower():
            raise errors.ClientError("the target's host is not the Host header's")
        self._target = slash + path if slash else b"/"

    def _check_framing(self, *, old: bool) -> None:
        """What llhttp in its strict default leaves to us (RFC 9112, sections 6.1 and 6.3)."""
        if self._coding:
            if old:
                raise errors.ClientError("HTTP/1.0 knows no Transfer-Encoding")
            if self._coding.lower() != b"chunked":
                raise errors.CodingError("the only transfer coding served is chunked")
        limit = self._table.limits.max_body
        if self._length and limit and int(self._length) > limit:
            raise errors.BodyTooLargeError(f"the body is over {limit} bytes")
        if self._expect and self._expect.lower() != b"100-continue":
            raise errors.ExpectationError("the only expectation served is 100-continue")

    def _check_head_size(self) -> None:
        limits = self._table.limits
        if len(self._lines) + len(self._noted) + self._fields > limits.max_headers:
            raise errors.HeadersTooLargeError(f"more than {limits.max_headers} header fields")
        if sum(map(len, self._lines)) + sum(len(n) + len(v) for n, v in self._noted) > limits.max_header_bytes:
            raise errors.HeadersTooLargeError(f"the headers are over {limits.max_header_bytes} bytes")

    def _check_unfinished_head(self) -> None:
        limits = self._table.limits
        if len(self._target) > limits.max_target:
            self._refuse(errors.TargetTooLongError(f"the target is over {limits.max_target} bytes"))
        elif self._fed > limits.max_target + limits.max_header_bytes:
            self._refuse(errors.HeadersTooLargeError(f"the headers are over {limits.max_header_bytes} bytes"))

    def _not_http(self, error: httptools.HttpParserError) -> None:
        if self._refusal is not None:
            return
        if isinstance(error, httptools.HttpParserInvalidMethodError):
            refusal: errors.RequestError = errors.ClientError("the method is not one of HTTP's")
        else:
            refusal = errors.ClientError(str(error) or "not HTTP/1.1")
        if self._parsing is not None:
            self._refuse_parsing(refusal)
        else:
            self._refuse(refusal)

    def _refuse(self, error: errors.RequestError) -> None:
        """Answer with the error in its turn, then close."""
        self._refusal = error
        self._in_head = False

    def _refuse_parsing(self, error: errors.RequestError) -> None:
        """The request whose body is being read cannot be completed."""
        request, self._parsing = self._parsing, None
        self._refuse(error)
        if self.active is not None and self.active.request is request:
            self.active.cut_short(error)
        elif request is not None:
            self._queue.remove(request)

    # --- one after the other

    def _pump(self) -> None:
        """Start the next request if none is under way."""
        if self.active is None:
            if self._queue:
                request = self._queue[0]
                if request.complete or self._ready_to_stream(request):
                    self._queue.popleft()
                    self.active = exchange = Exchange(self, self._table, request)
                    self.deadline = _FOREVER if request.complete else monotonic() + self._table.limits.body_timeout
                    exchange.start()
            elif self._refusal is not None and not self._lingering:
                self._answer_refusal(self._refusal)
        elif not self.active.request.complete:
            self.deadline = monotonic() + self._table.limits.body_timeout
        if self.active is not None and (self._queue or self._refusal is not None):
            self._hold(_HOLD_QUEUE)
        elif self._held & _HOLD_QUEUE:
            self._release(_HOLD_QUEUE)

    def _ready_to_stream(self, request: Request) -> bool:
        if self._continue:
            self._continue = False
            if not request.old:
                self.write(CONTINUE)
        return request.length < 0 or request.length > _SMALL_BODY

    def finished(self, *, keep_alive: bool) -> None:
        """The active request has been answered."""
        exchange, self.active = self.active, None
        if exchange is not None and not exchange.request.complete:
            self.linger()
            return
        if not keep_alive or self.half_closed or self.worker.draining:
            self.close()
            return
        limits = self.worker.table.limits
        self.deadline = monotonic() + (limits.header_timeout if self._in_head else limits.idle_timeout)
        if self._queue or self._refusal is not None:
            # Not from within: many pipelined requests must not nest.
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        if not self.closing:
            self._pump()

    def _answer_refusal(self, error: errors.RequestError) -> None:
        worker = self.worker
        worker.counters.refused(error.error)
        request_id = worker.new_request_id()
        self.write(error_answer(error.status, error.error, error.detail, request_id, close=True))
        self.linger()

    def linger(self) -> None:
        """Close so that the client can read the answer first: a reset would take it away (RFC 9112, section 9.6)."""
        self._lingering = True
        self._held = 0
        self.transport.resume_reading()
        self.deadline = monotonic() + _LINGER
        self.write_out()
        self.transport.write_eof()

    def close_if_idle(self) -> None:
        """No more requests are served on it: we are draining."""
        if self.active is None and not self._queue and self._parsing is None and not self._in_head:
            self.close()

    def close(self) -> None:
        self.closing = True
        self.write_out()
        self.transport.close()

    def abort(self) -> None:
        self.closing = True
        self.transport.abort()

    def sweep(self, now: float) -> None:
        """The deadline has passed: a slow head or body is answered with 408, an idle connection is closed."""
        if self.deadline >= now:
            return
        if self._stalled:
            self.abort()
        elif self._held & _HOLD_UPSTREAM:
            self.deadline = now + self.worker.table.limits.body_timeout  # it is we who do not read
        elif self._lingering or (not self._in_head and self._parsing is None and self.active is None):
            self.close()
        elif self._parsing is not None and not self._parsing.complete:
            self._refuse_parsing(errors.RequestTimeoutError("the request's body did not come in time"))
            self._pump()
        elif self._in_head:
            self._refuse(errors.RequestTimeoutError("the request's head did not come in time"))
            self._pump()

    def hold_request(self, full: bool) -> None:
        """The upstream cannot take more of the request's body, or can again."""
        if full:
            self._hold(_HOLD_UPSTREAM)
        else:
            self._release(_HOLD_UPSTREAM)

    def _hold(self, why: int) -> None:
        if not self._held and not self.closing:
            self.transport.pause_reading()
        self._held |= why

    def _release(self, why: int) -> None:
        held, self._held = self._held, self._held & ~why
        if held and not self._held and not self.closing:
            self.transport.resume_reading()
