"""One connection to an upstream: parses answers and hands them to whoever asked.

The rules of this file: a connection serves one taker at a time; it goes back to the pool only after an answer that
ended cleanly and left no byte over; whatever else happens closes it. A connection that was reused and closes before any
byte of an answer is stale: its taker is told so and may send again on a fresh one (RFC 9112, section 9.3.1).
"""

import asyncio
import socket
from time import monotonic
from typing import Final

import httptools

from proxy.gateway import tls
from proxy.gateway.framing import Chunks, is_answer
from proxy.gateway.head import is_length
from proxy.gateway.headers import CODING, CONNECTION, LENGTH, NOTE, PASS, UPGRADE, Names, nominated, without
from proxy.gateway.tunnel import Tunnel
from proxy.gateway.turn import Turn, Writer
from proxy.model.errors import ResetError, UpstreamError
from proxy.model.snapshot import UpstreamSpec

_WRITE_HIGH: Final = 128 << 10
"""Bytes waiting to be written past which the other side's reading is held."""
_MAX_HEAD: Final = 64 << 10
_MAX_TRAILER: Final = 64 << 10
_MAX_UNWANTED: Final = 256 << 10
"""Bytes of an answer that nobody wants any more, read so that its connection can be used again."""
_FOREVER: Final = float("inf")
_PLAIN: Final = b"HTTP/1.1 "
"""How nearly every answer begins."""


class Taker:
    """Whoever asked: gets the answer piece by piece. Within one read from the upstream come any of `answered`, `body`,
    then one of `ended`, `lost` or `flush`.

    A base class and not a protocol, as `Pool` is: compiled, a call through it is a virtual call, not a look-up by name.
    """

    __slots__ = ()

    def connected(self, connection: "Connection") -> None:
        """The connection is this taker's now: write the request."""

    def answered(self, connection: "Connection") -> None:
        """The answer's head is there, in the connection's `status`, `lines`, `noted`, `length`."""

    def interim(self, connection: "Connection") -> None:
        """A 1xx answer other than 100 and 101."""

    def body(self, data: bytes) -> None:
        """More of the answer's body."""

    def flush(self) -> None:
        """This read's pieces are all there; more of the answer is to come."""

    def ended(self) -> None:
        """The answer is whole. The connection is back in the pool already."""

    def switched(self, connection: "Connection", rest: bytes) -> None:
        """The upstream agreed to change the protocol (101): the connection is this taker's for good. `rest` came behind
        the answer's head."""

    def lost(self, error: UpstreamError, *, stale: bool) -> None:
        """No answer, or no whole one."""

    def wanted(self) -> bool:
        """Whether a connection is still wanted, asked of one that waited for its turn."""
        return True

    def hold(self, full: bool) -> None:
        """The request's way is full (True) or has room again (False)."""


class Pool:
    """What a connection asks of its upstream. Since the last tick, `durations` are seconds to the heads of answers, and
    `strays` counts connections that sent bytes nobody had asked for."""

    __slots__ = (
        "durations",
        "idle_timeout",
        "keep_alive_timeout",
        "names",
        "response_timeout",
        "spec",
        "strays",
        "total_timeout",
        "turn",
    )

    def __init__(self, spec: UpstreamSpec, names: Names, turn: Turn) -> None:
        self.spec = spec
        self.names = names
        self.turn = turn
        self.response_timeout = spec.timeouts.response
        self.idle_timeout = spec.timeouts.idle
        self.keep_alive_timeout = spec.timeouts.keep_alive
        self.total_timeout = spec.timeouts.total or _FOREVER
        self.durations: list[float] = []
        self.strays = 0

    def release(self, connection: "Connection", *, keep: bool) -> None:
        """Its answer has ended: back among the idle ones, or closed."""

    def forget(self, connection: "Connection") -> None:
        """It is closed, or about to be."""


