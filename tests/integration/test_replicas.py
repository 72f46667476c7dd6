"""Several replicas, real ones, on one store: what one does all obey, one of them decides, and each can stand alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from proxy.model.errors import ConflictError
from proxy.storage import keys
from proxy.storage.connection import connect
from proxy.storage.rollouts import StateStore
from tests.integration.control_world import PATIENCE, all_seen
from tests.integration.fleet import Route, Wire, attempt, fleet, until
from tests.integration.traffic import Traffic, degraded, every, never, one_in_the_canary, visit
from tests.valkey import Cluster, Sentinel, Valkey

FOLLOWED: Final = 1.0
"""Goal: seconds from one worker's swap to that of all workers of all replicas."""


def at_half(route: Route) -> bool:
    return bool(route["weight"] == 50.0)


def at_full(route: Route) -> bool:
    return bool(route["weight"] == 100.0)


# What one does, all obey


async def test_a_breaker_that_trips_in_one_replica_swaps_the_worker_of_another_in_time(
    tmp_path: Path, valkey: Valkey
) -> None:
    async with fleet(tmp_path, [valkey.url] * 2) as replicas:
        first, second = replicas.crossfades
        await first.verb("promote")
        await replicas.all(at_half)
        tripping, following = await replicas.workers()
        user = await one_in_the_canary(second)
        replicas.agent.fails(every(1))
        traffic = Traffic(first)
        async with traffic.flowing(per_second=100, at_most=1_000), asyncio.timeout(PATIENCE):
            while not degraded(await second.route()):
                assert (await visit(second, user)).status == 200  # one user is not enough to trip its own breaker
                await asyncio.sleep(0.05)
            assert [(await visit(second, user)).arm for _ in range(10)] == ["legacy"] * 10
        tries = {each.worker: each.at for each in replicas.human.asked if each.mode == "fallback"}
        assert tries[following] < tries[tripping] + 2 * FOLLOWED
        assert traffic.failed == []


async def test_of_two_operators_who_promote_at_once_one_moves_and_the_other_is_told(
    tmp_path: Path, valkey: Valkey
) -> None:
    steps = "".join(f"        - {{name: step-{number}, weight: {number}, soak: 1h}}\n" for number in range(1, 20))
    async with fleet(tmp_path, [valkey.url] * 2, (CANARY, steps)) as replicas:
        moved = refused = 0
        while not refused and moved < 18:
            said = await asyncio.gather(*(attempt(each, "promote") for each in replicas.crossfades))
            assert sorted(said) in ([200, 200], [200, 412])
            moved += said.count(200)
            refused += said.count(412)
            await replicas.all(lambda route: bool(route["weight"] == moved))  # noqa: B023  # it is awaited here
        assert refused
        promoted = [event for event in await replicas.crossfades[0].history() if event["kind"] == "promote"]
        assert [event["after"]["weight"] for event in promoted] == list(range(moved, 0, -1))


CANARY: Final = "        - {name: canary, weight: 50, soak: 1h}\n"


# One decides


QUICK: Final = ("salt: s", "salt: s\n      gates: {min_samples: 20, agreement: 50%, error_rate: {margin: 50%}}")
MINUTE: Final = ("{name: shadow, weight: 0, soak: 1h}", "{name: shadow, weight: 0, soak: 1m}")


async def test_when_the_one_that_decides_dies_another_goes_on_from_the_soak_that_was_saved(
    tmp_path: Path, valkey: Valkey
) -> None:
    async with fleet(tmp_path, [valkey.url] * 3, QUICK, MINUTE) as replicas, states(valkey.url) as store:
        await Traffic(*replicas.crossfades).burst(60)
        await replicas.all(lambda route: all_seen(60, route))
        leader = await replicas.leader()
        await soak(store, 59.0)
        await leader.crash()
        others = [each for each in replicas.crossfades if each is not leader]
        await asyncio.gather(*(each.until(at_half) for each in others))  # in less time than a whole soak
        await leader.start()
        await replicas.all(at_half)
        assert [event["kind"] for event in await others[0].history()] == ["advance", "begin"]


