"""The data plane's service: accepts connections, sweeps their deadlines, reports what was counted.

`serve` is a worker's life. It is apart from `worker`, the program, so that this is imported only when it is decided
whether the hot path runs compiled.
"""

import argparse
import asyncio
import gc
import signal
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Final

import structlog

from proxy.gateway.counters import histogram
from proxy.gateway.descriptors import Descriptors, take_all
from proxy.gateway.downstream import Downstream
from proxy.gateway.fallback import PartialAnswer
from proxy.gateway.health import Checks
from proxy.gateway.link import Link
from proxy.gateway.listener import Listener
from proxy.gateway.shared import Shared
from proxy.gateway.table import RolloutEntry
from proxy.model import measures
from proxy.model.clock import Clock
from proxy.model.errors import CrossfadeError, ResetError
from proxy.model.link import Trip
from proxy.model.snapshot import Snapshot
from proxy.model.tick import Gauges, Labels
from proxy.storage import lastgood
from proxy.storage.owed import Owed
from proxy.telemetry import life
from proxy.telemetry.clock import SystemClock

_log = structlog.get_logger()

SWEEP: Final = 0.1
"""Seconds between two looks at the upstream connections' deadlines; the grain of all timeouts."""
TICK: Final = 0.2
CLIENT_SWEEP: Final = 1.0


