"""One upstream: its pool of keep-alive connections, who waits for one, and whether it is worth dialling.

There is no timer per request: each connection has a deadline, and the worker's sweep looks at them all.
"""

import asyncio
import errno
import random
import ssl
from collections import deque
from time import monotonic
from typing import Final

import structlog

from proxy.gateway import tls
from proxy.gateway.connection import Connection, Pool, Taker
from proxy.gateway.headers import Names
from proxy.gateway.turn import Turn
from proxy.model.errors import (
    ConnectFailureError,
    NotAskedError,
    OverloadError,
    ResetError,
    UpstreamError,
    UpstreamTimeoutError,
)
from proxy.model.snapshot import UpstreamSpec
from proxy.telemetry.tasks import spawn

_log = structlog.get_logger()

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_MOST_DOUBLINGS: Final = 10
"""More make no longer pause, and some thousand would make a number that no float can hold."""
_SAVED_RETRIES: Final = 10
_OURS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)
"""What is lacking on our side when a dial fails so: no upstream is to be blamed for it."""
_NO_LIMIT: Final = 1 << 62
_FOREVER: Final = float("inf")
_LAST_WORD: Final = 5.0
"""Seconds that an upstream has to answer the end of our TLS."""


class Upstream(Pool):
    """One endpoint: its idle and active connections, who waits for one, and whether it is worth dialling.

    With `backs_off` (agents), a failed dial makes all others but its own retries fail at once for a pause that doubles
    up to 5 s, and all fail at once while it is not `healthy`; legacy is always asked. `waiting` are those who came when
    `max_inflight` were under way, each with the time until which it waits, and whether it must have a fresh connection.
    `checks` are the health checks among those under way: they take no request's place. Without a `context` one that is
    to be spoken to by TLS cannot be reached.
    """

    __slots__ = (
        "_among", "_context", "_failures", "_failures_until", "_letting_in", "_tokens", "active", "backs_off",
        "base_path", "checks", "dialling", "healthy", "idle", "max_idle", "max_inflight", "retired", "retries",
        "waiting",
    )  # fmt: skip

    def __init__(
        self, spec: UpstreamSpec, names: Names, turn: Turn, *, backs_off: bool, context: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(spec, names, turn)
        self._context = context
        self.base_path = spec.base_path.encode()
        self.backs_off = backs_off
        self.max_idle = spec.max_idle
        self.max_inflight = spec.max_inflight or _NO_LIMIT
        self.waiting: deque[tuple[float, Taker, bool]] = deque()
        self.healthy = True
        self._letting_in = False
        self.retries = spec.retry.attempts
        self.idle: list[Connection] = []
        self.active: set[Connection] = set()
        self.dialling = self.checks = 0
        self.retired = False
        self._among: list[Upstream] = []
        self._failures = 0
        self._failures_until = 0.0
        self._tokens = float(_SAVED_RETRIES)

    def ask(self, taker: Taker, *, fresh: bool = False) -> None:
        """Give the taker a connection: now where one is idle, else when the dial is through or when it is its turn.
        `fresh` never reuses."""
        if self.backs_off and not self.healthy:
            _fail_soon(taker, NotAskedError(f"upstream {self.spec.name}: its health checks fail"))
        elif self.waiting or self.full:
            self._queue_up(taker, fresh=fresh)
        else:
            self._connect(taker, fresh=fresh)

    @property
    def full(self) -> bool:
        """Whether as much is under way as may be."""
        return len(self.active) + self.dialling - self.checks >= self.max_inflight

    def _connect(self, taker: Taker, *, fresh: bool) -> None:
        while self.idle and not fresh:
            connection = self.idle.pop()
            if not connection.closing:
                self.active.add(connection)
                connection.taker = taker
                taker.connected(connection)
                return
        if self.backs_off and not fresh and monotonic() < self._failures_until:
            name = self.spec.name
            _fail_soon(taker, NotAskedError(f"upstream {name}: it did not accept the last connection"))
            return
        self.dial(taker)

    def dial(self, taker: Taker) -> None:
        """A new connection for the taker, without a look at health, limits and back-off."""
        if self.retired and self not in self._among:
            self._among.append(self)  # by a request of before: somebody has to look at its deadlines
        self.dialling += 1
        spawn(self._dial(taker), name=f"dial {self.spec.name}")

    def _queue_up(self, taker: Taker, *, fresh: bool) -> None:
        spec = self.spec
        if len(self.waiting) >= spec.max_queue:
            _fail_soon(taker, OverloadError(f"upstream {spec.name}: {spec.max_queue} requests wait for it already"))
        else:
            self.waiting.append((monotonic() + spec.queue_timeout, taker, fresh))

    def _next_in_turn(self) -> None:
        """Let those in who waited, as far as there is room."""
        self._letting_in = False
        while self.waiting and not self.full:
            _, taker, fresh = self.waiting.popleft()
            if taker.wanted():
                self._connect(taker, fresh=fresh)

    async def _dial(self, taker: Taker) -> None:
        spec = self.spec
        connection = Connection(self)
        try:
            async with asyncio.timeout(spec.timeouts.connect):
                await self._connected(connection)
        except (OSError, TimeoutError, ValueError) as error:  # ValueError: a name that is no host's
            what = _reason(error) if isinstance(error, OSError) else "not a host's name"
            if isinstance(error, OSError) and error.errno in _OURS:
                _lose(taker, OverloadError(f"upstream {spec.name}: no connection can be made from here: {what}"))
                return
            self._failed(what)
            _fail(taker, spec.name, what)
            return
        finally:
            self.dialling -= 1
            self._room()
        self._failures = 0
        if connection.closing:
            reset = ResetError(f"upstream {spec.name}: closed at once")
            reset.sent = False
            taker.lost(reset, stale=False)
            return
        self.active.add(connection)
        connection.taker = taker
        taker.connected(connection)

    async def _connected(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        spec, secure = self.spec, self.spec.tls
        if secure is None:
            await loop.create_connection(lambda: connection, spec.host, spec.port)  # type: ignore[type-var]  # duck
        elif self._context is None:
            raise OSError(0, "its TLS files cannot be used")
        else:
            await loop.create_connection(  # type: ignore[type-var]  # as above
                lambda: connection,
                spec.host,
                spec.port,
                ssl=self._context,
                server_hostname=secure.server_name or spec.host,
                ssl_shutdown_timeout=_LAST_WORD,
            )

    def _failed(self, what: str) -> None:
        if not self._failures:  # the first one of a row
            _log.warning("upstream_does_not_connect", upstream=self.spec.name, reason=what)
        self._failures += 1
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self._failures - 1, _MOST_DOUBLINGS))
        self._failures_until = monotonic() + pause * random.uniform(0.8, 1.0)  # noqa: S311  # jitter, no secret

    def end_pause(self) -> bool:
        """Let the next request dial, though the last one failed to. Whether there was a pause to end."""
        paused = monotonic() < self._failures_until
        self._failures_until = 0.0
        return paused

    def may_retry(self) -> bool:
        """Take one retry from the budget: each request earns its share, at most ten are saved up."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def earn_retry(self) -> None:
        if self._tokens < _SAVED_RETRIES:
            self._tokens += self.spec.retry.budget

    def release(self, connection: Connection, *, keep: bool) -> None:
        """Back into the pool, or closed."""
        self.active.discard(connection)
        self._room()
        connection.taker = None
        if keep and not self.retired and len(self.idle) < self.max_idle and not connection.closing:
            connection.deadline = connection.now + self.keep_alive_timeout
            connection.ends = _FOREVER
            connection.pooled = True
            self.idle.append(connection)
        else:
            connection.close()

    def forget(self, connection: Connection) -> None:
        self.active.discard(connection)
        self._room()
        if connection in self.idle:
            self.idle.remove(connection)

    def _room(self) -> None:
        """Something is no longer under way. Who waited is let in by the loop: not from within another's end."""
        if self.waiting and not self._letting_in:
            self._letting_in = True
            asyncio.get_running_loop().call_soon(self._next_in_turn)

    def retire(self, among: "list[Upstream]") -> None:
        """No longer in the configuration: idle connections close now, active ones when their answer has ended. `among`
        are those like it that are looked after, as long as something is under way there."""
        self.retired = True
        self._among = among
        among.append(self)
        while self.idle:
            self.idle.pop().close()

    @property
    def busy(self) -> bool:
        """Whether anything is under way here."""
        return bool(self.active or self.waiting) or self.dialling > 0

    def sweep(self, now: float) -> None:
        """End what is past its deadline."""
        name = self.spec.name
        for connection in [c for c in self.active if c.deadline < now or c.ends < now]:
            connection.fail(UpstreamTimeoutError(f"upstream {name}: no answer in time"))
        down = self.backs_off and not self.healthy
        while self.waiting and (down or self.waiting[0][0] < now):
            _, taker, _ = self.waiting.popleft()
            if not taker.wanted():
                continue
            if down:
                _lose(taker, NotAskedError(f"upstream {name}: its health checks fail"))
            else:
                _lose(taker, OverloadError(f"upstream {name}: it had no room for {self.spec.queue_timeout:g} s"))
        while self.idle and self.idle[0].deadline < now:
            self.idle.pop(0).close()


def _fail(taker: Taker, name: str, what: str) -> None:
    taker.lost(ConnectFailureError(f"upstream {name}: {what}"), stale=False)


def _fail_soon(taker: Taker, error: UpstreamError) -> None:
    """Not from within the asking: who asks has not done with it yet."""
    asyncio.get_running_loop().call_soon(_lose, taker, error)


def _lose(taker: Taker, error: UpstreamError) -> None:
    taker.lost(error, stale=False)


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLError):
        return tls.reason(error)
    return (error.strerror or "connection failed").lower()
