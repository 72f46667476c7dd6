"""Tells the human queue of each escalation (`escalations.webhook`), at least once, whatever fails meanwhile.

The replica that leads does it. What is to be told is in the store (`proxy.storage.untold`), so that it waits there
while the queue is away, or nobody leads; and a leader that dies between the POST and noting it makes the next one send
it again, with the same key.

Each route goes its own way, with AT_ONCE tries under way at most. A try that fails is put off, longer each time and by
chance (full jitter), and meanwhile the others go on; when `give_up` has passed since the escalation was kept, or the
queue refuses it (4xx), it is given up: logged and counted. One that has waited for longer than that before anybody
tried is still tried once.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import aiohttp
import structlog

from proxy.config.schema import Config
from proxy.config.sharing_schema import Escalations, Webhook
from proxy.control import webhook as telling
from proxy.control.webhook import Answer, Result
from proxy.model.clock import Clock
from proxy.model.errors import StoreError, StoreFormatError
from proxy.storage.escalations import Entry
from proxy.storage.untold import Untold
from proxy.telemetry.families import WEBHOOKS, WEBHOOKS_WAITING
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tasks import spawn, stop

_log = structlog.get_logger()

LOOK: Final = 0.5
"""Seconds between two looks at what is to be told."""
AT_ONCE: Final = 4
FIRST_PAUSE: Final = 2.0
LONGEST_PAUSE: Final = 300.0
"""Seconds: a failed try is put off by chance, up to twice as long each time."""


def _by_chance(most: float) -> float:
    return random.uniform(0.0, most)  # noqa: S311  # no secret: it spreads the tries


class Queue(Protocol):
    """What waits to be told (`UntoldStore`)."""

    async def take(self, route: str, now: float, limit: int, *, back: float) -> Untold: ...

    async def put_off(self, route: str, entry: Entry, until: float) -> None: ...

    async def settle(self, route: str, entries: list[Entry]) -> None: ...


class Reader(Protocol):
    async def of_pair(self, route: str, escalation_id: str, pair_id: str) -> dict[str, Any] | None: ...


class Notifier:
    """`config` gives the configuration that runs, `leads` whether we lead. `jitter` draws from 0 to its argument."""

    def __init__(
        self,
        queue: Queue,
        reader: Reader,
        config: Callable[[], Config],
        leads: Callable[[], bool],
        metrics: Metrics,
        clock: Clock,
        *,
        look: float = LOOK,
        jitter: Callable[[float], float] = _by_chance,
    ) -> None:
        self._queue, self._reader, self._config, self._leads = queue, reader, config, leads
        self._metrics, self._clock, self._look, self._jitter = metrics, clock, look, jitter
        self._routes: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until it is cancelled. Each route on which somebody can be told has a task of its own, while we lead."""
        try:
            # No bound on its connections: each route has AT_ONCE of them at most.
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
                try:
                    while True:
                        await self._assign(session)
                        await asyncio.sleep(self._look)
                finally:
                    await self._leave(list(self._routes))
        finally:
            self._routes.clear()

    async def _assign(self, session: aiohttp.ClientSession) -> None:
        config = self._config()
        works = config.escalations.webhook is not None and self._leads()
        wanted = {route.name for route in config.routes if route.rollout is not None} if works else set()
        await self._leave([name for name in self._routes if name not in wanted])
        for name in wanted:
            task = self._routes.get(name)
            if task is None or task.done():
                way = _Way(name, session, self._queue, self._reader, self._config, self._metrics, self._clock)
                self._routes[name] = spawn(way.run(self._look, self._jitter), f"escalations of {name}")

    async def _leave(self, names: list[str]) -> None:
        await stop(*(self._routes.pop(name) for name in names))
        for name in names:
            self._metrics.set(WEBHOOKS_WAITING, name, value=None)


