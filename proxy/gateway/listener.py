"""The listening side of a worker: connections are accepted, made secure, and handed to a Downstream each.

The rules of this file: no connection is refused because the settings change, and none that is open is touched; what
cannot be used leaves what is in use as it is; each connection that has not got to its Downstream yet (its PROXY header
or its TLS handshake is to come) is counted, bounded and has a time limit.

Connections are accepted here, not by uvloop's own server: a PROXY header stands before the handshake; that server tells
nobody of a handshake that fails; and where no descriptor is left for one more connection it closes all that wait
without a word, or turns round and round at full speed. Here they wait until there is one. That costs some 15 µs a
connection.
"""

import asyncio
import socket
import ssl
from functools import partial
from time import monotonic
from typing import Final

import structlog

from proxy.gateway import proxied, tls
from proxy.gateway.admission import LIMIT, PROXY_HEADER, TLS, TURNED_AWAY, address_of
from proxy.gateway.downstream import Downstream
from proxy.gateway.shared import Shared
from proxy.model.errors import ClientError, ConfigError
from proxy.model.snapshot import ListenSpec, ListenTls
from proxy.telemetry.tasks import spawn

_log = structlog.get_logger()

_BACKLOG: Final = 4096
_AT_ONCE: Final = 64
"""Connections accepted in one turn of the loop: the requests of the others must not wait for a crowd."""
_PAUSE: Final = 0.1
"""Seconds without accepting where the machine has no descriptor or memory left for one more."""
_TELL_AGAIN: Final = 10.0
_MOST_EXPECTED: Final = 1024
"""Connections whose PROXY header has not come yet."""


class Expected:
    """A connection from a trusted proxy whose PROXY header is not whole. `data` is what was taken of it so far."""

    __slots__ = ("data", "deadline", "peer", "sock")

    def __init__(self, sock: socket.socket, peer: bytes, deadline: float) -> None:
        self.sock = sock
        self.peer = peer
        self.deadline = deadline
        self.data = b""


