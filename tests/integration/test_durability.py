"""What was recorded survives a kill of any process at any moment: a client's log against what the store then holds.

Each request has an id of its own. `answered` are those whose answer came, `broken` those that ended without one; a
killed worker may have made the record of one of these too. `--soak` runs the long ones; CROSSFADE_DURABILITY_SEED
repeats a run that failed.
"""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from random import Random
from typing import Final

import aiohttp
import orjson
import pytest

from proxy.telemetry.tasks import spawn
from tests.e2e.processes import alive_below
from tests.integration.control_world import PATIENCE, Crossfade, Stage

SEED: Final = int(os.environ.get("CROSSFADE_DURABILITY_SEED", "1"))
CLIENTS: Final = 16
MOST_LOST: Final = 0.2 + 0.1
"""Seconds of outcomes that a killed worker may cost: a tick's, and some patience with a busy machine."""
LEAST_KILLS: Final = 3
REST: Final = 30.0
"""Seconds until all that waits somewhere is in the store."""


class Log:
    """Clients that ask all the time, and what they remember."""

    def __init__(self, crossfade: Crossfade) -> None:
        self.answered: set[str] = set()
        self.broken: set[str] = set()
        self._crossfade, self._numbers = crossfade, count()
        self._loop = asyncio.get_running_loop()
        self._last = 1 << 60
        self._begun = self._loop.time()
        self._clients = [spawn(self._client(), f"client {number}") for number in range(CLIENTS)]

    async def _client(self) -> None:
        while (number := next(self._numbers)) < self._last:
            request_id = f"r-{number}"
            try:
                async with self._crossfade.session.post(
                    self._crossfade.users + "/refunds/1", headers={"x-request-id": request_id, "x-user": request_id},
                    json={"amount": number},
                ) as response:  # fmt: skip
                    await response.read()
                    assert response.status == 200
            except aiohttp.ClientError:
                self.broken.add(request_id)
                await asyncio.sleep(0.02)
            else:
                self.answered.add(request_id)

    async def reach(self, requests: int) -> None:
        async with asyncio.timeout(max(PATIENCE, requests / 50)):
            while len(self.answered) < requests:
                for client in self._clients:
                    if client.done():
                        await client
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._last = 0
        await asyncio.gather(*self._clients)
        self.seconds = self._loop.time() - self._begun

    @property
    def rate(self) -> float:
        """Answers in a second."""
        return len(self.answered) / (self._loop.time() - self._begun)


async def kept(crossfade: Crossfade) -> Counter[str]:
    """The ids of the requests of all pairs in the store, and how often each is there."""
    found: Counter[str] = Counter()
    url = f"{crossfade.admin}/api/v1/routes/refunds/pairs/export"
    async with crossfade.session.get(url, timeout=aiohttp.ClientTimeout(total=600)) as response:
        assert response.status == 200, await response.text()
        async for line in response.content:
            found[orjson.loads(line)["request_id"]] += 1
    return found


async def lost(crossfade: Crossfade) -> float:
    return await crossfade.metric('crossfade_pairs_dropped_total{reason="worker_killed",route="refunds"}') or 0.0


async def at_rest(crossfade: Crossfade, condition: Callable[[Counter[str], float], bool]) -> Counter[str]:
    """What is kept, once it is as it should be; the last that was seen where it does not come to that."""
    found: Counter[str] = Counter()
    with suppress(TimeoutError):
        async with asyncio.timeout(REST):
            while True:
                try:
                    found = await kept(crossfade)
                    if condition(found, await lost(crossfade)):
                        return found
                except (aiohttp.ClientError, AssertionError):
                    pass  # the store may be on its way back
                await asyncio.sleep(0.2)
    return found


async def all_there(crossfade: Crossfade, log: Log) -> None:
    """Exactly what the clients remember is in the store, and what was counted says the same."""
    found = await at_rest(crossfade, lambda found, _: len(found) >= len(log.answered))
    assert log.broken == set()
    assert set(found) == log.answered
    assert set(found.values()) == {1}
    requests = len(log.answered)
    route = await crossfade.until(
        lambda route: route["agreement"]["matched"] >= requests and route["totals"]["agent"]["requests"] >= requests
    )
    counts = (route["totals"]["legacy"]["requests"], route["totals"]["agent"]["requests"])
    assert (*counts, route["agreement"]["matched"]) == (requests, requests, requests)
    assert await lost(crossfade) == 0


async def killing(crossfade: Crossfade, title: str, log: Log, requests: int, *, pause: tuple[float, float]) -> int:
    """Kill it at random moments until so many requests are answered, and LEAST_KILLS times; how often it was."""
    random, kills = Random(SEED), 0
    print(f"CROSSFADE_DURABILITY_SEED={SEED}")  # noqa: T201  # for whoever reads why it failed
    while len(log.answered) < requests or kills < LEAST_KILLS:
        await log.reach(len(log.answered) + 1)
        await asyncio.sleep(random.uniform(*pause))
        with suppress(ValueError, ProcessLookupError):  # it may be on its way back
            crossfade.kill(title)
            kills += 1
    return kills