class Connection(Writer):
    """`deadline` is when the sweep ends it, `ends` when it does so whatever happens (monotonic seconds). `pooled`: it
    has waited in the pool. Of the answer under way a taker finds `status`, `lines`, `noted` and `length` here (empty
    where Content-Length was not said), and `now`, the time of the read that is being handled. `tunnel` is where its
    bytes go once it has changed its protocol."""

    __slots__ = (
        "_chunked", "_chunks", "_complete", "_connection", "_done", "_ended", "_fed", "_first", "_full", "_head_done",
        "_held", "_interim", "_keep", "_kinds", "_names", "_old", "_parser", "_place", "_protocol", "_raw", "_seen",
        "_sent_at", "_start", "_switching", "_tail", "_until_end", "_upgrade", "closing", "deadline", "ends",
        "head_only", "length", "lines", "noted", "now", "pooled", "status", "taker", "tunnel", "upstream",
    )  # fmt: skip

    def __init__(self, upstream: Pool) -> None:
        super().__init__(upstream.turn)
        self.upstream = upstream
        self.taker: Taker | None = None
        self.closing = False
        self.deadline = self.ends = _FOREVER
        self.now = 0.0
        self.tunnel: Tunnel | None = None
        self._names = upstream.names
        self._kinds = upstream.names.kinds
        self._parser = httptools.HttpResponseParser(self)
        self.pooled = False
        self._done = self._complete = True
        self._ended = False
        self._seen = self._head_done = self._interim = self._until_end = self._held = self._full = False
        self._fed = 0
        self._switching = False
        self._upgrade = self._raw = self._first = b""
        self._chunks: Chunks | None = None

    # --- the taker's side

    def send(self, pieces: list[bytes], *, head_only: bool, complete: bool, upgrade: bytes = b"") -> None:
        """Write a request's head and what there is of its body. `head_only`: the answer to HEAD has no body.
        `complete`: nothing of the request follows, so the answer is waited for from now on. `upgrade`: the protocol
        (lower case) that the request asks to change to."""
        self._done = self._seen = self._head_done = self._interim = self._until_end = False
        self._complete = complete
        self._first = pieces[0]
        self._upgrade = upgrade
        self._keep = True
        self._fed = 0
        self._start = self._tail = b""
        self._old = False
        self._chunks = None
        self.head_only = head_only
        self.now = self._sent_at = now = monotonic()
        self.deadline = now + self.upstream.response_timeout if complete else _FOREVER
        self.ends = now + self.upstream.total_timeout
        for piece in pieces:
            self.write(piece)

    def sent_all(self) -> None:
        """The request is whole: the time to answer starts."""
        self._complete = True
        self.deadline = monotonic() + self.upstream.response_timeout

    def spoil(self) -> None:
        """It must not be used again: the request that is under way on it will not become whole."""
        self._keep = False

    def hold_reading(self, full: bool) -> None:
        """The answer's way is full, or has room again. While it is, the upstream's silence is our doing."""
        if full == self._held or self.closing:
            return
        self._held = full
        if full:
            self.deadline = _FOREVER
            self.transport.pause_reading()
        else:
            self.deadline = monotonic() + self.upstream.idle_timeout
            self.transport.resume_reading()

    def abandon(self) -> None:
        """The taker has gone or does not want the rest."""
        self.taker = None
        self.upstream.forget(self)
        self.abort()

    def close(self) -> None:
        """Nothing is under way on it any more. What an upstream has not taken by now it need not have: its answer came
        before the request's end, and it may never read the rest."""
        if self._pieces or self.transport.get_write_buffer_size():
            self.abort()
        else:
            self.closing = True
            self.transport.close()

    def abort(self) -> None:
        self.closing = True
        self.transport.abort()

    def fail(self, error: UpstreamError) -> None:
        """Close it and tell the taker why."""
        taker, self.taker = self.taker, None
        self.upstream.forget(self)
        self.abort()
        if taker is not None:
            taker.lost(error, stale=False)

    # --- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write_to(transport)  # type: ignore[arg-type]  # a stream transport, as for any TCP protocol
        self.now = monotonic()
        self.transport.set_write_buffer_limits(high=_WRITE_HIGH)
        if self.upstream.spec.tls is not None:
            tls.hold_ends(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        if self._done:
            if self.tunnel is not None:
                self.tunnel.carry(data, self)
                return
            # Bytes that nobody asked for can only be read as an answer to a request to come: never.
            self.upstream.strays += 1
            self._drop_idle()
            return
        self._seen = True
        self.now = now = monotonic()
        try:
            self._look_at(data)
            self._parser.feed_data(data)
        except ValueError as fault:  # a name of its own: compiled, one name has one type
            self.fail(ResetError(f"upstream {self.upstream.spec.name}: not HTTP: {fault}"))
            return
        except httptools.HttpParserUpgrade as upgrade:
            self._switch(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            if not self._done:
                self.fail(ResetError(f"upstream {self.upstream.spec.name}: not HTTP: {error.__context__ or error}"))
                return
            self._keep = False
        if self._done:
            self._finish()
        elif self._head_done:
            self.deadline = now + self.upstream.idle_timeout
            if self.taker is not None:
                self.taker.flush()
            elif self._fed > _MAX_UNWANTED:
                self.abandon()
        elif self._switching:
            self.fail(
                ResetError(f"upstream {self.upstream.spec.name}: it switched protocols without Connection: upgrade")
            )
        elif self._fed <= _MAX_HEAD:
            self._tail = self._raw[-3:]  # the head's end may be cut
        else:
            self.fail(ResetError(f"upstream {self.upstream.spec.name}: its answer's head is too large"))

    def _look_at(self, data: bytes) -> None:
        """What llhttp does not look at closely enough. Raises ValueError where it is not as it must be."""
        fed = self._fed
        self._fed = fed + len(data)
        if fed < len(_PLAIN) and (fed or data[: len(_PLAIN)] != _PLAIN):
            self._start += data[: len(_PLAIN) - fed]
            self._old = is_answer(self._start)
        chunks = self._chunks
        if chunks is not None:
            chunks.check(data, 0)
        elif not self._head_done:
            self._raw = self._tail + data if self._tail else data
            self._place = 0

    def _finish(self) -> None:
        taker, self.taker = self.taker, None
        if self._held:
            self.hold_reading(False)
        # One that has not taken all of the request may never do so, and then the next one would wait behind it.
        self.upstream.release(self, keep=self._keep and self._complete and not self._full)
        if taker is not None:
            taker.ended()

    def _switch(self, rest: bytes) -> None:
        """It speaks another protocol from now on, if that is the one that was asked for."""
        taker = self.taker
        if not self._switching or taker is None:
            self.fail(ResetError(f"upstream {self.upstream.spec.name}: switched protocols unasked"))
            return
        self.taker = None
        self._done = True
        self.deadline = self.ends = _FOREVER
        self.upstream.forget(self)
        taker.switched(self, rest)

    def _drop_idle(self) -> None:
        self.abort()
        self.upstream.forget(self)

    def eof_received(self) -> bool:
        if self.tunnel is not None:
            return self.tunnel.end_of(self)
        self._ended = True
        # It says no more. Closing would first wait until it has read all that was written, which it may never do. Where
        # it is closing, over TLS, this comes from within that.
        if not self.closing:
            self.abort()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.closing = True
        if self.tunnel is not None:
            self.tunnel.lost(self)
            return
        taker, self.taker = self.taker, None
        self.upstream.forget(self)
        if taker is None:
            return
        # Over TLS the socket's end alone is not the upstream's: anybody in between can bring it about (RFC 9112, 9.8).
        if not self._done and self._until_end and self._ended and error is None:
            self._done = True
            taker.ended()
        else:
            name = self.upstream.spec.name
            what = "closed before its answer was whole" if self._seen else "closed without an answer"
            reset = ResetError(f"upstream {name}: {what}")
            reset.sent = not self._pieces or self._pieces[0] is not self._first
            taker.lost(reset, stale=self.pooled and not self._seen)

    def pause_writing(self) -> None:
        if self.tunnel is not None:
            self.tunnel.hold(True, self)
            return
        self._full = True
        if not self._complete:
            self.deadline = monotonic() + self.upstream.idle_timeout
        if self.taker is not None:
            self.taker.hold(True)

    def resume_writing(self) -> None:
        if self.tunnel is not None:
            self.tunnel.hold(False, self)
            return
        self._full = False
        if not self._complete:
            self.deadline = _FOREVER
        if self.taker is not None:
            self.taker.hold(False)

    # --- the parser's side

    def on_message_begin(self) -> None:
        if self._done:
            self._keep = False  # bytes after the end of the answer: they go down with their connection
            return
        if self._switching:
            raise ValueError("it speaks HTTP after it has switched protocols")
        self.lines: list[bytes] = []
        self.noted: list[tuple[bytes, bytes]] = []
        self.length = b""
        self._chunked = False
        self._connection = self._protocol = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        kind = self._kinds.get(name)
        if kind is None:
            kind = self._names.classify(name)
        if self._head_done:
            return  # a trailer: none is known to be safe to pass on
        if kind == PASS:
            self.lines.append(b"%b: %b\r\n" % (name, value))
        elif kind == LENGTH:
            if len(value) > 18 and not is_length(value):
                raise ValueError("its Content-Length is too large")
            self.length = value
        elif kind == CODING:
            if self._chunked or value.strip(b" ").lower() != b"chunked":  # so llhttp sees it
                raise ValueError(f"unknown transfer coding {value[:32]!r}")
            self._chunked = True
        elif kind == CONNECTION:
            self._connection += b"," + value if self._connection else value
        elif kind == UPGRADE:
            self._protocol = value
        elif kind == NOTE:
            lower = name.lower()
            self.noted.append((lower, value))
            if not lower.startswith(b"x-crossfade-"):
                self.lines.append(b"%b: %b\r\n" % (name, value))

    def on_headers_complete(self) -> None:
        if self._done:
            return
        parser = self._parser
        self.status = status = parser.get_status_code()
        if self._connection and self._connection not in (b"keep-alive", b"close"):
            self.lines = without(self.lines, nominated(self._connection))
        if status < 200 or status > 599:
            self._on_interim(status)
            return
        if self._fed > _MAX_HEAD and self._fed - len(self._raw) + self._head_end() > _MAX_HEAD:
            raise ValueError("its head is too large")
        self._head_done = True
        upstream = self.upstream
        upstream.durations.append(self.now - self._sent_at)
        if self._chunked and not self.bodiless:
            self._check_chunks()
        self._raw = b""
        if not parser.should_keep_alive() and not self._ends_with_its_head():
            self._keep = False
        if self.taker is not None:
            self.taker.answered(self)
        if self.head_only:
            # llhttp cannot be told that this answer has no body, so its state is thrown away.
            self._done = True
            self._parser = httptools.HttpResponseParser(self)
        elif not self.length and not self._chunked and status not in (204, 304):
            self._until_end = True
            self._keep = False

    def _on_interim(self, status: int) -> None:
        if not 100 <= status < 200:
            raise ValueError(f"its status is {status}")
        if status > 103 and (self._chunked or self.length.strip(b"0 \t")):
            raise ValueError(f"a {status} has no body")  # llhttp knows that only of those that are in use
        self._interim = True
        self._place = self._head_end()
        if status == 101:
            if not self._upgrade or self._protocol.lower() != self._upgrade:
                raise ValueError("it switched to a protocol that was not asked for")
            self._switching = True
        elif status != 100 and self.taker is not None:
            self.taker.interim(self)

    def _ends_with_its_head(self) -> bool:
        """What llhttp takes for an answer up to the connection's end, as it says no length, may be one to HEAD."""
        return self.head_only and not self._old and b"close" not in self._connection.lower()

    def _head_end(self) -> int:
        return self._raw.find(b"\r\n\r\n", self._place) + 4

    def _check_chunks(self) -> None:
        if self._old:
            raise ValueError("HTTP/1.0 knows no Transfer-Encoding")
        self._chunks = chunks = Chunks(_MAX_TRAILER)
        chunks.check(self._raw, self._head_end())

    def on_body(self, data: bytes) -> None:
        if self._done:
            self._keep = False
            return
        if self.taker is not None:
            self.taker.body(data)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        else:
            self._done = True
            if self._chunked and not self._parser.should_keep_alive():
                self._keep = False  # a trailer can say so too

    @property
    def bodiless(self) -> bool:
        """The answer has no body, whatever its headers say (RFC 9112, section 6.3)."""
        return self.head_only or self.status in (204, 304)