class _Way:
    """One route's: what is under way, and how often each one that failed was tried."""

    def __init__(
        self,
        route: str,
        session: aiohttp.ClientSession,
        queue: Queue,
        reader: Reader,
        config: Callable[[], Config],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._route, self._session, self._queue, self._reader = route, session, queue, reader
        self._config, self._metrics, self._clock = config, metrics, clock
        self._tries: dict[Entry, int] = {}
        self._under_way: dict[Entry, asyncio.Task[None]] = {}
        self._settled: set[Entry] = set()  # done, and the store was away when it was to be noted
        self._problem = ""

    async def run(self, look: float, jitter: Callable[[float], float]) -> None:
        try:
            while True:
                try:
                    await self._begin(jitter)
                    self._say("")
                except StoreError as error:
                    self._say(str(error))
                if self._under_way:
                    await asyncio.wait(self._under_way.values(), timeout=look, return_when=asyncio.FIRST_COMPLETED)
                else:
                    await asyncio.sleep(look)
        finally:
            await stop(*self._under_way.values())

    async def _begin(self, jitter: Callable[[float], float]) -> None:
        """Try what is due, as far as there is room."""
        for entry in [entry for entry, task in self._under_way.items() if task.done()]:
            del self._under_way[entry]
        settings = self._config().escalations  # of one configuration throughout, whatever is loaded meanwhile
        webhook = settings.webhook
        if webhook is None:
            return
        if self._settled:
            noted = list(self._settled)
            await self._queue.settle(self._route, noted)
            self._settled.difference_update(noted)
        room = AT_ONCE - len(self._under_way)
        waiting, due = await self._queue.take(self._route, self._clock.now(), AT_ONCE, back=webhook.give_up)
        self._metrics.set(WEBHOOKS_WAITING, self._route, value=waiting)
        for entry in [entry for entry in due if entry not in self._under_way and entry not in self._settled][:room]:
            self._under_way[entry] = spawn(self._try(entry, settings, webhook, jitter), f"escalation {entry.id}")

    async def _try(
        self, entry: Entry, settings: Escalations, webhook: Webhook, jitter: Callable[[float], float]
    ) -> None:
        try:
            answer = await self._tell(entry, settings, webhook)
            self._tries[entry] = tries = self._tries.get(entry, 0) + 1
            if answer.result is Result.RETRY:
                pause = max(jitter(min(FIRST_PAUSE * 2.0 ** min(tries - 1, 30), LONGEST_PAUSE)), answer.wait)
                until = self._clock.now() + pause
                if until < entry.at + webhook.give_up:
                    self._metrics.count(WEBHOOKS, Result.RETRY.value)
                    _log.info("escalation_told_later", **self._named(entry), problem=answer.why, tries=tries)
                    await self._queue.put_off(self._route, entry, until)
                    return
            await self._end(entry, answer)
        except StoreError as error:
            self._say(str(error))  # it is still due, or is settled later

    async def _tell(self, entry: Entry, settings: Escalations, webhook: Webhook) -> Answer:
        found = await self._find(entry)
        try:
            data = telling.body(self._route, entry, found, settings)
        except (TypeError, ValueError, KeyError, AttributeError):
            _log.exception("escalation_not_readable", **self._named(entry))
            data = telling.body(self._route, entry, None, settings)
        now = self._clock.now()
        headers = telling.headers(webhook, settings.secret or "", entry.id, data, now)
        return await telling.post(self._session, webhook, headers, data, now)

    async def _find(self, entry: Entry) -> Mapping[str, Any] | None:
        try:
            return await self._reader.of_pair(self._route, entry.id, entry.pair)
        except StoreFormatError as error:
            _log.error("store_format", route=self._route, error=str(error))
            return None  # that there is something to look at can be told all the same

    async def _end(self, entry: Entry, answer: Answer) -> None:
        tries = self._tries.pop(entry)
        if answer.result is Result.SENT:
            self._metrics.count(WEBHOOKS, Result.SENT.value)
            _log.info("escalation_told", **self._named(entry), tries=tries)
        else:
            self._metrics.count(WEBHOOKS, Result.REFUSED.value)
            _log.error("escalation_not_told", **self._named(entry), problem=answer.why, tries=tries)
        self._settled.add(entry)
        await self._queue.settle(self._route, [entry])
        self._settled.discard(entry)

    def _named(self, entry: Entry) -> dict[str, str]:
        return {"route": self._route, "id": entry.id}

    def _say(self, problem: str) -> None:
        """Once, that the store is away, and once that it is back."""
        if bool(problem) != bool(self._problem):
            if problem:
                _log.warning("escalations_wait", route=self._route, problem=problem)
            else:
                _log.info("escalations_go_on", route=self._route)
        self._problem = problem