class Worker:
    """Accepts connections, sweeps their deadlines, reports what was counted."""

    def __init__(
        self, clock: Clock, snapshot: Snapshot, descriptors: Descriptors | None = None, owed: Owed | None = None
    ) -> None:
        self.clients: set[Downstream] = set()
        self.link: Link | None = None
        self._clock = clock
        self._listen = snapshot.listen
        self.shared = Shared(snapshot, self._tripped, owed)
        self._descriptors = descriptors or Descriptors()
        self.shared.admission.fit = self._descriptors.fit(snapshot)
        self.shared.counters.parcels.on_full = self._ship
        self.checks = Checks(self.shared.counters)
        self.checks.follow(self.shared.table.upstreams)
        self._listener: Listener | None = None
        self._timers: list[asyncio.TimerHandle] = []

    def use(self, snapshot: Snapshot) -> None:
        self.shared.use(snapshot)
        self.shared.admission.fit = self._descriptors.fit(snapshot)
        self.checks.follow(self.shared.table.upstreams)
        self._listen = snapshot.listen
        if self._listener is not None:
            self._listener.use(snapshot.listen)
        _log.info("snapshot_in_use", number=snapshot.number, routes=len(snapshot.routes))

    def _tripped(self, route: str, rollout: RolloutEntry, reason: str) -> None:
        if self.link is not None:
            self.link.trip(Trip(route, rollout.spec.version, rollout.spec.epoch, reason, self._clock.now()))

    async def listen(self, sock: socket.socket) -> None:
        """Serve who connects to this socket, which is the worker's from now on. ConfigError where TLS cannot be had."""
        self._listener = Listener(sock, self.shared, self.clients)
        self._listener.start(self._listen)
        self._every(SWEEP, self.sweep_upstreams)
        self._every(CLIENT_SWEEP, self.sweep_clients)
        self._every(TICK, self.report)

    def _every(self, seconds: float, what: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        index = len(self._timers)

        def again() -> None:
            self._timers[index] = loop.call_later(seconds, again)  # first: what raises is logged, and goes on
            what()

        self._timers.append(loop.call_later(seconds, again))

    def sweep_upstreams(self) -> None:
        now = monotonic()
        table = self.shared.table
        for upstream in (*table.upstreams.values(), *table.retired):
            upstream.sweep(now)
        self.checks.sweep(now)
        for pending in table.pendings():
            for copy in [copy for copy in pending.copies if copy.deadline < now]:
                copy.time_out()
        for tunnel in [tunnel for tunnel in self.shared.tunnels if tunnel.deadline < now]:
            tunnel.abort()

    def sweep_clients(self) -> None:
        now = monotonic()
        if self._listener is not None:
            self._listener.sweep(now)
        for client in [client for client in self.clients if client.deadline < now]:
            client.sweep(now)

    def _ship(self) -> None:
        """A parcel of records is full: it does not wait for the tick, while it is in the processor's cache."""
        if self.link is not None:
            self.link.report({}, {}, {}, self.shared.counters.parcels.drain(), {})

    def report(self) -> None:
        """Send the control process what was counted."""
        if self.link is None:
            return
        taken: dict[Labels, list[float]] = {}
        table = self.shared.table
        for upstream in (*table.upstreams.values(), *table.retired):
            if upstream.durations:
                taken.setdefault((upstream.spec.name,), []).extend(upstream.durations)
                upstream.durations = []
            if upstream.strays:
                self.shared.counters.strays[(upstream.spec.name,)] += upstream.strays
                upstream.strays = 0
        durations = {labels: histogram(seconds) for labels, seconds in taken.items()}
        table.retired[:] = [upstream for upstream in table.retired if upstream.busy]
        self.shared.tell_handed()
        counters, histograms, parcels = self.shared.counters.drain()
        self.shared.look_again()
        if durations:
            histograms[measures.UPSTREAM_DURATION.name] = durations
        self.link.report(counters, histograms, self.gauges(), parcels, self.shared.counters.drain_users())

    def gauges(self) -> Gauges:
        connections: dict[Labels, float] = {}
        queue: dict[Labels, float] = {}
        for name, upstream in self.shared.table.upstreams.items():
            connections[(name, "idle")] = len(upstream.idle)
            connections[(name, "active")] = len(upstream.active)
            queue[(name,)] = len(upstream.waiting)
        return {
            measures.INFLIGHT.name: {(): self.shared.inflight},
            measures.CLIENTS.name: {(): len(self.clients)},
            measures.CONNECTIONS.name: connections,
            measures.QUEUE.name: queue,
            measures.HEALTHY.name: {
                (name,): float(upstream.healthy)
                for name, upstream in self.shared.table.upstreams.items()
                if upstream.spec.health_check is not None
            },
            measures.TUNNELS.name: {**Counter[Labels](tunnel.labels for tunnel in self.shared.tunnels)},
            measures.SHADOW_PENDING.name: {
                (name,): len(rollout.pending.copies) for name, rollout in self.shared.table.rollouts()
            },
        }

    async def drain(self, patience: float) -> None:
        """Accept no more, let what is under way finish for up to `patience` seconds, then cut off what is left."""
        self.shared.draining = True
        if self._listener is not None:
            await self._listener.close()
        await asyncio.sleep(0)  # what has arrived is read first: a client that has asked is not idle
        for client in list(self.clients):
            client.drain()
        deadline = monotonic() + patience
        while monotonic() < deadline and self._under_way():  # noqa: ASYNC110  # an event would cost each request
            await asyncio.sleep(SWEEP / 5)
        _log.info("drained", cut_off=len(self.clients))
        for timer in self._timers:
            timer.cancel()
        self.checks.stop()
        if self._listener is not None:
            self._listener.abort()
        for client in list(self.clients):
            client.abort()
        for pending in self.shared.table.pendings():
            for copy in list(pending.copies):
                copy.drop()
        await asyncio.sleep(0)
        self._cut_partial_answers()
        self.report()

    def _cut_partial_answers(self) -> None:
        """What was handed over is recorded, with as much as came of what nobody gets."""
        table = self.shared.table
        for upstream in (*table.upstreams.values(), *table.retired):
            for connection in [each for each in upstream.active if isinstance(each.taker, PartialAnswer)]:
                connection.fail(ResetError("the worker ends"))

    def _under_way(self) -> bool:
        """Whether there are clients, all of which have a request or an answer to finish, those to come, or copies."""
        return (
            bool(self.clients)
            or (self._listener is not None and self._listener.entering > 0)
            or any(pending.copies for pending in self.shared.table.pendings())
        )


class Arrivals:
    """Snapshots from the link: the first one makes the worker, the others go to it."""

    def __init__(self) -> None:
        self.first: Snapshot | None = None
        self._use: Callable[[Snapshot], None] | None = None

    def take(self, snapshot: Snapshot) -> None:
        if self._use is not None:
            self._use(snapshot)
        else:
            self.first = snapshot

    def pass_on(self, use: Callable[[Snapshot], None]) -> None:
        self._use = use


async def serve(options: argparse.Namespace) -> None:
    """Run until SIGTERM, or until the supervisor is gone."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    life.when_orphaned(options.life_fd, stop.set)
    descriptors = Descriptors(take_all())
    clock = SystemClock()
    data_dir = Path(options.data_dir)
    arrivals = Arrivals()
    spool = data_dir / "spool" / f"worker-{options.number}"
    link = Link(Path(options.link), options.number, spool, arrivals.take, clock)
    await link.start(options.wait)
    snapshot = arrivals.first or lastgood.read(data_dir)
    if snapshot is None:
        raise CrossfadeError("the control process does not answer, and there is no last good configuration")
    if arrivals.first is None:
        _log.warning("control_away", using="the last good configuration")
        link.sealer.use(snapshot.sealing)
    worker = Worker(clock, snapshot, descriptors, link.owed)
    worker.link = link
    arrivals.pass_on(worker.use)
    sock = socket.socket(fileno=options.fd)
    sock.setblocking(False)
    await worker.listen(sock)
    # What lives from now on to the end need not be looked at by every collection.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    life.say_ready(options.ready_fd)
    await stop.wait()
    await worker.drain(options.patience)
    await link.close(options.flush)