# The store fails


async def test_sentinels_fail_over_and_neither_a_state_nor_a_request_is_lost(
    tmp_path: Path, sentinel: Sentinel
) -> None:
    async with fleet(tmp_path, [sentinel.url] * 3) as replicas:
        first, second, _ = replicas.crossfades
        await first.verb("promote")
        before = max(route["revision"] for route in await replicas.all(at_half))
        await until(sentinel.is_whole)
        traffic = Traffic(*replicas.crossfades)
        async with traffic.flowing(per_second=50, at_most=1_500):
            old = sentinel.master
            old.kill()
            async with asyncio.timeout(PATIENCE):
                while sentinel.master is old or await attempt(second, "promote") != 200:
                    for each in replicas.crossfades:
                        route = await each.route()
                        assert at_half(route)
                        assert route["revision"] >= before
                    await asyncio.sleep(0.1)
            await replicas.all(at_full)
            await traffic.more(30)
        assert traffic.failed == []


async def test_a_cluster_holds_all_there_is_and_may_lose_a_master_for_a_while(tmp_path: Path, cluster: Cluster) -> None:
    async with fleet(tmp_path, [cluster.url] * 3) as replicas:
        first, second, third = replicas.crossfades
        traffic = Traffic(*replicas.crossfades)
        await traffic.burst(60)
        await replicas.all(lambda route: all_seen(60, route))
        assert len(await third.pairs()) == 50  # a page
        await first.verb("promote")
        await replicas.all(at_half)

        gone = cluster.owner(keys.state("refunds"))
        gone.kill()
        await asyncio.gather(*(each.line("rollouts_held") for each in replicas.crossfades))
        await traffic.burst(60)
        assert {each.arm for each in traffic.answers[-60:]} == {"legacy", "agent"}
        assert await attempt(second, "promote") == 503
        gone.start()
        await until(cluster.is_whole)
        await replicas.all(lambda route: bool(route["totals"]["agent"]["requests"] == 60))

        replicas.agent.fails(every(1))
        await traffic.burst(60)
        await replicas.all(degraded)
        assert (await third.history())[0]["kind"] == "rollback"
        assert traffic.failed == []


async def test_a_replica_that_is_cut_off_serves_on_protects_its_users_and_obeys_when_it_is_back(
    tmp_path: Path, valkey: Valkey
) -> None:
    async with Wire(valkey.url) as wire, fleet(tmp_path, [valkey.url, valkey.url, wire.url]) as replicas:
        first, second, alone = replicas.crossfades
        await first.verb("promote")
        await replicas.all(at_half)
        traffic = Traffic(alone)
        wire.cut()
        await first.verb("promote")
        await second.until(at_full)
        await traffic.burst(60)
        await alone.line("rollouts_held")
        assert at_half(await alone.route())
        assert {each.arm for each in traffic.answers} == {"legacy", "agent"}
        wire.mend()
        await alone.until(at_full)

        wire.cut()
        replicas.agent.fails(every(1))
        await traffic.burst(60)
        await alone.until(degraded)
        assert at_full(await first.route())
        replicas.agent.fails(never)
        wire.mend()
        await replicas.all(degraded)
        assert [event["kind"] for event in await first.history()] == ["rollback", "promote", "promote", "begin"]
        assert traffic.failed == []


async def soak(store: StateStore, seconds: float) -> None:
    """As if the stage had held for so long already."""
    saved = False
    while not saved:
        state = await store.load("refunds")
        assert state is not None
        with suppress(ConflictError):  # who decides saves now and then
            await store.save(replace(state, soaked=seconds, revision=state.revision + 1), None)
            saved = True


@asynccontextmanager
async def states(url: str) -> AsyncIterator[StateStore]:
    redis = connect(url)
    try:
        yield StateStore(redis)
    finally:
        await redis.aclose()
