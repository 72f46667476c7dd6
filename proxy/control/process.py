"""The control process: `python -m proxy.control.process`, started by the supervisor.

It starts from the inside out and ends in the opposite order: store, recorder, controller, hub, reload, admin API. Told
to end, or when the supervisor is gone, it stays until the workers have drained, so that their last counts are kept.
"""

import argparse
import asyncio
import secrets
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, NamedTuple

import setproctitle
import structlog
import uvloop

from proxy.admin import app as admin
from proxy.admin.auth import Tokens
from proxy.admin.escalations import EscalationApi
from proxy.config.compile import sealing_keys
from proxy.config.schema import Config
from proxy.control import configuration, leftovers
from proxy.control.configuration import Loaded, at_its_line, worker_count
from proxy.control.controller import Controller
from proxy.control.debts import Debts
from proxy.control.erasing import Eraser
from proxy.control.forwarding import Forwarder
from proxy.control.hub import Hub
from proxy.control.intake import Intake
from proxy.control.joining import Joiner
from proxy.control.keeping import Keeper
from proxy.control.notifying import Notifier
from proxy.control.operations import ControlOperations
from proxy.control.recorder import Recorder
from proxy.control.reload import Reloader
from proxy.control.sharing import Sharing
from proxy.control.spans import Spans
from proxy.model.errors import ConfigError, CrossfadeError, StoreError, StoreUnavailableError
from proxy.model.link import Trip
from proxy.model.tick import Tick
from proxy.model.words import Process
from proxy.storage import lastgood
from proxy.storage.connection import Client, connect
from proxy.storage.erasure import ErasureStore
from proxy.storage.escalations import EscalationStore
from proxy.storage.lastgood import LastGood
from proxy.storage.late import LateStore
from proxy.storage.pairs import PairStore
from proxy.storage.probe import check
from proxy.storage.reading import PairArchive
from proxy.storage.replicas import ReplicaStore
from proxy.storage.retention import RetentionStore
from proxy.storage.rollouts import StateStore
from proxy.storage.sealing import Sealer
from proxy.storage.spool import Spool
from proxy.storage.steps import StepStore
from proxy.storage.untold import UntoldStore
from proxy.telemetry import families, life, logs
from proxy.telemetry.clock import SystemClock
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tasks import spawn, stop

_log = structlog.get_logger()

_LOOK_FOR_WORKERS: Final = 0.05


class Start(NamedTuple):
    """What to start with. `accepted` is False where the file cannot be used and what ran last stands in."""

    loaded: Loaded
    last: LastGood | None
    accepted: bool


def find_start(file: Path, data_dir: Path, *, resume: bool) -> Start:
    """A first start takes the file or fails. When a dead control process is followed by another one (`resume`), traffic
    is on: then a bad file is what a bad reload is, and the last good configuration goes on. Raises ConfigError."""
    last = lastgood.find(data_dir)
    try:
        return Start(configuration.read(file), last, accepted=True)
    except ConfigError as error:
        if not resume or last is None:
            raise
        _log.error("configuration_refused", file=error.file, line=error.line, path=error.path, problem=error.problem)
        return Start(configuration.build(last.file, last.text, last.digests), last, accepted=False)


class Ending:
    """How the end begins. `draining`: traffic is led elsewhere, so readiness fails. `told`: this process ends, once no
    worker is left that has something to report."""

    def __init__(self) -> None:
        self.draining = False
        self.told = asyncio.Event()

    def drain(self) -> None:
        """SIGUSR1, from the supervisor: first it drains the workers, and only then ends us."""
        self.draining = True

    def end(self) -> None:
        """SIGTERM. It may come to all processes at once, from a service manager."""
        self.draining = True
        self.told.set()

    def orphaned(self) -> None:
        _log.warning("supervisor_gone")
        self.end()


