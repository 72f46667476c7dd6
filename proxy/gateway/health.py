"""Active health checks: each worker asks each upstream that has a `health_check`, again and again.

The rules of this file: a check is a connection of its own, with one GET, and leaves nothing behind; it is no request,
so it counts for no route, no arm and no duration; an upstream has one under way at most; whatever the upstream does, it
ends at its deadline. What comes of it is `Upstream.healthy`, and what comes of that is the upstream's to say.
"""

import random
from collections.abc import Callable
from typing import Final

import structlog

from proxy.gateway.connection import Connection, Taker
from proxy.gateway.counters import Counters
from proxy.gateway.upstream import Upstream
from proxy.model.errors import UpstreamError
from proxy.model.snapshot import HealthCheck, UpstreamSpec

_log = structlog.get_logger()

_MAX_BODY: Final = 64 << 10
"""Bytes of an answer; one that says more says something else than how it is."""
_JITTER: Final = 0.1
"""Share of the interval by which the next check comes earlier or later, so that workers do not beat in step."""


class Health:
    """Healthy or not, by results in a row: `unhealthy` bad ones make it unhealthy, `healthy` good ones healthy again,
    and one of the other kind begins the row anew. It starts healthy: a worker that has just begun ejects nobody."""

    __slots__ = ("_against", "_to_fall", "_to_rise", "healthy")

    def __init__(self, unhealthy: int, healthy: int) -> None:
        self.healthy = True
        self._to_fall = unhealthy
        self._to_rise = healthy
        self._against = 0

    def note(self, *, passed: bool) -> bool:
        """One more result. Whether it has changed the state."""
        if passed == self.healthy:
            self._against = 0
            return False
        self._against += 1
        if self._against < (self._to_fall if self.healthy else self._to_rise):
            return False
        self._against = 0
        self.healthy = passed
        return True


class Probe(Taker):
    """One check. `done` is called once with what was wrong, empty where nothing was; after `cancel` not at all.
    `dialling`: its connection may still come, and is closed then."""

    __slots__ = ("_connection", "_done", "_request", "_size", "_status", "_upstream", "deadline", "dialling", "over")

    def __init__(self, upstream: Upstream, request: bytes, deadline: float, done: Callable[[str], None]) -> None:
        self.deadline = deadline
        self.dialling = True
        self.over = False
        self._upstream = upstream
        self._request = request
        self._done = done
        self._connection: Connection | None = None
        self._status = self._size = 0
        upstream.checks += 1

    def connected(self, connection: Connection) -> None:
        self.dialling = False
        if self.over:
            self._upstream.checks -= 1
            self._upstream.release(connection, keep=False)
            return
        self._connection = connection
        connection.send([self._request], head_only=False, complete=True)
        connection.spoil()  # it asks to be closed, and not every upstream does

    def answered(self, connection: Connection) -> None:
        self._status = connection.status
        self._upstream.durations.pop()  # the connection has just measured it as if it were a request's

    def body(self, data: bytes) -> None:
        self._size += len(data)

    def flush(self) -> None:
        if self._size > _MAX_BODY:
            self.cancel()
            self._done(f"its answer is over {_MAX_BODY} bytes")

    def ended(self) -> None:
        self._connection = None
        self._upstream.checks -= 1
        self.over = True
        if not 200 <= self._status < 300:
            self._done(f"it answered {self._status}")
        else:
            self._done(f"its answer is over {_MAX_BODY} bytes" if self._size > _MAX_BODY else "")

    def lost(self, error: UpstreamError, *, stale: bool) -> None:  # noqa: ARG002  # a fresh connection is never stale
        self.dialling = False
        self._connection = None
        self._upstream.checks -= 1
        if not self.over:
            self.over = True
            self._done(error.detail)

    def time_out(self) -> None:
        """The deadline has passed."""
        self.cancel()
        self._done("no whole answer in time")

    def cancel(self) -> None:
        """End it, whatever it would have found."""
        self.over = True
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None
            self._upstream.checks -= 1


