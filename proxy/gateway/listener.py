"""The listening side of a worker: connections are accepted, made secure, and handed to a Downstream each.

The rules of this file: no connection is refused because the settings change, and none that is open is touched; what
cannot be used leaves what is in use as it is; each connection that has not got to its Downstream yet (its PROXY header
or its TLS handshake is to come) is counted, bounded and has a time limit.

Plain connections are accepted by uvloop itself. Where a header or a handshake comes first they are accepted here: the
header stands before the handshake, and a handshake that fails is told to nobody by uvloop's own server.
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
        self._plain: asyncio.Server | None = None
        self._reading = self._closed = False
        self._pause: asyncio.TimerHandle | None = None
        self._expected: set[Expected] = set()
        self._entering: set[asyncio.Task[None]] = set()

    async def start(self, spec: ListenSpec) -> None:
        """Listen. Raises ConfigError where the TLS files cannot be used."""
        self._context = tls.server_context(spec.tls) if spec.tls is not None else None
        self._tls, self._proxied = spec.tls, spec.proxy_protocol
        self._sock.listen(_BACKLOG)
        if self._by_hand:
            self._read()
        else:
            await self._go_plain()

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
        if self._by_hand:
            self._read()  # before the server goes: there is always one who accepts
            self._end_plain()
        elif self._plain is None:
            spawn(self._go_plain(), name="listen")

    async def close(self) -> None:
        """Accept what waits in the queue, then no more. What was accepted still gets to its Downstream."""
        self._closed = True
        while self._accept_one():
            pass
        self._end_plain()
        self._read_no_more()
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

    @property
    def _by_hand(self) -> bool:
        return self._context is not None or self._proxied

    # --- uvloop accepts

    async def _go_plain(self) -> None:
        server = await self._loop.create_server(
            lambda: Downstream(self._shared, self._clients),  # type: ignore[arg-type,return-value]  # a protocol by its methods
            sock=self._sock.dup(),
            backlog=_BACKLOG,
        )
        if self._closed or self._by_hand or self._plain is not None:  # the settings changed meanwhile
            server.close()
            return
        self._plain = server
        self._read_no_more()

    def _end_plain(self) -> None:
        if self._plain is not None:
            self._plain.close()
            self._plain = None

    # --- we accept

    def _read(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self._sock, self._accept)

    def _read_no_more(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock)

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
            _log.warning("cannot_accept", reason=error.strerror, pause=_PAUSE)
            if self._reading and self._pause is None:
                self._loop.remove_reader(self._sock)
                self._pause = self._loop.call_later(_PAUSE, self._accept_again)
            return False
        sock.setblocking(False)
        if self._proxied:
            self._expect(sock, address_of(peer))
        else:
            self._enter(sock, address_of(peer))
        return True

    def _accept_again(self) -> None:
        self._pause = None
        if self._reading:
            self._loop.add_reader(self._sock, self._accept)

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
        except OSError:
            pass  # counted below: no handshake, for whichever reason; anybody can cause it, so it is not logged
        finally:
            if not client.met:
                self._shared.admission.leave(address, standing)
        if not client.met:
            self._shared.admission.refuse(TLS)

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