# A worker


async def test_what_a_killed_worker_costs_is_little_and_counted(crossfade: Crossfade) -> None:
    await crossfade.start()
    log = Log(crossfade)
    kills = 3
    most = 0.0
    for kill in range(1, kills + 1):
        await log.reach(300 * kill)
        most += MOST_LOST * log.rate + CLIENTS
        before = len(crossfade.log)
        crossfade.kill("worker 1")
        await crossfade.line("child_started", after=before, child="worker 1")
    await log.reach(1_200)
    await log.stop()

    def booked(found: Counter[str], lost: float) -> bool:
        return len(log.answered - found.keys()) <= lost

    found = await at_rest(crossfade, booked)
    counted = await lost(crossfade)
    missing = log.answered - found.keys()
    assert set(found.values()) == {1}
    assert found.keys() <= log.answered | log.broken
    assert len(missing) <= counted <= len(missing) + len(log.broken)
    assert counted <= most
    assert [line["records"] for line in crossfade.log if line["event"] == "worker_was_killed"]
    await crossfade.restart()
    assert await lost(crossfade) == 0  # it was counted, and is not again
    assert set(await kept(crossfade)) == set(found)


async def test_what_a_worker_without_a_control_process_has_on_disk_survives_it(crossfade: Crossfade) -> None:
    await crossfade.start()
    log = Log(crossfade)
    await log.reach(200)
    crossfade.kill("control", signal.SIGSTOP)
    await log.reach(400)
    crossfade.kill("control", signal.SIGKILL)  # what it had taken and not kept goes with it
    await log.reach(600)
    crossfade.kill("worker 1")
    await log.reach(800)
    await log.stop()
    found = await at_rest(crossfade, lambda found, lost: len(log.answered - found.keys()) <= lost)
    missing, counted = log.answered - found.keys(), await lost(crossfade)
    assert set(found.values()) == {1}
    assert len(missing) <= counted <= len(missing) + len(log.broken)
    assert counted <= 2 * MOST_LOST * log.rate + CLIENTS


# The others


async def test_a_store_killed_at_random_moments_costs_nothing(crossfade: Crossfade) -> None:
    await crossfade.start()
    log = Log(crossfade)
    kills = await killing(crossfade, "valkey", log, 2_000, pause=(0.1, 0.6))
    await log.stop()
    await all_there(crossfade, log)
    assert kills >= LEAST_KILLS


async def test_a_control_process_killed_at_random_moments_costs_nothing(crossfade: Crossfade) -> None:
    await crossfade.start()
    log = Log(crossfade)
    kills = await killing(crossfade, "control", log, 2_000, pause=(0.3, 0.9))
    await log.stop()
    await all_there(crossfade, log)
    assert kills >= LEAST_KILLS


async def test_a_killed_supervisor_costs_nothing_that_was_answered(crossfade: Crossfade) -> None:
    await crossfade.start()
    log = Log(crossfade)
    await log.reach(500)
    crossfade.tell(signal.SIGKILL)
    async with asyncio.timeout(PATIENCE):
        while alive_below():
            await asyncio.sleep(0.05)
    await crossfade.line("supervisor_gone")  # the others say so; now all of them have
    await log.stop()
    await crossfade.ended()
    await crossfade.start()
    found = await at_rest(crossfade, lambda found, _: log.answered <= found.keys())
    assert set(found.values()) == {1}
    assert log.answered <= found.keys() <= log.answered | log.broken
    assert await lost(crossfade) == 0


async def test_all_of_it_killed_at_once_costs_what_a_killed_worker_does(scene: Stage, crossfade: Crossfade) -> None:
    scene.write(("listen:", "workers: 2\nlisten:"))
    await crossfade.start()
    log = Log(crossfade)
    await log.reach(2000)
    rate = log.rate
    await crossfade.crash()
    await log.stop()
    scene.write()  # one worker: nobody comes back to what the other left
    await crossfade.start()
    found = await at_rest(crossfade, lambda found, lost: len(log.answered - found.keys()) <= lost)
    missing, counted = log.answered - found.keys(), await lost(crossfade)
    assert set(found.values()) == {1}
    assert len(missing) <= counted <= MOST_LOST * rate + 2 * CLIENTS + len(log.broken)


# For long


async def soaked(scene: Stage, crossfade: Crossfade, title: str, go: Callable[[Log], Awaitable[int]]) -> None:
    scene.write(("      compare:", "      record: {max_pairs: 1000000}\n      compare:"))
    await crossfade.start()
    log = Log(crossfade)
    kills = await go(log)
    await log.stop()
    await all_there(crossfade, log)
    print(f"{title} killed {kills} times during {len(log.answered):,} requests in {log.seconds:.0f} s")  # noqa: T201


@pytest.mark.soak
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("title", ["valkey", "control"])
async def test_of_100_000_pairs_none_is_lost_and_none_is_there_twice(
    scene: Stage, crossfade: Crossfade, title: str
) -> None:
    await soaked(scene, crossfade, title, lambda log: killing(crossfade, title, log, 100_000, pause=(0.1, 1.0)))