class Listener:
    """Accepts on one listening socket, which is the listener's from now on. `clients` get each Downstream."""

    def __init__(self, sock: socket.socket, shared: Shared, clients: set[Downstream]) -> None:
        self._sock = sock
        self._shared = shared
        self._clients = clients
        self._loop = asyncio.get_running_loop()
        self._tls: ListenTls | None = None
        self._context: ssl.SSLContext | None = None
        self._proxied = False
        self._reading = False
        self._rests = self._disagreed = 0
        self._told_at = self._told_of_tls_at = -_TELL_AGAIN
        self._pause: asyncio.TimerHandle | None = None
        self._expected: set[Expected] = set()
        self._entering: set[asyncio.Task[None]] = set()

    def start(self, spec: ListenSpec) -> None:
        """Listen. Raises ConfigError where the TLS files cannot be used."""
        self._context = tls.server_context(spec.tls) if spec.tls is not None else None
        self._tls, self._proxied = spec.tls, spec.proxy_protocol
        if self._sock.family != socket.AF_UNIX:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # those accepted inherit it
        self._sock.listen(_BACKLOG)
        self._read()

    def use(self, spec: ListenSpec) -> None:
        """Accept by these settings from now on. TLS that cannot be used is logged, and the former one goes on."""
        if spec.tls != self._tls:
            try:
                self._context = tls.server_context(spec.tls) if spec.tls is not None else None
                self._tls = spec.tls
                _log.info("listener_tls_in_use", on=spec.tls is not None)
            except ConfigError as error:
                _log.error("listener_tls_unusable", reason=str(error), using="the certificate before")
        self._proxied = spec.proxy_protocol

    async def close(self) -> None:
        """Accept what waits in the queue, then no more. What was accepted still gets to its Downstream."""
        while self._accept_one():
            pass
        self._stop_reading()
        self._sock.close()
        await asyncio.sleep(0)  # plain ones have got to their Downstream by then

    @property
    def entering(self) -> int:
        """Connections that were accepted and have not got to their Downstream yet."""
        return len(self._expected) + len(self._entering)

    def abort(self) -> None:
        """Cut off what has not got to its Downstream."""
        for expected in list(self._expected):
            self._forget(expected)
            expected.sock.close()
        for task in list(self._entering):
            task.cancel()

    def sweep(self, now: float) -> None:
        """Close the connections whose header did not come in time."""
        for expected in [expected for expected in self._expected if expected.deadline < now]:
            self._no_header(expected)

    # --- accepting

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if not self._accept_one():
                return

    def _accept_one(self) -> bool:
        """Whether there may be more."""
        try:
            sock, peer = self._sock.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionError:
            return True  # it has gone while it waited
        except OSError as error:
            self._rest(error)
            return False
        sock.setblocking(False)
        if self._proxied:
            self._expect(sock, address_of(peer))
        else:
            self._enter(sock, address_of(peer))
        return True

    def _rest(self, error: OSError) -> None:
        """No descriptor or no memory is left for one more: all who wait go on waiting, for a moment."""
        self._rests += 1
        now = monotonic()
        if now >= self._told_at + _TELL_AGAIN:
            self._told_at = now
            _log.warning("cannot_accept", problem=error.strerror, rests=self._rests, hint="who connects has to wait")
        if self._reading:
            self._stop_reading()
            self._pause = self._loop.call_later(_PAUSE, self._read)

    def _read(self) -> None:
        self._reading = True
        self._loop.add_reader(self._sock, self._accept)

    def _stop_reading(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock)

    def _enter(self, sock: socket.socket, address: bytes) -> None:
        """The client's address is known: its connection goes on, or is refused."""
        standing = self._shared.admission.admit(address, self._shared.table)
        if standing == TURNED_AWAY:
            sock.close()
            return
        task = spawn(self._connect(sock, address, standing), name="client")
        self._entering.add(task)
        task.add_done_callback(self._entering.discard)

    async def _connect(self, sock: socket.socket, address: bytes, standing: int) -> None:
        client = Downstream(self._shared, self._clients, address, standing)
        limits, context = self._shared.table.limits, self._context
        connect = partial(self._loop.connect_accepted_socket, lambda: client, sock)  # type: ignore[type-var]  # as above
        try:
            if context is None:
                await connect()
            else:
                # What a slow client has not read at the end has as long as one that rests (see Downstream.close).
                await connect(
                    ssl=context,
                    ssl_handshake_timeout=limits.header_timeout,
                    ssl_shutdown_timeout=limits.idle_timeout,
                )
        except ssl.SSLError as error:
            self._disagree(address, error)
        except OSError:
            pass  # counted below: it has gone, or has said nothing in time
        finally:
            if not client.met:
                self._shared.admission.leave(address, standing)
        if not client.met:
            self._shared.admission.refuse(TLS)

    def _disagree(self, address: bytes, error: ssl.SSLError) -> None:
        """An operator wants to know why, and the client is not told. Anybody can cause it, so only now and then."""
        self._disagreed += 1
        now = monotonic()
        if now >= self._told_of_tls_at + _TELL_AGAIN:
            self._told_of_tls_at = now
            _log.info("no_handshake", client=address.decode(), problem=tls.reason(error), times=self._disagreed)

    # --- the PROXY header

    def _expect(self, sock: socket.socket, peer: bytes) -> None:
        shared = self._shared
        if not shared.table.proxies.trusts(peer):
            self._refuse(sock, PROXY_HEADER)
        elif len(self._expected) >= _MOST_EXPECTED:
            self._refuse(sock, LIMIT)
        else:
            expected = Expected(sock, peer, monotonic() + shared.table.limits.header_timeout)
            self._expected.add(expected)
            self._loop.add_reader(sock, self._read_header, expected)
            self._read_header(expected)  # it is there already, mostly

    def _read_header(self, expected: Expected) -> None:
        """Take what has come of the header off the socket, and nothing that is the client's."""
        sock = expected.sock
        try:
            seen = sock.recv(proxied.MAX_HEADER, socket.MSG_PEEK)
            header = proxied.parse(expected.data + seen)
            taken = len(seen) if header is None else header.length - len(expected.data)
            sock.recv(taken)
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, ClientError):
            self._no_header(expected)
            return
        if header is not None:
            self._forget(expected)
            self._enter(sock, header.address or expected.peer)
        elif not seen:
            self._no_header(expected)
        else:
            expected.data += seen

    def _no_header(self, expected: Expected) -> None:
        """It is too late, it is none, or the peer has gone; also one that only looked whether anybody listens."""
        self._forget(expected)
        self._refuse(expected.sock, PROXY_HEADER)

    def _forget(self, expected: Expected) -> None:
        self._expected.discard(expected)
        self._loop.remove_reader(expected.sock)

    def _refuse(self, sock: socket.socket, reason: str) -> None:
        self._shared.admission.refuse(reason)
        sock.close()
