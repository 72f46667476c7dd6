"""Hot reload: the file and all that it draws in are watched, and whatever asks for a reload takes the same way.

A reload builds everything new first; only when all of it is there does it take effect, at once and whole. What cannot
be used changes nothing, is logged with file, line and path, and shows in the metrics.

Drawn in are secrets (`${file:...}`), certificates and keys: a renewed one is a change, although the configuration says
what it said.

Directories are watched, not files, and what was read is compared, not when it was written: an editor replaces the file,
and a ConfigMap is swapped by a symlink beside it. Since a directory on a network, or one that is mounted over, may
tell nothing, the content is also read once a second.
"""

import asyncio
import hashlib
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from operator import attrgetter
from pathlib import Path
from typing import Final

import structlog
from watchfiles import awatch

from proxy.config.load import watched_files
from proxy.config.schema import Config
from proxy.control import configuration
from proxy.control.configuration import Loaded, blindly_trusted
from proxy.model.errors import ConfigError, CrossfadeError
from proxy.storage.lastgood import read_text
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tasks import spawn, stop

_log = structlog.get_logger()

POLL: Final = 1.0
_SETTLE: Final = 0.05
"""Seconds in which a file must not change before it is read as whole."""
_SETTLE_ATTEMPTS: Final = 20
_DEBOUNCE: Final = 100
"""Milliseconds for which changes of a directory are gathered."""

_WATCH_AGAIN: Final = 60.0

RESTART: Final = ("listen.address", "admin", "workers", "store", "data_dir", "drain_delay", "drain_timeout")
"""What is put to use once, at the start. The rest of `listen` is in the snapshot, which workers follow."""

Apply = Callable[[Loaded], Awaitable[None]]


class Reloader:
    """`loaded` is what runs. `apply` puts a new one to work, or raises CrossfadeError and changes nothing."""

    def __init__(self, file: Path, loaded: Loaded, apply: Apply, metrics: Metrics) -> None:
        self._file, self._loaded, self._apply, self._metrics = file, loaded, apply, metrics
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._seen = _fingerprint(file)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        _warn_of_blind_trust(self._loaded.config)
        logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it tells of every change beside the file
        self._tasks = [spawn(self._poll(), "reload"), spawn(self._watch(), "reload watch")]

    async def close(self) -> None:
        await stop(*self._tasks)

    def hint(self) -> None:
        """SIGHUP."""
        spawn(self._try("SIGHUP"), "reload by SIGHUP")

    async def reload(self, actor: str) -> bool:
        """Read the file again and put it to work. Whether anything changed. Raises ConfigError, StoreError."""
        async with self._lock:
            self._seen = await asyncio.to_thread(_fingerprint, self._file)
            try:
                loaded = await asyncio.to_thread(configuration.read, self._file)
                changed = (loaded.config, loaded.digests) != (self._loaded.config, self._loaded.digests)
                if changed:
                    await self._apply(loaded)
            except CrossfadeError as error:
                self._metrics.reload_result(ok=False)
                _refuse(error, actor)
                raise
            self._metrics.reload_result(ok=True)
            before, self._loaded = self._loaded, loaded
        if changed:
            _warn(before.config, loaded.config)
        _warn_of_blind_trust(loaded.config)
        event = "configuration_reloaded" if changed else "configuration_unchanged"
        _log.info(event, file=loaded.file, actor=actor, renewed=_renewed(before, loaded))
        return changed

    async def _try(self, actor: str) -> None:
        with suppress(CrossfadeError):  # logged and counted already
            await self.reload(actor)

    async def _poll(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await self._wake.wait()
            self._wake.clear()
            if await self._changed():
                await self._try("file")

    async def _changed(self) -> bool:
        """Whether the files hold something else than was last read, and have settled: half a file is no file."""
        found = await asyncio.to_thread(_fingerprint, self._file)
        for _ in range(_SETTLE_ATTEMPTS):
            if found == self._seen:
                return False
            await asyncio.sleep(_SETTLE)
            last, found = found, await asyncio.to_thread(_fingerprint, self._file)
            if found == last:
                break
        return found != self._seen

    async def _watch(self) -> None:
        """Wake the poll as soon as something moves beside the files."""
        while True:
            watched = self._directories()
            try:
                async with aclosing(awatch(*watched, recursive=False, step=_DEBOUNCE)) as changes:
                    async for _ in changes:
                        self._wake.set()
                        if self._directories() != watched:
                            break
            except (OSError, RuntimeError) as error:
                _log.warning("watch_failed", problem=str(error), hint=f"files are still read every {POLL:g} s")
                await asyncio.sleep(_WATCH_AGAIN)

    def _directories(self) -> set[Path]:
        names = {self._file, *map(Path, _drawn_in(self._loaded.text, self._loaded.file))}
        return {directory for name in names for directory in (name.parent, name.resolve().parent) if directory.is_dir()}


def _fingerprint(file: Path) -> tuple[bytes, ...]:
    """Of the content of the file and of all that it draws in; an unreadable one is a content too."""
    data = _content(file)
    names = _drawn_in(data.decode("utf-8", "replace"), str(file))
    return tuple(hashlib.blake2b(part).digest() for part in (data, *map(_content, map(Path, names))))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that is no name, such as one with a NUL
        return f"unreadable: {getattr(error, 'errno', error)}".encode()


def _drawn_in(text: str, file: str) -> tuple[str, ...]:
    try:
        return watched_files(text, file, os.environ, read_text)
    except ConfigError:
        return ()


def _renewed(before: Loaded, after: Loaded) -> list[str]:
    """The certificates and keys that have become others."""
    return sorted(file for file, digest in after.digests.items() if before.digests.get(file, digest) != digest)


def _refuse(error: CrossfadeError, actor: str) -> None:
    where = {"file": error.file, "line": error.line, "path": error.path} if isinstance(error, ConfigError) else {}
    problems = [str(each) for each in error.problems] if isinstance(error, ConfigError) else [str(error)]
    _log.error("configuration_refused", **where, problems=problems, actor=actor, hint="what ran before goes on")


def _warn_of_blind_trust(config: Config) -> None:
    for name in blindly_trusted(config):
        hint = "whoever stands in between can read and answer; readiness fails until it is gone"
        _log.warning("upstream_not_verified", upstream=name, setting="insecure_skip_verify", hint=hint)


def _warn(before: Config, after: Config) -> None:
    """Say what this reload cannot do, and what it does to rollouts under way."""
    for name in RESTART:
        value = attrgetter(name)
        if value(before) != value(after):
            _log.warning("restart_needed", setting=name, hint="it keeps its old value until crossfade is started again")
    routes = {route.name: route for route in after.routes}
    for route in before.routes:
        if route.rollout is None:
            continue
        now = routes[route.name].rollout if route.name in routes else None
        if now is None:
            _log.warning("rollout_removed", route=route.name, hint="its state stays in the store")
            continue
        for name in ("salt", "key"):
            if getattr(route.rollout, name) != getattr(now, name):
                _log.warning("users_drawn_anew", route=route.name, setting=name, hint="other users are in than before")
