"""Writes leave together, at the end of the loop's turn.

The loop hands us all sockets that are readable, one after the other. A write in between would wake its receiver for
one message, let it fall asleep again, and wake it for the next: measured, a quarter of the time of a request. So what
is written in a turn is kept and leaves when the turn's events are through, in as few system calls as there are
connections. With one event in the turn nothing waits, and with thousands of them not all do: what is written for the
first must not have left the processor's caches by the time it is sent.
"""

import asyncio
import os
from asyncio import Transport
from collections.abc import Callable
from typing import Final

_JOIN: Final = 32 << 10
"""Pieces up to this many bytes are joined into one; larger ones are handed over without a copy."""

_LARGE: Final = 64 << 10
"""A piece of this many bytes leaves at once: it is worth a system call, and the loop may read eight MiB from one socket
in a turn before anybody heard that the other side is full."""


_AT_ONCE: Final = 64
"""Writers that are gathered in one turn."""


class Writer:
    """A transport's side of this. Whoever closes the transport must call `write_out` first. What could not leave stays
    in `_pieces`."""

    __slots__ = ("_fd", "_handed_over", "_pieces", "_turn", "transport")

    transport: Transport

    def __init__(self, turn: "Turn") -> None:
        self._turn = turn
        self._fd = -1
        self._handed_over = False
        self._pieces: list[bytes] = []

    def write_to(self, transport: Transport) -> None:
        """The connection is there."""
        self.transport = transport
        sock = transport.get_extra_info("socket")
        if sock is not None and transport.get_extra_info("ssl_object") is None:
            self._fd = sock.fileno()

    def write(self, data: bytes) -> None:
        if not self._pieces:
            self._turn.add(self)
        self._pieces.append(data)
        if len(data) >= _LARGE:
            self.write_out()

    def write_out(self) -> None:
        pieces = self._pieces
        # It may have closed in this turn; uvloop raises then, and the other writers would be left out.
        if not pieces or self.transport.is_closing():
            return
        self._pieces = []
        if len(pieces) == 1:
            self._send(pieces[0])
        elif sum(map(len, pieces)) <= _JOIN:
            self._send(b"".join(pieces))
        else:
            self._handed_over = True
            self.transport.writelines(pieces)

    def _send(self, data: bytes) -> None:
        """To the socket itself where nothing waits before it: the transport would do so at the end of the turn, and
        that is when it gets what the socket did not take."""
        if self._handed_over:
            self._handed_over = self.transport.get_write_buffer_size() > 0
        if self._fd < 0 or self._handed_over:
            self.transport.write(data)
            return
        try:
            sent = os.write(self._fd, data)
        except OSError:  # full; or broken, which the transport will find out and tell
            sent = 0
        if sent < len(data):
            self._handed_over = True
            self.transport.write(data[sent:])


class Turn:
    """Who has something to write in this turn of the loop."""

    __slots__ = ("_at_end", "_loop", "_writers")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._writers: list[Writer] = []
        self._at_end: Callable[[], None] = self._end

    def add(self, writer: Writer) -> None:
        if not self._writers:
            self._loop.call_soon(self._at_end)
        elif len(self._writers) >= _AT_ONCE:
            self._end()  # it will be called at the turn's end all the same
        self._writers.append(writer)

    def _end(self) -> None:
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.write_out()
