"""The frames between a worker and the control process, over a private unix socket.

A frame is a 4-byte big-endian length and a msgpack array `[kind, payload]`. Worker to control: HELLO first, then TICK
and TRIP. Control to worker: SNAPSHOT (at once after HELLO, and at every change), ACK (payload: how many TICKs of this
connection are safely kept; they are kept in order, and their sources may differ, since a worker also sends what an
earlier life of it left on disk). A worker has at most `WINDOW` TICKs on the way. Both are this program of this
version, so there is no negotiation: a HELLO of another `VERSION` is closed.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgpack

VERSION: Final = 3
MAX_FRAME: Final = 64 << 20
WINDOW: Final = 16

HELLO: Final = "hello"
TICK: Final = "tick"
TRIP: Final = "trip"
SNAPSHOT: Final = "snapshot"
ACK: Final = "ack"

_EMPTY: Final = b"\xc4\x00"
"""Empty bytes in msgpack."""
_BIN_32: Final = b"\xc6"
"""What begins bytes there, before their number in four bytes, big-endian."""


class Hello(NamedTuple):
    """`source` is the worker's life, `number` its place under the supervisor (1 to N)."""

    version: int
    source: str
    number: int
    pid: int


class Trip(NamedTuple):
    """A worker's breaker swapped a route to legacy. Sent again after a reconnect until a snapshot says it is known."""

    route: str
    version: str
    epoch: int
    reason: str
    at: float


class FrameError(Exception):
    """Not a frame of ours; the connection is closed."""


def encode(kind: str, payload: Any, rest: Sequence[bytes] = ()) -> bytes:
    """The frame. `rest` is what the payload ends with, in pieces, and takes the place of the empty bytes there: so long
    ones are copied once."""
    head: bytes = msgpack.packb([kind, payload])
    size = sum(map(len, rest))
    if size:
        assert head.endswith(_EMPTY)  # else the frame would say something else
        head = head.removesuffix(_EMPTY) + _BIN_32 + size.to_bytes(4, "big")
    return b"".join(((len(head) + size).to_bytes(4, "big"), head, *rest))


class Decoder:
    """Turns a byte stream back into frames. Feed it bytes, iterate over what became whole. Raises FrameError."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[str, Any]]:
        self._buffer += data
        while len(self._buffer) >= 4:
            size = int.from_bytes(self._buffer[:4], "big")
            if size > MAX_FRAME:
                raise FrameError(f"a frame of {size} bytes is over {MAX_FRAME}")
            if len(self._buffer) < 4 + size:
                return
            body = bytes(self._buffer[4 : 4 + size])
            del self._buffer[: 4 + size]
            try:
                frame = msgpack.unpackb(body, strict_map_key=False)
            except (ValueError, msgpack.UnpackException) as error:
                raise FrameError(f"a frame is no msgpack: {error}") from error
            if not isinstance(frame, list) or len(frame) != 2 or not isinstance(frame[0], str):
                raise FrameError("a frame is not [kind, payload]")
            yield frame[0], frame[1]
