"""A connection that changed its protocol (RFC 9110, section 7.8): bytes go through both ways, unread.

The rules of this file: neither side is read faster than the other takes; the end of one side's words is passed on; the
tunnel is over when both have ended, when either side is lost, or after too long a silence.
"""

from time import monotonic
from typing import Final

from proxy.gateway.turn import Writer

_LINGER: Final = 5.0
"""Seconds that one side has to take what was written to it once the other has gone."""


class Tunnel:
    """Between a client and an upstream. `labels` are its route and arm. `deadline` is when the sweep has to look
    (monotonic seconds). It is a member of `tunnels`, those of the worker, until both sides are closed."""

    __slots__ = ("_client", "_ended", "_idle", "_lost", "_tunnels", "_upstream", "deadline", "labels")

    def __init__(
        self, client: Writer, upstream: Writer, idle: float, labels: tuple[str, str], tunnels: "set[Tunnel]"
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._idle = idle
        self._ended = self._lost = False
        self._tunnels = tunnels
        self.labels = labels
        self.deadline = monotonic() + idle
        tunnels.add(self)

    def carry(self, data: bytes, source: Writer) -> None:
        """Bytes have come from `source`."""
        if not self._lost:
            self.deadline = monotonic() + self._idle
            self._other(source).write(data)

    def hold(self, full: bool, target: Writer) -> None:
        """`target` cannot take more, or can again: the other one is not read so long."""
        transport = self._other(target).transport
        if transport.is_closing():
            return
        if full:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def end_of(self, source: Writer) -> bool:
        """`source` says no more. Whether it may still listen; if not, it is closed, and with it the tunnel."""
        other = self._other(source)
        if self._ended or self._lost or not other.transport.can_write_eof():
            return False  # the second end, or TLS, where the end of one side is the end of both
        self._ended = True
        other.write_out()
        other.transport.write_eof()
        return source.transport.can_write_eof()

    def lost(self, source: Writer) -> None:
        """`source` is closed: the other one gets what was written to it, then is closed too."""
        other = self._other(source)
        if self._lost:
            self._tunnels.discard(self)
            return
        self._lost = True
        self.deadline = monotonic() + _LINGER
        other.write_out()
        other.transport.close()

    def abort(self) -> None:
        self._client.transport.abort()
        self._upstream.transport.abort()

    def _other(self, end: Writer) -> Writer:
        return self._upstream if end is self._client else self._client
