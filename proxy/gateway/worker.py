"""The worker process: accepts, forwards, copies, falls back; knows no Redis.

`python -m proxy.gateway.worker`, started by the supervisor, which hands it its listening socket. It serves by its last
snapshot whether the control process is there or not.
"""

import argparse
import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final

import setproctitle
import structlog
import uvloop

from proxy.gateway.counters import Counters, histogram
from proxy.gateway.downstream import Downstream
from proxy.gateway.link import Link
from proxy.gateway.table import RolloutEntry, Table
from proxy.gateway.turn import Turn
from proxy.model import measures
from proxy.model.clock import Clock
from proxy.model.errors import CrossfadeError
from proxy.model.link import Trip
from proxy.model.snapshot import Snapshot
from proxy.model.tick import Gauges, Labels
from proxy.model.words import Failure, Process
from proxy.storage import lastgood
from proxy.telemetry import life, logs
from proxy.telemetry.clock import SystemClock

_log = structlog.get_logger()

SWEEP: Final = 0.1
"""Seconds between two looks at the upstream connections' deadlines; the grain of all timeouts."""
TICK: Final = 0.2
CLIENT_SWEEP: Final = 1.0
_FLUSH_RECORDS: Final = 512
_MAX_ID: Final = 128
_ID_BYTES: Final = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.:/+=@")
_HEX: Final = frozenset(b"0123456789abcdef")
_BACKLOG: Final = 4096