class Control:
    """The parts of the control process, wired."""

    def __init__(self, start: Start, redis: Client, file: Path, link: Path, data_dir: Path, ending: Ending) -> None:
        self.metrics = Metrics()
        self.sealer = Sealer(
            sealing_keys(start.loaded.config), lambda about: self.metrics.count(families.UNREADABLE, about)
        )
        self.states = StateStore(redis)
        self.pairs = PairArchive(redis, self.sealer)
        self.metrics.reload_result(start.accepted)  # the first loading counts as one, so that the gauge is there
        writer, spool = PairStore(redis, self.metrics.count_dropped, self.sealer), data_dir / "spool" / "control"
        self.recorder = Recorder(writer, Spool(spool, sealer=self.sealer), self.metrics, self.sealer)
        self.debts = Debts(self.metrics.count_dropped)
        self.hub = Hub(link, on_tick=self.take, on_trip=self.trip, on_gone=self.metrics.forget)
        self.clock = clock = SystemClock()
        source = secrets.token_hex(8)
        sharing = Sharing(ReplicaStore(redis, clock, source), self.metrics, clock, source)
        self.controller = Controller(
            start.loaded, self.states, sharing, self.metrics, clock, self.hub.broadcast, data_dir, start.last
        )
        self.steps = StepStore(redis, self.sealer)
        self.forwarder = Forwarder(self.metrics)
        self.spans = Spans(self.steps, self.forwarder, self.metrics, clock)
        late = LateStore(redis)
        self.intake = Intake(late, self.sealer, clock)
        self.joiner = Joiner(late, self.sealer, self.metrics, clock, lambda: sharing.leads)
        self.erasures = ErasureStore(redis, self.sealer)
        self.keeper = Keeper(RetentionStore(redis), self.erasures, self.metrics, clock, lambda: sharing.leads)
        self._set_rules(start.loaded)
        self.reloader = Reloader(file, start.loaded, self.apply, self.metrics)
        self.operations = ControlOperations(
            self.controller, self.reloader, lambda: self.hub.serving, lambda: ending.draining
        )
        escalations = EscalationStore(redis, self.pairs, self.steps, self.sealer)
        self.escalations = EscalationApi(
            self.operations, escalations, lambda: self._config().escalations.secret or "", clock
        )
        self.notifier = Notifier(
            UntoldStore(redis), escalations, self._config, lambda: sharing.leads, self.metrics, clock
        )

    def eraser(self, *, own_store: bool) -> Eraser:
        return Eraser(self.erasures, self._config, self.metrics, self.clock, own_store=own_store)

    def _config(self) -> Config:
        """The one that runs."""
        return self.controller.loaded.config

    async def take(self, tick: Tick, live: bool) -> None:
        """A tick on its way from a worker: into the metrics, to the guards, to the store. Raises nothing: a tick that
        nobody can take would be sent for ever."""
        try:
            if self.metrics.absorb(tick, live=live):
                self.debts.take(tick)
                if live:
                    self.controller.observe(tick)
            await self.recorder.submit(tick)
        except Exception:  # noqa: BLE001  # whatever is wrong with it, the ticks after it must be taken
            _log.exception("tick_lost", source=tick.source, seq=tick.seq, bytes=len(tick.records))

    def trip(self, trip: Trip) -> None:
        self.controller.trip(trip)

    async def apply(self, loaded: Loaded) -> None:
        self.sealer.use(sealing_keys(loaded.config))
        await self.controller.apply(loaded)
        self._set_rules(loaded)

    def _set_rules(self, loaded: Loaded) -> None:
        self.recorder.set_rules(loaded.rules)
        self.intake.set_rules(loaded.rules)
        self.joiner.set_rules(loaded.rules)
        self.keeper.set_rules(loaded.rules)
        self.spans.use(loaded.rules, loaded.config.traces)