class Check:
    """The checks of one upstream."""

    __slots__ = ("_counters", "_due", "_health", "_probe", "_request", "_spec", "upstream")

    def __init__(self, upstream: Upstream, spec: HealthCheck, counters: Counters) -> None:
        self.upstream = upstream
        self._spec = spec
        self._counters = counters
        self._health = Health(spec.unhealthy, spec.healthy)
        self._request = request(upstream.spec, spec.path)
        self._probe: Probe | None = None
        self._due = 0.0

    def move(self, upstream: Upstream) -> None:
        """The same endpoint, of a new table."""
        self.upstream = upstream
        upstream.healthy = self._health.healthy

    def sweep(self, now: float) -> None:
        """End the probe that is past its deadline, start the one that is due."""
        if self._under_way(now) or now < self._due:
            return
        spec, last = self._spec, self._probe
        self._due = now + spec.interval * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # jitter, no secret
        if last is not None and last.dialling:
            # A dial may take longer than the check. Another one beside it would find the same, and they would pile up.
            self._judge("still not connected")
            return
        self._probe = probe = Probe(self.upstream, self._request, now + spec.timeout, self._judge)
        self.upstream.dial(probe)

    def _under_way(self, now: float) -> bool:
        probe = self._probe
        if probe is None or probe.over:
            return False
        if now < probe.deadline:
            return True
        probe.time_out()
        return False

    def stop(self) -> None:
        if self._probe is not None:
            self._probe.cancel()

    def _judge(self, fault: str) -> None:
        """One check is through. `fault` is empty where it passed."""
        name = self.upstream.spec.name
        self._counters.health[(name, "failed" if fault else "passed")] += 1
        if not self._health.note(passed=not fault):
            return
        self.upstream.healthy = self._health.healthy
        if fault:
            reason = f"{self._spec.unhealthy} health checks in a row failed, the last one: {fault}"
            _log.warning("upstream_unhealthy", upstream=name, reason=reason)
        else:
            reason = f"{self._spec.healthy} health checks in a row passed"
            _log.info("upstream_healthy", upstream=name, reason=reason)


class Checks:
    """The checks of one worker. What an upstream was found to be goes with its name and spec from table to table."""

    __slots__ = ("_checks", "_counters")

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._checks: dict[str, Check] = {}

    def follow(self, upstreams: dict[str, Upstream]) -> None:
        """Check these from now on, the table's upstreams by name. Called at once when there is a new table: else what
        is known to be down would be asked until the next sweep."""
        followed: dict[str, Check] = {}
        for name, upstream in upstreams.items():
            spec = upstream.spec.health_check
            if spec is None:
                continue
            check = self._checks.get(name)
            if check is not None and check.upstream.spec == upstream.spec:
                check.move(upstream)
                followed[name] = self._checks.pop(name)
            else:
                followed[name] = Check(upstream, spec, self._counters)
        self.stop()
        self._checks = followed

    def sweep(self, now: float) -> None:
        """`now` is monotonic seconds."""
        for check in self._checks.values():
            check.sweep(now)

    def stop(self) -> None:
        """End what is under way."""
        for check in self._checks.values():
            check.stop()


def request(spec: UpstreamSpec, path: str) -> bytes:
    """The GET of a check, with the upstream's own credentials. Its connection is to be closed, so that the next check
    finds out again whether the upstream accepts one."""
    host = f"[{spec.host}]" if ":" in spec.host else spec.host
    if spec.port != (443 if spec.tls is not None else 80):
        host = f"{host}:{spec.port}"
    headers = {"host": host, "user-agent": "crossfade-health", **dict(spec.set_headers), "connection": "close"}
    lines = [f"GET {spec.base_path}{path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join((*lines, "\r\n")).encode("latin-1")