class Worker:
    """What all connections of one worker share: the table, the counts, the sweeps."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.turn = Turn()
        self.counters = Counters()
        self.clients: set[Downstream] = set()
        self.inflight = 0
        self.draining = False
        self.link: Link | None = None
        self._table: Table | None = None
        self._server: asyncio.Server | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._life = os.urandom(6).hex().encode()
        self._trace = os.urandom(8).hex().encode()
        self._count = 0

    @property
    def table(self) -> Table:
        assert self._table is not None  # nothing is accepted before the first snapshot
        return self._table

    # --- identifiers

    def new_request_id(self) -> bytes:
        """Unique over workers and restarts: this life's random part and a count."""
        self._count += 1
        return b"%b-%08x" % (self._life, self._count)

    def request_id(self, given: bytes) -> bytes:
        """The client's own where it is usable, else a new one."""
        if given and len(given) <= _MAX_ID and _ID_BYTES.issuperset(given):
            return given
        return self.new_request_id()

    def trace(self, given: bytes) -> bytes:
        """A traceparent (W3C Trace Context, level 1): the client's where it is well-formed, else a new sampled one."""
        if (
            given
            and len(given) == 55
            and given[:3] == b"00-"
            and given[35:36] == given[52:53] == b"-"
            and _HEX.issuperset(given[3:35] + given[36:52] + given[53:])
            and given[3:35].strip(b"0")
            and given[36:52].strip(b"0")
        ):
            return given
        self._count += 1
        return b"00-%b%016x-%016x-01" % (self._trace, self._count, self._count)

    # --- the agent's failures

    def agent_did(self, route: str, rollout: RolloutEntry, *, failed: bool, error: Failure | None) -> None:
        """One outcome of the agent as it served. When the breaker trips, traffic swaps to legacy at once."""
        reason = rollout.breaker.record(failed, error is Failure.CONNECT_FAILURE)
        if reason is not None:
            rollout.tripped = True
            # The table may have been replaced since that request began.
            for name, current in self.table.rollouts():
                if name == route and current.breaker is rollout.breaker:
                    current.tripped = True
            _log.warning("breaker_tripped", route=route, version=rollout.spec.version, reason=reason)
            if self.link is not None:
                self.link.trip(Trip(route, rollout.spec.version, rollout.spec.epoch, reason, self.clock.now()))

    # --- snapshots

    def use(self, snapshot: Snapshot) -> None:
        """Decide by this snapshot from now on; requests under way keep theirs."""
        last, self._table = self._table, Table(snapshot, self.counters, self.turn, self._table)
        if last is not None:
            last.retire(self._table)
        _log.info("snapshot_in_use", number=snapshot.number, routes=len(snapshot.routes))

    # --- life

    async def listen(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Downstream(self), sock=sock, backlog=_BACKLOG)
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
        for upstream in self.table.upstreams.values():
            upstream.sweep(now)
        for _, rollout in self.table.rollouts():
            for copy in [copy for copy in rollout.pending.copies if copy.deadline < now]:
                copy.time_out()
        if len(self.counters.records) >= _FLUSH_RECORDS:
            self.report()

    def sweep_clients(self) -> None:
        now = monotonic()
        for client in [client for client in self.clients if client.deadline < now]:
            client.sweep(now)

    def report(self) -> None:
        """Send the control process what was counted."""
        if self.link is None:
            return
        durations: dict[Labels, list[float]] = {}
        for name, upstream in self.table.upstreams.items():
            if upstream.durations:
                durations[(name,)] = histogram(upstream.durations)
                upstream.durations = []
        counters, histograms, records = self.counters.drain()
        if durations:
            histograms[measures.UPSTREAM_DURATION.name] = durations
        self.link.report(counters, histograms, self.gauges(), records)

    def gauges(self) -> Gauges:
        connections: dict[Labels, float] = {}
        for name, upstream in self.table.upstreams.items():
            connections[(name, "idle")] = len(upstream.idle)
            connections[(name, "active")] = len(upstream.active)
        return {
            measures.INFLIGHT.name: {(): self.inflight},
            measures.CLIENTS.name: {(): len(self.clients)},
            measures.CONNECTIONS.name: connections,
            measures.SHADOW_PENDING.name: {
                (name,): len(rollout.pending.copies) for name, rollout in self.table.rollouts()
            },
        }

    async def drain(self, patience: float) -> None:
        """Accept no more, let requests and copies finish for up to `patience` seconds, then cut off what is left."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        for client in list(self.clients):
            client.close_if_idle()
        deadline = monotonic() + patience
        while monotonic() < deadline and (self.inflight or self._copies()):  # noqa: ASYNC110  # an event would cost each request
            await asyncio.sleep(SWEEP / 5)
        for timer in self._timers:
            timer.cancel()
        for client in list(self.clients):
            client.abort()
        for _, rollout in self.table.rollouts():
            for copy in list(rollout.pending.copies):
                copy.time_out()
        await asyncio.sleep(0)
        self.report()

    def _copies(self) -> int:
        return sum(len(rollout.pending.copies) for _, rollout in self.table.rollouts())


async def serve(options: argparse.Namespace) -> None:
    """Run until SIGTERM, or until the supervisor is gone."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    life.when_orphaned(options.life_fd, stop.set)
    clock = SystemClock()
    worker = Worker(clock)
    data_dir = Path(options.data_dir)
    spool = data_dir / "spool" / f"worker-{options.number}"
    link = worker.link = Link(Path(options.link), options.number, spool, worker.use, clock)
    if not await link.start(options.wait):
        snapshot = lastgood.read(data_dir)
        if snapshot is None:
            raise CrossfadeError("the control process does not answer, and there is no last good configuration")
        _log.warning("control_away", using="the last good configuration")
        worker.use(snapshot)
    sock = socket.socket(fileno=options.fd)
    sock.setblocking(False)
    await worker.listen(sock)
    # What lives from now on to the end need not be looked at by every collection.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    life.say_ready(options.ready_fd)
    await stop.wait()
    await worker.drain(options.patience)
    await link.close(options.flush)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="crossfade worker", description=__doc__)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--fd", type=int, required=True, help="the listening socket")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--link", required=True, help="the control process's socket")
    parser.add_argument("--ready-fd", type=int)
    parser.add_argument("--life-fd", type=int)
    parser.add_argument("--wait", type=float, default=3.0, help="seconds to wait for the first snapshot")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds that requests get to finish in")
    parser.add_argument("--flush", type=float, default=3.0, help="seconds to hand over the last counts in")
    options = parser.parse_args(arguments)
    name = f"{Process.WORKER} {options.number}"
    setproctitle.setproctitle(f"crossfade: {name}")
    logs.configure(name)
    try:
        uvloop.run(serve(options))
    except CrossfadeError as error:
        life.say_error(options.ready_fd, str(error))
        _log.error("worker_cannot_start", reason=str(error))
        sys.exit(1)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
