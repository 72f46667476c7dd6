"""The supervisor: the parent of all other processes. It starts them in order, starts again what dies, ends them in
order.

Start: store (only `store: embedded`), control, workers; each must be ready before the next one starts, and if one
cannot, those before it are ended and the start has failed. It decides nothing about traffic and owns nothing but the
sockets (see `sockets`), so that it has no reason to crash. If it dies all the same, the others notice and drain by
themselves.

End, in this order: readiness fails at once; after `drain_delay`, in which all goes on as before, no client can connect
any more; the workers, since they hold requests, get `drain_timeout` to finish them; then control, which writes down
what they reported last; then the store. Each has its time, so the whole has: see the README.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from setproctitle import setproctitle

from proxy.config.schema import Config
from proxy.control.child import Backoff, Child, Program, StartError
from proxy.control.configuration import Loaded, at_its_line, worker_count
from proxy.control.sockets import close_sockets, open_sockets, shut_door
from proxy.model.errors import ConfigError
from proxy.model.words import Process
from proxy.storage import embedded, locks
from proxy.storage.connection import wait_ready
from proxy.storage.embedded import Embedded
from proxy.storage.paths import link_path
from proxy.telemetry import logs
from proxy.telemetry.clock import SystemClock
from proxy.telemetry.tasks import spawn, stop

_log = structlog.get_logger()

_HANDSHAKE: Final = 0.2
"""Seconds between shutting the door and draining: those who are connecting get through."""
_LAST_WORDS: Final = 5.0
"""Seconds that a draining worker has beyond `drain_timeout`, to cut off its last requests and hand over its counts."""
_CONTROL_TIMEOUT: Final = 6.0
"""Seconds that control gets to end in. Nothing is lost where it hangs: what it did not keep, a worker has on disk."""
_STORE_TIMEOUT: Final = 15.0


def supervise(loaded: Loaded) -> int:
    """Run Crossfade until it is told to stop; the exit code. ConfigError or StartError where it cannot start: then
    nothing is left running. Blocks; must be called without a running loop."""
    setproctitle(f"crossfade: {Process.SUPERVISOR}")
    logs.configure(Process.SUPERVISOR)
    os.umask(0o077)  # what the store's server writes too is for this user alone
    try:
        held = _take(loaded.config)
    except ConfigError as error:
        raise at_its_line(error, loaded) from error
    try:
        return asyncio.run(Supervisor(loaded, held).run())
    finally:
        held.release()


@dataclass(frozen=True, slots=True)
class Held:
    """What must be had before anything starts. `lock` and the store's lock are handed down, so that a directory counts
    as used until the last process that writes to it has ended."""

    data_dir: Path
    lock: int
    store: Embedded | None
    sockets: list[socket.socket]

    def release(self) -> None:
        close_sockets(self.sockets)
        os.close(self.lock)
        if self.store is not None:
            os.close(self.store.lock)


def _take(config: Config) -> Held:
    data_dir = Path(config.data_dir).absolute()
    lock = locks.claim(data_dir)
    try:
        sockets = open_sockets(config.listen.address, worker_count(config))
        try:
            store = embedded.command(data_dir) if config.store == "embedded" else None
        except ConfigError:
            close_sockets(sockets)
            raise
    except ConfigError:
        os.close(lock)
        raise
    return Held(data_dir, lock, store, sockets)


class Supervisor:
    def __init__(self, loaded: Loaded, held: Held) -> None:
        self._loaded, self._held = loaded, held
        self._life, self._life_kept = os.pipe()
        self._link = link_path(held.data_dir)
        clock = SystemClock()
        self._store = Child(self._store_program(held.store), clock) if held.store else None
        self._control = Child(self._control_program(), clock)
        self._workers = [Child(self._worker_program(number), clock) for number in range(1, len(held.sockets) + 1)]
        self._keepers: list[asyncio.Task[None]] = []
        self._told_to_stop = asyncio.Event()
        self._told_twice = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        try:
            if await self._or_stop(self._start()):
                await self._told_to_stop.wait()
                await self._delay()
        finally:
            clean = await self._end()
        _log.info("stopped", clean=clean)
        return 0 if clean else 1

    # Start

    async def _start(self) -> None:
        if self._store is not None:
            await self._store.start()
            self._keep(self._store)
        admin = await self._control.start()
        self._keep(self._control, "--resume")
        async with asyncio.TaskGroup() as group:
            for worker in self._workers:
                group.create_task(worker.start())
        for worker in self._workers:
            self._keep(worker)
        host, port = self._held.sockets[0].getsockname()[:2]
        on = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        _log.info("listening", on=on, admin=admin, workers=len(self._workers), store=self._loaded.config.store)

    async def _or_stop(self, start: Coroutine[Any, Any, None]) -> bool:
        """Whether the start went through; False where we were told to stop meanwhile. Raises what the start raises."""
        starting = asyncio.get_running_loop().create_task(start)  # not spawned: what it raises is the caller's to say
        stopping = spawn(self._told_to_stop.wait(), "stop")
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await stop(stopping)
        if not starting.done():
            await stop(starting)
            return False
        try:
            await starting
        except ExceptionGroup as failed:  # of the workers, the first one speaks for all
            raise failed.exceptions[0] from None
        return True

    # While it runs

    def _keep(self, child: Child, *extra: str) -> None:
        self._keepers.append(spawn(self._keep_alive(child, extra), f"keep {child.name}"))

    async def _keep_alive(self, child: Child, extra: tuple[str, ...]) -> None:
        """Start the child again whenever it ends. `extra` tells it that this is not the first time."""
        backoff = Backoff()
        while True:
            code = await child.ended()
            wait = backoff.after(child.lived)
            _log.error("child_ended", child=child.name, **_cause(code), restart_in=wait)
            await asyncio.sleep(wait)
            try:
                await child.start(*extra)
            except StartError as error:
                _log.error("child_start_failed", child=child.name, problem=str(error))
                await child.kill()
            else:
                _log.info("child_started", child=child.name, pid=child.pid)
                if self._told_to_stop.is_set():
                    self._tell_unready()

    def _on_hangup(self) -> None:
        # One that has no handler yet would die of it; it has just read the file anyway, and watches it from then on.
        if self._control.ready:
            self._control.signal(signal.SIGHUP)

    # End

    def _on_stop(self, number: signal.Signals) -> None:
        if self._told_to_stop.is_set():
            self._told_twice.set()
        _log.info("stopping", signal=number.name, hurry=self._told_twice.is_set())
        self._told_to_stop.set()
        self._tell_unready()

    def _tell_unready(self) -> None:
        if self._control.ready:
            self._control.signal(signal.SIGUSR1)

    async def _delay(self) -> None:
        """Serve on for a while, new connections too: whoever sends them has to see first that we are not ready."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._loaded.config.drain_delay):
                await self._told_twice.wait()

    async def _end(self) -> bool:
        """End all children. Whether each ended by itself, in time."""
        await stop(*self._keepers)
        if any(worker.ready for worker in self._workers):
            shut_door(self._held.sockets)
            _log.info("draining", timeout=self._loaded.config.drain_timeout)
            await asyncio.sleep(_HANDSHAKE)
        close_sockets(self._held.sockets)  # the workers still hold them, until they have accepted who waits
        patience = self._loaded.config.drain_timeout + _LAST_WORDS
        clean = all(await asyncio.gather(*(self._stop_worker(worker, patience) for worker in self._workers)))
        for child, timeout in ((self._control, _CONTROL_TIMEOUT), (self._store, _STORE_TIMEOUT)):
            if child is not None and not await child.stop(timeout):
                _log.error("child_killed", child=child.name, after=timeout)
                clean = False
        os.close(self._life)
        os.close(self._life_kept)
        return clean

    async def _stop_worker(self, worker: Child, patience: float) -> bool:
        stopping = spawn(worker.stop(patience), f"stop {worker.name}")
        hurry = spawn(self._told_twice.wait(), "hurry")
        await asyncio.wait({stopping, hurry}, return_when=asyncio.FIRST_COMPLETED)
        hurried = not stopping.done()
        if hurried:
            await worker.kill()
        ended_itself = await stopping and not hurried
        await stop(hurry)
        if not ended_itself:
            _log.error("child_killed", child=worker.name, after=None if hurried else patience)
        return ended_itself

    # Programs

    def _store_program(self, store: Embedded) -> Program:
        return Program(
            Process.STORE,
            tuple(store.argv),
            (store.lock,),
            ready=lambda: wait_ready(store.url, _STORE_TIMEOUT),
            output=self._held.data_dir / "store" / "log",
        )

    def _control_program(self) -> Program:
        store = ("--store", self._held.store.url) if self._held.store is not None else ()
        config = self._loaded.config
        patience = str(config.drain_delay + config.drain_timeout + _LAST_WORDS)
        arguments = ("--config", self._loaded.file, "--patience", patience, *store)
        return self._ours(Process.CONTROL, "proxy.control.process", *arguments)

    def _worker_program(self, number: int) -> Program:
        fd = self._held.sockets[number - 1].fileno()
        patience = str(self._loaded.config.drain_timeout)
        arguments = ("--number", str(number), "--fd", str(fd), "--patience", patience)
        return self._ours(f"{Process.WORKER} {number}", "proxy.gateway.worker", *arguments, fds=(fd,))

    def _ours(self, name: str, module: str, *arguments: str, fds: tuple[int, ...] = ()) -> Program:
        # -P: without it a proxy.py in the directory where the operator stands would be taken for this package.
        argv = (
            sys.executable, "-P", "-m", module, *arguments,
            "--data-dir", str(self._held.data_dir), "--link", str(self._link), "--life-fd", str(self._life),
        )  # fmt: skip
        return Program(name, argv, (*fds, self._life, self._held.lock))


def _cause(code: int) -> dict[str, Any]:
    if code >= 0:
        return {"exit_code": code}
    with suppress(ValueError):
        return {"signal": signal.Signals(-code).name}
    return {"signal": -code}
