"""The answer's way back to the client: its head made anew, its pieces gathered until they are worth a write."""

from typing import Final

from proxy.gateway.answers import STATUS_LINES
from proxy.gateway.connection import Connection
from proxy.gateway.request import REPLAY, Request
from proxy.gateway.tunnel import Tunnel
from proxy.gateway.turn import Writer

_JOIN: Final = 32 << 10
"""Pieces up to this many bytes are joined into one write; larger ones are written without a copy."""
_LAST_CHUNK: Final = b"0\r\n\r\n"


class Client(Writer):
    """What an exchange asks of the connection that its request came by."""

    __slots__ = ()

    def hold_request(self, full: bool) -> None:
        """Read no more of the request, or go on."""

    def finished(self, *, keep_alive: bool) -> None:
        """The answer has been written."""

    def tunnelled(self, tunnel: Tunnel) -> None:
        """The request has changed the protocol: what comes from now on goes through the tunnel."""

    def abort(self) -> None:
        """Close at once, so that what was written cannot be taken for a whole answer."""


class Reply:
    """`left` says that something of the answer has gone to the client, so that no other answer can. An answer that is
    `judged` is held back until it is whole, as long as it is small."""

    __slots__ = ("_chunked", "_client", "_pieces", "_size", "judged", "left", "sent")

    def __init__(self, client: Client) -> None:
        self._client = client
        self._pieces: list[bytes] = []
        self._size = self.sent = 0
        self._chunked = self.left = False
        self.judged: list[bytes] | None = None

    def head(self, request: Request, connection: Connection, arm: bytes, *, draining: bool) -> None:
        """The head: the status, the headers that were parsed, our framing. May end the request's `keep_alive`."""
        length = connection.length
        if connection.bodiless:
            framing = b"content-length: %b\r\n" % length if length and connection.status != 204 else b""
        elif length:
            framing = b"content-length: %b\r\n" % length
        elif request.old:
            framing = b""  # HTTP/1.0 knows no chunks: the end of the connection is the end of the answer
            request.keep_alive = False
        else:
            framing = b"transfer-encoding: chunked\r\n"
            self._chunked = True
        if draining or not request.complete:
            request.keep_alive = False
        last = b"connection: keep-alive\r\n\r\n" if request.old else b"\r\n"
        self._pieces.append(
            b"".join(
                (
                    STATUS_LINES[connection.status], *connection.lines, framing, b"x-request-id: ", request.request_id,
                    b"\r\nx-crossfade-arm: ", arm, b"\r\n",
                    last if request.keep_alive else b"connection: close\r\n\r\n",
                )
            )
        )  # fmt: skip

    def body(self, data: bytes) -> None:
        if self.judged is not None:
            self.judged.append(data)
        self._size += len(data)
        self.sent += len(data)
        if self._chunked:
            self._pieces += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._pieces.append(data)

    def flush(self) -> None:
        """What has come so far goes to the client, unless it is to be judged as a whole."""
        if self.judged is not None:
            if self._size <= REPLAY:
                return
            self.judged = None  # too large to be held back: it goes as it is
        pieces = self._pieces
        if not pieces:
            return
        self.left = True
        client = self._client
        if self._size <= _JOIN:
            client.write(b"".join(pieces))
        else:
            for piece in pieces:
                client.write(piece)
        self._pieces = []
        self._size = 0

    def end(self) -> None:
        self.judged = None
        if self._chunked:
            self._pieces.append(_LAST_CHUNK)
        self.flush()

    def forget(self) -> None:
        """Another answer will be given instead."""
        self._pieces = []
        self._size = self.sent = 0
        self._chunked = False
        self.judged = None
