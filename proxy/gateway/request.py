"""A request as it was parsed: what came in is kept here, and what goes out to an arm is made of it.

Its framing is made anew (RFC 9112, section 6), its headers are those that were parsed, and its body is kept, up to the
bound that its exchange sets, so that a second arm can have it too.
"""

from typing import Protocol

from proxy.gateway.context import joined
from proxy.gateway.table import Way

REPLAY = 64 << 10
"""Bytes of a body that are kept for a second try where nobody asks for more."""

_IDEMPOTENT = frozenset(
    (b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PROPFIND", b"PROPPATCH", b"MKCOL", b"COPY", b"SEARCH",
     b"REPORT", b"QUERY")
)  # fmt: skip

_PIECES = 64
"""Pieces of a body that are joined into one where so many came one by one."""


class Journey(Protocol):
    """Who carries a request that is not whole yet: the exchange."""

    def more(self, data: bytes) -> None: ...

    def all_there(self) -> None: ...


class Request:
    """`length` is Content-Length, or -1 where the body is chunked. `chunks` is what is kept of the body; `whole` says
    that nothing of it has been let go. `old` is HTTP/1.0; `expects` that the client waits for 100 Continue. `upgrade`
    is the protocol that the client asks to change to, `override` the header by which it asks for an arm."""

    __slots__ = (
        "_common", "_joined", "chunks", "client_ip", "complete", "expects", "forwarded", "forwarded_host", "host",
        "journey", "keep_alive", "keep_limit", "length", "lines", "method", "noted", "old", "override", "path", "query",
        "request_id", "size", "target", "trace", "upgrade", "whole",
    )  # fmt: skip

    def __init__(
        self,
        method: bytes,
        target: bytes,
        host: bytes,
        lines: list[bytes],
        noted: list[tuple[bytes, bytes]],
        length: int,
        client_ip: bytes,
        forwarded: bytes,
    ) -> None:
        self.method = method
        self.target = target
        self.path, _, self.query = target.partition(b"?")
        self.host = self.forwarded_host = host
        self.lines = lines
        self.noted = noted
        self.length = length
        self.client_ip = client_ip
        self.forwarded = forwarded
        self.request_id = self.trace = self.upgrade = self.override = b""
        self.keep_alive = True
        self.old = self.expects = False
        self.chunks: list[bytes] = []
        self._joined = 0
        self.size = 0
        self.keep_limit = REPLAY
        self.complete = False
        self.whole = True
        self.journey: Journey | None = None
        self._common = b""

    def take(self, data: bytes) -> None:
        """More of the body."""
        self.size += len(data)
        if self.whole:
            chunks = self.chunks
            chunks.append(data)
            if len(chunks) - self._joined >= _PIECES:
                # Bodies in tiny chunks: each piece costs some fifty bytes beside its own.
                chunks[self._joined :] = [b"".join(chunks[self._joined :])]
                self._joined += 1
        if self.journey is not None:
            self.journey.more(data)

    def finish(self) -> None:
        """The body is whole."""
        self.complete = True
        if self.journey is not None:
            self.journey.all_there()

    def let_go(self, prefix: int) -> bytes:
        """Keep the body no longer: it is too large to be sent twice. Its first `prefix` bytes are returned."""
        self.whole = False
        first = b"".join(self.chunks)[:prefix] if prefix else b""
        self.chunks = []
        return first

    @property
    def repeatable(self) -> bool:
        """Whether it can be sent twice without being done twice: it says so by its method (RFC 9110, section 9.2.2) or
        with an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header)."""
        return self.method in _IDEMPOTENT or any(name == b"idempotency-key" for name, _ in self.noted)

    def head(self, way: Way, extra: bytes = b"", *, chunked: bool = False) -> bytes:
        """The head for one arm, its end included. With `chunked` the body is to follow in chunks."""
        drops, dropped = way.drops, False
        if drops:
            for name, _ in self.noted:
                if name in drops:
                    dropped = True
        common, context = self._common, way.context
        if dropped and way.members:
            context = way.fixed + joined(way.members, self.noted)
        if not common or dropped:
            noted = [b"%b: %b\r\n" % pair for pair in self.noted if pair[0] not in drops]
            common = b"".join(
                (
                    *self.lines, *noted, self.forwarded, b"x-forwarded-host: ", self.forwarded_host,
                    b"\r\nx-request-id: ", self.request_id, b"\r\ntraceparent: ", self.trace, b"\r\n",
                )
            )  # fmt: skip
            if not dropped:
                self._common = common
        if chunked:
            framing = b"transfer-encoding: chunked\r\n\r\n"
        elif self.size or self.length > 0:
            framing = b"content-length: %d\r\n\r\n" % (self.size if self.complete else self.length)
        elif self.method in (b"POST", b"PUT", b"PATCH"):
            framing = b"content-length: 0\r\n\r\n"  # RFC 9110, section 8.6: such methods say that they have none
        else:
            framing = b"\r\n"
        return b"".join(
            (
                self.method, b" ", way.upstream.base_path, self.target, b" HTTP/1.1\r\nhost: ", way.host or self.host,
                b"\r\n", common, way.says, context, extra, framing,
            )
        )  # fmt: skip
