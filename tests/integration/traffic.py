"""Traffic of many users before arms that fail by a pattern: always bounded, and each answer and each asking noted."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, NamedTuple

import aiohttp

from proxy.telemetry.tasks import spawn, stop
from tests.integration.control_world import PATIENCE, Crossfade
from tests.integration.gateway.peers import Message, ScriptedUpstream, answer


class Answer(NamedTuple):
    """What a user got."""

    at: float
    status: int
    arm: str


class Asked(NamedTuple):
    """What an arm was asked. `worker` is the life of the worker that asked: its requests' ids begin with it."""

    at: float
    mode: str
    user: str
    worker: str


Pattern = Callable[[int, Asked], bool]
"""Whether an arm fails at this one, the so-manieth since it began to follow the pattern (from 1)."""


def never(_number: int, _asked: Asked) -> bool:
    return False


def every(nth: int) -> Pattern:
    return lambda number, _asked: number % nth == 0


class Arm:
    """An upstream that answers after `delay` seconds, or fails by a pattern. `asked` is what it was asked."""

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self.asked: list[Asked] = []
        self.delay = 0.0
        self._upstream = upstream
        self.fails(never)
        upstream.answers = self._answer

    def fails(self, pattern: Pattern) -> None:
        """With 500, at once."""
        self._pattern, self._failing, self._numbers = pattern, _fail, count(1)

    def hangs(self, pattern: Pattern) -> None:
        self._pattern, self._failing, self._numbers = pattern, _hang, count(1)

    def modes(self, *, after: float = 0.0) -> list[str]:
        return [each.mode for each in self.asked if each.at > after]

    async def die(self) -> None:
        """Open connections are reset, new ones refused."""
        await self._upstream.stop()

    async def live(self) -> None:
        await self._upstream.start()

    async def _answer(self, request: Message) -> bytes:
        worker = (request["x-request-id"] or "").partition("-")[0]
        asked = Asked(now(), request["x-crossfade-mode"] or "", request["x-user"] or "", worker)
        self.asked.append(asked)
        if self._pattern(next(self._numbers), asked):
            return await self._failing()
        if self.delay:
            await asyncio.sleep(self.delay)
        return answer(json.dumps({"decision": "approve"}).encode())


async def _fail() -> bytes:
    return answer(b'{"error": "broken"}', 500)


async def _hang() -> bytes:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


class Traffic:
    """Users who ask `systems` in turn, each user once. `answers` are what they got, in the order of their ends."""

    def __init__(self, *systems: Crossfade) -> None:
        self.answers: list[Answer] = []
        self._systems, self._users = systems, count(1)

    @property
    def failed(self) -> list[Answer]:
        return [each for each in self.answers if each.status != 200]

    async def burst(self, requests: int, *, at_once: int = 16) -> None:
        """As fast as they are answered, so many at a time."""
        left = iter(range(requests))

        async def one_after_the_other() -> None:
            for _ in left:
                await self._ask()

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(one_after_the_other())

    @asynccontextmanager
    async def flowing(self, *, per_second: float, at_most: int) -> AsyncIterator[None]:
        """Meanwhile users come at this pace, however those before them fare; at the end all have their answer."""
        enough = asyncio.Event()
        coming = spawn(self._come(per_second, at_most, enough), "traffic")
        try:
            yield
            enough.set()
            await coming
        finally:
            await stop(coming)

    async def more(self, requests: int) -> None:
        """Wait for so many more answers."""
        enough = len(self.answers) + requests
        async with asyncio.timeout(PATIENCE):
            while len(self.answers) < enough:
                await asyncio.sleep(0.01)

    async def _come(self, per_second: float, at_most: int, enough: asyncio.Event) -> None:
        begun = now()
        async with asyncio.TaskGroup() as group:
            for number in range(at_most):
                await asyncio.sleep(begun + number / per_second - now())
                if enough.is_set():
                    return
                group.create_task(self._ask())

    async def _ask(self) -> None:
        number = next(self._users)
        system = self._systems[number % len(self._systems)]
        self.answers.append(await visit(system, f"user-{number}"))


async def visit(system: Crossfade, user: str) -> Answer:
    """One request on a connection of its own, so that any worker may get it. An answer that never came has status 0."""
    headers = {"x-user": user, "connection": "close"}
    try:
        async with system.session.post(system.users + "/refunds/1", headers=headers, json={}) as response:
            await response.read()
            return Answer(now(), response.status, response.headers.get("x-crossfade-arm", ""))
    except (aiohttp.ClientError, TimeoutError) as error:
        return Answer(now(), 0, repr(error))


async def one_in_the_canary(crossfade: Crossfade) -> str:
    for number in range(100):
        if (await visit(crossfade, user := f"candidate-{number}")).arm == "agent":
            return user
    raise AssertionError("the agent serves nobody")


def degraded(route: dict[str, Any]) -> bool:
    return bool(route["phase"] == "degraded")


def now() -> float:
    return asyncio.get_running_loop().time()