async def run(options: argparse.Namespace) -> None:
    """Until SIGTERM or the supervisor's end, then until the workers are gone. CrossfadeError where it cannot start."""
    ending = Ending()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.end)
    loop.add_signal_handler(signal.SIGUSR1, ending.drain)
    data_dir = Path(options.data_dir)
    start = find_start(Path(options.config), data_dir, resume=options.resume)
    try:
        async with AsyncExitStack() as parts:
            control = await _start(start, options, data_dir, parts, ending)
            life.when_orphaned(options.life_fd, ending.orphaned)
            await ending.told.wait()
            await _outlive_workers(control.hub, options.patience)
    except ConfigError as error:
        raise at_its_line(error, start.loaded) from error
    _log.info("control_ended")


async def _start(
    start: Start, options: argparse.Namespace, data_dir: Path, parts: AsyncExitStack, ending: Ending
) -> Control:
    config = start.loaded.config
    redis = await _open_store(options.store or config.store, resume=options.resume)
    parts.push_async_callback(redis.aclose)
    control = Control(start, redis, Path(options.config), Path(options.link), data_dir, ending)
    parts.callback(control.recorder.close)
    parts.push_async_callback(stop, spawn(control.recorder.run(), "recorder"))
    try:
        await control.controller.start(patient=options.resume)
    except StoreError as error:
        raise ConfigError(str(error), path="store") from error
    parts.push_async_callback(control.controller.close)
    parts.push_async_callback(stop, spawn(control.notifier.run(), "notifier"))
    parts.push_async_callback(stop, spawn(control.joiner.run(), "joiner"))
    parts.push_async_callback(stop, spawn(control.keeper.run(), "keeper"))
    parts.callback(control.forwarder.close)
    parts.push_async_callback(stop, spawn(control.forwarder.run(), "forwarder"))
    await control.hub.start()
    parts.push_async_callback(control.hub.close)
    control.reloader.start()
    parts.push_async_callback(control.reloader.close)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, control.reloader.hint)
    tokens = Tokens(config.admin.tokens_file) if config.admin.tokens_file else None
    application = admin.create_app(
        control.operations,
        control.pairs,
        control.metrics,
        control.states,
        tokens=tokens,
        decisions=control.intake,
        escalations=control.escalations,
        steps=control.steps,
        spans=control.spans,
        eraser=control.eraser(own_store=options.store is not None),
    )
    runner = await admin.start(application, config.admin.address.host, config.admin.address.port)
    parts.push_async_callback(runner.cleanup)
    parts.push_async_callback(
        stop, spawn(leftovers.hand_over(data_dir, worker_count(config), control.take, control.sealer), "leftovers")
    )
    host, port = runner.addresses[0][:2]
    life.say_ready(options.ready_fd, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    return control


async def _open_store(url: str, *, resume: bool) -> Client:
    """Where traffic is on already, a store that is away is waited for; at a first start it is an error."""
    try:
        redis = connect(url)
        try:
            server = await check(redis)
        except StoreUnavailableError:
            if not resume:
                await redis.aclose()
                raise
        else:
            _log.info("store_found", server=server.name, version=".".join(map(str, server.version)))
    except StoreError as error:
        raise ConfigError(str(error), path="store") from error
    return redis


async def _outlive_workers(hub: Hub, patience: float) -> None:
    deadline = asyncio.get_running_loop().time() + patience
    while hub.workers and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110  # rare, and in no hurry
        await asyncio.sleep(_LOOK_FOR_WORKERS)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="crossfade control", description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--link", required=True, help="the socket to make for the workers")
    parser.add_argument("--store", help="the embedded store's URL")
    parser.add_argument("--ready-fd", type=int)
    parser.add_argument("--life-fd", type=int)
    parser.add_argument("--patience", type=float, default=30.0, help="seconds to wait for workers that drain")
    parser.add_argument("--resume", action="store_true", help="another control process ran before, and traffic is on")
    options = parser.parse_args(arguments)
    setproctitle.setproctitle(f"crossfade: {Process.CONTROL}")
    logs.configure(Process.CONTROL)
    try:
        uvloop.run(run(options))
    except CrossfadeError as error:
        life.say_error(options.ready_fd, str(error))
        if options.ready_fd is None or options.resume:
            _log.error("control_cannot_start", problem=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
